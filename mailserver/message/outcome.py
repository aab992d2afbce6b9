"""What became of one recipient at one attempt: a failure is a value, never re-interpreted on its way.

class × scope × enhanced status travel unchanged from the socket to the log, the queue listing and the DSN.
Unknown is transient: :func:`surprise` is what an exception or a forgotten recipient becomes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mailserver.message.state import State
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Phase


class Klass(Enum):
    """Did it work, may it work later, or will it never."""

    SUCCESS = "success"
    TRANSIENT = "transient"
    PERMANENT = "permanent"


class Scope(Enum):
    """How far a failure reaches: this recipient, this message, this host, or all hosts of the destination."""

    RECIPIENT = "recipient"
    MESSAGE = "message"
    HOST = "host"
    DESTINATION = "destination"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One recipient's result.

    ``text`` is for people (one line); ``state`` is what a success means (delivered, relayed, expanded);
    ``remote_mta`` and ``remote_reply`` are the peer's name and its own words, for the DSN; ``uncertain`` is
    a connection lost after the final dot: the peer may have the message. ``phase`` is where in an SMTP session it
    was decided, None where there was none. ``dsn_passed``: the peer took the message together with the duty to
    report on it (RFC 3461 §5.2.1), so that a success is none of ours to report.
    """

    klass: Klass
    scope: Scope
    status: Status
    text: str
    state: State = State.DEFERRED
    remote_mta: str | None = None
    remote_reply: str | None = None
    uncertain: bool = False
    phase: Phase | None = None
    dsn_passed: bool = False

    @property
    def about_host(self) -> bool:
        """True for trouble with one host that says nothing about the message: another one may do better."""
        return self.klass is not Klass.SUCCESS and self.scope is Scope.HOST and not self.uncertain


def delivered(text: str = "delivered") -> Outcome:
    """A final delivery on this host."""
    return Outcome(Klass.SUCCESS, Scope.RECIPIENT, Status(2, 0, 0), text, State.DELIVERED)


def expanded() -> Outcome:
    """An address that stands for several others, each of whom has an outcome of its own."""
    return Outcome(Klass.SUCCESS, Scope.RECIPIENT, Status(2, 0, 0), "sent on to several addresses", State.EXPANDED)


def transient(text: str, status: Status = Status(4, 0, 0), scope: Scope = Scope.RECIPIENT) -> Outcome:
    """A failure that is tried again."""
    return Outcome(Klass.TRANSIENT, scope, status, text)


def permanent(text: str, status: Status = Status(5, 0, 0), scope: Scope = Scope.RECIPIENT) -> Outcome:
    """A failure that is reported to the sender."""
    return Outcome(Klass.PERMANENT, scope, status, text, State.FAILED)


def surprise(what: str) -> Outcome:
    """What a bug or an unknown condition means for a recipient: transient, and it says so."""
    return transient(f"internal error: {what}", Status(4, 3, 0), Scope.MESSAGE)
