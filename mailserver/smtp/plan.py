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
    """Credentials: ``password`` is the access token where the mechanism is XOAUTH2 (:meth:`xoauth2`).

    ``unprotected`` allows to send them in clear or over TLS that was not verified; ``optional`` to go on
    without a login where the host offers none of ``mechanisms``. The first of these that is offered is used, and
    where the host refuses SCRAM-SHA-256, the next, too; they are those of :mod:`mailserver.smtp.clientlogin`.
    """

    user: str
    password: str = field(repr=False)
    unprotected: bool = False
    optional: bool = False
    mechanisms: tuple[str, ...] = ("SCRAM-SHA-256", "PLAIN", "LOGIN")

    @classmethod
    def xoauth2(cls, user: str, token: str) -> Login:
        """A login with an OAuth 2.0 access token (RFC 6750), as Google and Microsoft take it."""
        return cls(user, token, mechanisms=("XOAUTH2",))


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """How a session is to be held.

    ============= ===================== ==================================================
    tls           no STARTTLS offered   a certificate that is not good, a failed handshake
    ============= ===================== ==================================================
    off           clear                 clear: STARTTLS is not asked for
    opportunistic clear                 encrypted all the same; or clear, on a new connection
    offered       clear                 the session ends
    verified      the session ends      the session ends
    pinned        the session ends      the session ends
    ============= ===================== ==================================================

    ``pins`` are SHA-256 fingerprints of certificates (:func:`mailserver.net.tls.parse_pin`): for ``pinned``,
    one of them is good, whoever signed it. ``implicit_tls``: TLS from the first octet (RFC 8314 §3.3).
    ``chunking``: BDAT where it is offered and saves time. ``lmtp``: the host is spoken to in LMTP (RFC 2033).
    ``any_octets``: those above 127 go to a host without 8BITMIME, too.
    """

    helo: str
    tls: str = "opportunistic"
    login: Login | None = None
    timeouts: ClientTimeouts = ClientTimeouts()
    implicit_tls: bool = False
    pins: frozenset[str] = frozenset()
    chunking: bool = True
    lmtp: bool = False
    any_octets: bool = False

    @property
    def demands_tls(self) -> bool:
        """True when nothing may be sent in clear."""
        return self.tls in ("verified", "pinned")

    @property
    def checks_certificate(self) -> bool:
        """True when a session over TLS is one with a certificate that was found good."""
        return self.tls in ("offered", "verified", "pinned")


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
class Derive:
    """Call ``work`` where it stops nobody (up to half a second); its answer is for :meth:`ClientCore.derived`."""

    work: Callable[[], bytes] = field(repr=False)


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


Event = Ready | StartTls | Derive | SendContent | Answered | Ended
