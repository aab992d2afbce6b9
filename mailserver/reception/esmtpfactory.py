"""``ESMTPFactory``: a factory with one's own portal, and nothing else of this server.

It takes the place of ``twisted.mail.protocols.ESMTPFactory`` for applications made of ``IMessageDelivery`` and
credentials checkers: no spool, no settings, no instance directory. ::

    factory = ESMTPFactory(Portal(MyRealm(), [MyChecker(), AllowAnonymousAccess()]))
    factory.domain, factory.context = b"mx.example.org", tls_context
    factory.challengers = {b"PLAIN": PLAINCredentials, b"LOGIN": LOGINCredentials}
    serverFromString(reactor, "tcp:2525").listen(factory)

A subclass may override ``buildProtocol`` and set ``delivery``, ``deliveryFactory``, ``challengers``, ``ctx``,
``portal``, ``host`` and ``timeout`` of what ours returns. It may not bring a protocol of its own: a subclass of
``twisted.mail.smtp.ESMTP`` as ``protocol`` is :class:`OverriddenProtocol` when the port opens. What goes wrong in
the application is logged through ``twisted.logger``.
"""

from __future__ import annotations

from collections.abc import Collection
from math import inf
from typing import Any

from twisted.cred.credentials import CramMD5Credentials
from twisted.internet.interfaces import IDelayedCall, ISSLTransport, ITLSTransport
from twisted.internet.protocol import ServerFactory
from twisted.mail import smtp

from mailserver.clock import SystemClock
from mailserver.interfaces import IClock, MailServerError
from mailserver.log import new_session_id
from mailserver.net.server import ServerProtocol, Surroundings
from mailserver.reception.asking import Asking, Bounds
from mailserver.reception.bare import BareSession, TwistedLog
from mailserver.reception.challengers import SHOWN_IN_CLEAR, mechanisms_of
from mailserver.reception.extensions import extensions_of
from mailserver.reception.login import Login
from mailserver.reception.mechanisms import MECHANISMS, keeper_of
from mailserver.reception.view import SessionView
from mailserver.smtp import scram
from mailserver.smtp.limits import Patience, Profile, ServerLimits
from mailserver.smtp.server import ServerCore

# How often deadlines are looked at, in seconds.
TICK = 1.0


class OverriddenProtocol(MailServerError):
    """``factory.protocol`` is a class of the application; ``str()`` says what it overrides and what to do."""


class ESMTPConnection(ServerProtocol):
    """What ``buildProtocol`` returns. Its attributes are the application's to set until the connection is made."""

    factory: Any
    portal: Any = None
    delivery: Any = None
    deliveryFactory: Any = None
    challengers: Any = None
    ctx: Any = None
    host: bytes | str = b""
    timeout: float | None = None

    def __init__(self) -> None:
        # The core and the session are made when the attributes are final: see connectionMade.
        pass

    def connectionMade(self) -> None:
        factory = self.factory
        tls = ISSLTransport.providedBy(self.transport)
        session_id = new_session_id()
        asking = Asking(factory.clock, factory.log, session_id, factory.bounds)
        login = Login(self.portal, asking, self.delivery, self.deliveryFactory)
        mechanisms = mechanisms_of(self.challengers or {}, asking.blame) if self.portal is not None else {}
        if keeper_of(self.portal) is not None:
            mechanisms.setdefault(scram.NAME, MECHANISMS[scram.NAME])
        core = ServerCore(self._profile(tuple(mechanisms)), mechanisms, tls)
        view = SessionView(self, factory, self.portal, _octets(self.host), login)
        self.session = BareSession(login, view, lambda: factory.ended(self))
        super().__init__(core, self.session, Surroundings(factory.clock, factory.log, self.ctx))
        factory.began(self)
        super().connectionMade()

    def _profile(self, mechanisms: tuple[str, ...]) -> Profile:
        factory = self.factory
        patience = inf if self.timeout is None else self.timeout
        return Profile(
            host_name=_octets(self.host).decode("ascii"),
            extensions=extensions_of(factory, factory.extensions_off),
            mechanisms=mechanisms,
            starttls=self.ctx is not None and ITLSTransport.providedBy(self.transport),
            auth_in_clear=factory.clear_auth,
            safe_in_clear=frozenset(mechanisms) - SHOWN_IN_CLEAR,
            limits=factory.limits,
            patience=Patience(patience, patience, patience),
        )


class ESMTPFactory(ServerFactory):
    """`portal` says who may log in; strangers are its ``Anonymous()``.

    ``domain`` is this host's name; ``timeout`` how many seconds a client may be silent, None for ever;
    ``context`` a TLS context factory, with which STARTTLS is offered; ``challengers`` maps names (octets or text)
    to callables that make an ``IChallengeResponse``. PLAIN and LOGIN are offered under TLS only, unless
    ``clear_auth`` is true. SCRAM-SHA-256 needs no challenger, but a checker of the portal that keeps its keys
    (`mailserver.interfaces.IScramKeys`).
    ``extensions`` are EHLO keywords that the application honours beyond what the engine does by itself: ``DSN``,
    ``SMTPUTF8``; ``extensions_off`` those that are not to be offered.
    ``limits`` bounds a session, ``bounds`` says how many seconds a hook of the application has.
    """

    protocol: Any = smtp.ESMTP
    domain: bytes | str = smtp.DNSNAME
    timeout: float | None = 600
    context: Any = None
    clear_auth = False
    extensions: Collection[str] = ()
    extensions_off: Collection[str] = ()
    limits = ServerLimits(max_recipients=1_000)
    bounds = Bounds()

    def __init__(self, portal: Any = None, *, reactor: Any = None, clock: IClock | None = None) -> None:
        self.portal = portal
        self.challengers: Any = {b"CRAM-MD5": CramMD5Credentials}
        self.clock = clock or SystemClock()
        self.log = TwistedLog()
        self._reactor = reactor
        self._connections: set[ESMTPConnection] = set()
        self._tick: IDelayedCall | None = None

    def startFactory(self) -> None:
        """A port opens. Raises OverriddenProtocol."""
        check_protocol(self.protocol)

    def buildProtocol(self, addr: Any) -> ESMTPConnection:
        """A protocol whose attributes are still to be changed. Raises OverriddenProtocol."""
        check_protocol(self.protocol)
        connection = ESMTPConnection()
        connection.factory = self
        connection.portal = self.portal
        connection.host = self.domain
        connection.timeout = self.timeout
        connection.challengers = self.challengers
        connection.ctx = self.context
        return connection

    def began(self, connection: ESMTPConnection) -> None:
        """A connection is there: its deadlines are watched from now on."""
        self._connections.add(connection)
        if self._tick is None:
            self._again()

    def ended(self, connection: ESMTPConnection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if not self._connections and self._tick is not None:
            tick, self._tick = self._tick, None
            tick.cancel()

    def _again(self) -> None:
        if self._reactor is None:
            from twisted.internet import reactor  # noqa: PLC0415 - by now the application has chosen one

            self._reactor = reactor
        self._tick = self._reactor.callLater(TICK, self._check)

    def _check(self) -> None:
        self._tick = None
        now = self.clock.monotonic()
        for connection in list(self._connections):
            connection.check_deadline(now)
            connection.session.check(now)
        if self._connections:
            self._again()


def check_protocol(kind: Any) -> None:
    """Raises OverriddenProtocol unless `kind` is Twisted's own protocol, which stands for ours here."""
    if kind is smtp.ESMTP or kind is smtp.SMTP or kind is None or kind is ESMTPConnection:
        return
    mro = getattr(kind, "__mro__", ())
    own = [one for one in mro if one not in smtp.ESMTP.__mro__]
    names = sorted({name for one in own for name in vars(one) if not name.startswith("__") or name == "__init__"})
    if smtp.SMTP in mro and not names:
        return
    place = f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', repr(kind))}"
    what = f"overrides {', '.join(names)}" if names else "is no protocol of this factory"
    raise OverriddenProtocol(
        f"{place} {what}: the protocol is this server's own and cannot be replaced or changed. What the class "
        "decides belongs into an IMessageDelivery, a credentials checker or an attribute of the factory; see "
        "docs/coming-from-twisted-mail.md"
    )


def _octets(host: bytes | str) -> bytes:
    return host if isinstance(host, bytes) else str(host).encode("ascii")
