"""From a connection to a session: one factory per listener of the settings.

It keeps the sessions that are open, asks the limits before anything is said, checks the deadlines of all of
them once a second, and says 421 to all of them when the server stops.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, ServerFactory

from mailserver.log import new_session_id
from mailserver.net import atonce
from mailserver.net.server import ServerProtocol, Surroundings
from mailserver.reception import refusals
from mailserver.reception.asking import Asking, Bounds
from mailserver.reception.limits import Connections, PerMinute
from mailserver.reception.login import Login
from mailserver.reception.session import Peer, Session, World
from mailserver.settings.model import Listener, Settings
from mailserver.smtp import sasl
from mailserver.smtp.limits import Patience, Profile, ServerLimits
from mailserver.smtp.reply import Reply
from mailserver.smtp.server import ServerCore

# An application has a little less time than the client, who should hear of it.
_EARLIER = 0.9


def profile_of(settings: Settings, listener: Listener) -> Profile:
    """The listener as the protocol core sees it. AUTH only on submission, and only under TLS."""
    submission = listener.role == "submission"
    reception, timeouts = settings.reception, settings.timeouts
    return Profile(
        host_name=settings.host_name,
        mechanisms=("PLAIN", "LOGIN") if submission else (),
        starttls=listener.tls == "starttls",
        auth_required=submission,
        submission=submission,
        limits=ServerLimits(
            max_message_size=reception.max_message_size,
            max_recipients=reception.max_recipients,
            error_limit=reception.error_limit,
            max_line_length=reception.max_line_length,
            max_commands=reception.max_commands,
            junk_limit=reception.junk_limit,
        ),
        patience=Patience(
            greeting=min(timeouts.greeting, listener.idle_timeout),
            command=min(timeouts.command, listener.idle_timeout),
            data_block=timeouts.data_block,
            data_end=timeouts.data_end,
        ),
    )


class _Refused(Protocol):
    """A connection that is one too many."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(refusals.TOO_MANY_CONNECTIONS.wire)
        self.transport.loseConnection()


class _Session(Session):
    """A session that gives its place back."""

    def __init__(self, factory: ReceptionFactory, peer: Peer, login: Login, tls: bool) -> None:
        super().__init__(factory.world, peer, login, tls)
        self.factory = factory
        self._address = peer.address

    def lost(self, reason: str) -> None:
        super().lost(reason)
        self.factory.ended(self, self._address)


class ReceptionFactory(ServerFactory):
    """``context`` is the listener's TLS context, set before the port opens where there is TLS."""

    noisy = False

    def __init__(self, settings: Settings, listener: Listener, world: World, portal: Portal) -> None:
        self.world = world
        self.portal = portal
        self.context: Any = None
        self.connections = Connections(listener.max_connections, listener.max_connections_per_ip)
        self._per_minute = PerMinute(settings.limits.connections_per_minute)
        self._profile = profile_of(settings, listener)
        self._listener = listener
        self._sessions: set[_Session] = set()
        self._drained: list[Deferred[None]] = []
        self._surroundings: Surroundings | None = None
        timeouts = settings.timeouts
        self._bounds = Bounds(timeouts.command * _EARLIER, timeouts.data_end * _EARLIER)
        self._send = atonce.send if settings.reception.send_at_once else atonce.queue

    def buildProtocol(self, addr: Any) -> Protocol:
        """A session, or a 421 for one connection too many."""
        world, address = self.world, plain_address(addr.host)
        allowed = self._per_minute.count(address, world.clock.monotonic())
        if not allowed or not self.connections.enter(address):
            world.log.event("connection.refused", client=address, listener=self._listener.name)
            return _Refused()
        if self._surroundings is None:
            self._surroundings = Surroundings(world.clock, world.log, self.context, send=self._send)
        tls = self._listener.tls == "implicit"
        peer = Peer(address, self._listener.name, self._profile.submission, new_session_id())
        asking = Asking(world.clock, world.log, peer.session, self._bounds)
        session = _Session(self, peer, Login(self.portal, asking), tls)
        core = ServerCore(self._profile, sasl.PASSWORD_MECHANISMS, tls)
        session.protocol = ServerProtocol(core, session, self._surroundings)
        self._sessions.add(session)
        world.log.event("session.opened", session=peer.session, client=address, listener=peer.listener)
        protocol: ServerProtocol = session.protocol
        return protocol

    def ended(self, session: _Session, address: str) -> None:
        """A session is over."""
        self._sessions.discard(session)
        self.connections.leave(address)
        if not self._sessions:
            waiting, self._drained = self._drained, []
            for one in waiting:
                one.callback(None)

    def tick(self) -> None:
        """Once a second."""
        now = self.world.clock.monotonic()
        for session in list(self._sessions):
            session.protocol.check_deadline(now)
            session.check(now)

    def hang_up(self, reply: Reply) -> None:
        """421 to everybody: at once, or after the content that is under way."""
        for protocol in self._protocols():
            protocol.hang_up(reply)

    def abort(self) -> None:
        """Cut every session."""
        for protocol in self._protocols():
            protocol.abort()

    def drained(self) -> Deferred[None]:
        """Fires when there is no session."""
        done: Deferred[None] = Deferred()
        if self._sessions:
            self._drained.append(done)
        else:
            done.callback(None)
        return done

    def _protocols(self) -> list[ServerProtocol]:
        return [one.protocol for one in self._sessions]


def plain_address(host: str) -> str:
    """An IPv4 client of a socket for both families, as IPv4."""
    return host.removeprefix("::ffff:") if host.startswith("::ffff:") and "." in host else host
