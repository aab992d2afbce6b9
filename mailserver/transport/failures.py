"""Why a message of a program was sent to nobody: what :class:`~mailserver.transport.client.Client` raises.

::

    SendFailed              nobody took the message; .outcomes says why, for each recipient
    ├── HostNotFound        DNS has no such host, or no answer
    ├── ConnectFailed       no connection: refused, no route, no answer in time
    ├── TlsFailed           no TLS where it is demanded, or a certificate that is refused; the text says why
    ├── LoginFailed         the login was refused, or was not tried: no mechanism, no verified TLS
    ├── SendRefused         the host said no: .command is what it answered, .reply its own words
    └── SessionLost         the connection broke, the host fell silent or does not speak SMTP

An outcome is not read again here: :func:`failure_of` only gives its phase a name. Where recipients differ, the
first one decides which name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mailserver.interfaces import MailServerError
from mailserver.message.outcome import Klass, Outcome
from mailserver.smtp.address import Mailbox
from mailserver.smtp.transaction import Phase

Address = str | Mailbox


class SendFailed(MailServerError):
    """Nobody took the message. ``str()`` is one sentence with the host's name and, where it spoke, its reply.

    ``outcomes``: for each recipient as given, its Outcome; ``outcome``: the one that gave this error its name.
    """

    def __init__(self, outcomes: Mapping[Address, Outcome]) -> None:
        self.outcomes = outcomes
        self.outcome = next(iter(outcomes.values()))
        others = sum(outcome.text != self.outcome.text for outcome in outcomes.values())
        super().__init__(f"{self.outcome.text} (and {others} other reasons)" if others else self.outcome.text)

    @property
    def transient(self) -> bool:
        """True when it may work later, for one recipient at least."""
        return any(outcome.klass is Klass.TRANSIENT for outcome in self.outcomes.values())

    @property
    def uncertain(self) -> bool:
        """True when the whole message went out and no answer came: the host may have it. Sending it again may
        deliver it twice."""
        return self.outcome.uncertain

    @property
    def host(self) -> str | None:
        """The name of the host."""
        return self.outcome.remote_mta

    @property
    def reply(self) -> str | None:
        """The host's own words with their code (``550 5.1.1 no such user``), or None where it said nothing."""
        return self.outcome.remote_reply

    @property
    def command(self) -> str:
        """What was under way: ``MAIL``, ``RCPT``, ``DATA``, ``the end of the content``, ``AUTH``, …"""
        return self.outcome.phase.value if self.outcome.phase else ""


class HostNotFound(SendFailed):
    """The name of the host is not found."""


class ConnectFailed(SendFailed):
    """No connection to the host."""


class TlsFailed(SendFailed):
    """TLS was demanded and is not to be had, or the host's certificate is refused."""


class LoginFailed(SendFailed):
    """The host refused the login, or it was kept back."""


class SendRefused(SendFailed):
    """The host refused the session, the message or every recipient."""


class SessionLost(SendFailed):
    """The session ended early: see ``uncertain``."""


_BY_PHASE: Mapping[Phase, type[SendFailed]] = MappingProxyType(
    {
        Phase.LOOKUP: HostNotFound,
        Phase.CONNECT: ConnectFailed,
        Phase.TLS: TlsFailed,
        Phase.AUTH: LoginFailed,
    }
)


def failure_of(outcomes: Mapping[Address, Outcome]) -> SendFailed:
    """The exception for `outcomes`, of which none is a success and which are not empty."""
    first = next(iter(outcomes.values()))
    return _kind(first)(outcomes)


def _kind(outcome: Outcome) -> type[SendFailed]:
    phase = outcome.phase
    if phase is None:
        return SendFailed
    # RFC 3463 §3.5, §3.6: 4.4.x and 4.5.x of our own are about the wire, wherever it happened.
    if outcome.remote_reply is None and outcome.status.klass == 4 and outcome.status.subject in (4, 5):
        return _BY_PHASE[phase] if phase in (Phase.LOOKUP, Phase.CONNECT) else SessionLost
    return _BY_PHASE.get(phase, SendRefused)
