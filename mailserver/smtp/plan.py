"""How the client side of a session is to be held, and what such a session reports.

The values that :mod:`mailserver.smtp.client` takes (:class:`SessionPlan`) and the events that it yields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType

from mailserver.smtp.transaction import Answer, Phase


@dataclass(frozen=True, slots=True)
class ClientTimeouts:
    """Seconds to wait, RFC 5321 §4.5.3.2. ``quit`` is short: nothing depends on that reply."""

    greeting: float = 300
    command: float = 300
    data_start: float = 120
    data_block: float = 180
    data_end: float = 600
    quit: float = 5


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials. ``unprotected`` allows to send them in clear or over TLS that was not verified."""

    user: str
    password: str = field(repr=False)
    unprotected: bool = False


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """How a session is to be held. ``tls`` is ``off``, ``opportunistic`` or ``verified``."""

    helo: str
    tls: str = "opportunistic"
    login: Login | None = None
    timeouts: ClientTimeouts = ClientTimeouts()


# Which of the time-outs of RFC 5321 §4.5.3.2 holds while the client waits for what.
LIMIT: Mapping[Phase, Callable[[ClientTimeouts], float]] = MappingProxyType(
    {
        Phase.GREETING: attrgetter("greeting"),
        Phase.HELLO: attrgetter("command"),
        Phase.TLS: attrgetter("command"),
        Phase.AUTH: attrgetter("command"),
        Phase.RESET: attrgetter("command"),
        Phase.MAIL: attrgetter("command"),
        Phase.RCPT: attrgetter("command"),
        Phase.DATA: attrgetter("data_start"),
        Phase.CONTENT: attrgetter("data_block"),
        Phase.FINAL: attrgetter("data_end"),
        Phase.QUIT: attrgetter("quit"),
    }
)


@dataclass(frozen=True, slots=True)
class Ready:
    """The session is set up: a transaction may start."""


@dataclass(frozen=True, slots=True)
class StartTls:
    """Start TLS now, then call :meth:`ClientCore.tls_established`."""


@dataclass(frozen=True, slots=True)
class SendContent:
    """Give the content: :meth:`ClientCore.content` any number of times, then :meth:`ClientCore.content_end`."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The transaction is over; ``answers`` are in the order of its recipients."""

    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over: close the connection. ``answer`` says why; None after our own QUIT."""

    answer: Answer | None


Event = Ready | StartTls | SendContent | Answered | Ended
