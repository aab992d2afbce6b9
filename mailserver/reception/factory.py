"""From a connection to a session: one factory per listener of the settings.

It keeps the sessions that are open, asks the limits before anything is said, checks the deadlines of all of
them once a second, and says 421 to all of them when the server stops.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from ipaddress import IPv6Address
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, ServerFactory

from mailserver.log import new_session_id
from mailserver.net import atonce
from mailserver.net.proxyprotocol import Announced, Header
from mailserver.net.server import ServerProtocol, Surroundings
from mailserver.reception import refusals
from mailserver.reception.asking import Asking, Bounds
from mailserver.reception.extensions import extensions_of
from mailserver.reception.limits import Connections, PerMinute
from mailserver.reception.login import Login
from mailserver.reception.mechanisms import MECHANISMS, mechanisms_for
from mailserver.reception.session import Session
from mailserver.reception.view import address_of
from mailserver.reception.world import Peer, World
from mailserver.settings.forms import within
from mailserver.settings.listener import Listener
from mailserver.settings.model import Settings
from mailserver.smtp.limits import Patience, Profile, ServerLimits
from mailserver.smtp.reply import Reply
from mailserver.smtp.server import ServerCore

# How long a proxy may take for its header, in seconds: 3 are the least (a lost packet sent again), and
# smtpd_upstream_proxy_timeout of Postfix is the precedent.
HEADER_TIME = 5
# An application has a little less time than the client, who should hear of it.
_EARLIER = 0.9


def profile_of(settings: Settings, listener: Listener, portal: Any) -> Profile:
    """The listener as the protocol core sees it. AUTH only on submission, only under TLS, and only with what a
    checker of `portal` takes; extensions as far as its realm honours them."""
    submission = listener.role == "submission"
    reception, timeouts = settings.reception, settings.timeouts
    return Profile(
        host_name=settings.host_name,
        extensions=extensions_of(getattr(portal, "realm", None), listener.extensions_off),
        mechanisms=mechanisms_for(portal) if submission else (),
        starttls=listener.tls == "starttls",
        auth_required=submission,
        submission=submission,
        lmtp=listener.role == "lmtp",
        normalizes=submission and reception.submission_line_ends == "normalize",
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

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    def connectionMade(self) -> None:
        assert self.transport is not None
        refusal = refusals.TOO_MANY_CONNECTIONS
        self.transport.write(refusal.wire if self._profile.enhanced else refusal.plain)
        self.transport.loseConnection()


class _Session(Session):
    """A session that gives its place back; ``counted`` is the client whose place it has."""

    def __init__(self, factory: ReceptionFactory, peer: Peer, login: Login, counted: str | None) -> None:
        super().__init__(factory.world, peer, login, factory.tls)
        self.factory = factory
        self.greeting_delay = factory.greeting_delay
        self.id = peer.session
        self.counted = counted

    def _moves(self, address: str) -> bool:
        moves: bool = self.factory.moves(self, address)
        return moves

    def lost(self, reason: str) -> None:
        super().lost(reason)
        self.factory.ended(self)


class ReceptionFactory(ServerFactory):
    """``context`` is the listener's TLS context, set before the port opens where there is TLS."""

    noisy = False

    def __init__(self, settings: Settings, listener: Listener, world: World, portal: Portal) -> None:
        self.world = world
        self.portal = portal
        self.context: Any = None
        self.connections = Connections(listener.max_connections, listener.max_connections_per_ip)
        self._per_minute = PerMinute(settings.limits.connections_per_minute)
        self._settings = settings
        self._listener = listener
        self.tls = listener.tls == "implicit"
        # RFC 5321 §3.1: a client waits for the greeting. Ours in submission have better things to do.
        self.greeting_delay = settings.reception.greeting_delay if listener.role == "mx" else 0
        self._proxies, self._xclients = listener.proxies, listener.xclients
        self._sessions: set[_Session] = set()
        self._waiting: set[Announced] = set()
        self._drained: list[Deferred[None]] = []
        self._surroundings: Surroundings | None = None
        timeouts = settings.timeouts
        self._bounds = Bounds(timeouts.command * _EARLIER, timeouts.data_end * _EARLIER)
        self._send = atonce.send if settings.reception.send_at_once else atonce.queue

    @cached_property
    def _profile(self) -> Profile:
        # Made for the first connection: an application registers its checkers when it likes, before that.
        return profile_of(self._settings, self._listener, self.portal)

    @cached_property
    def _believing(self) -> Profile:
        return replace(self._profile, xclient=True)

    def buildProtocol(self, addr: Any) -> Protocol:
        """A session, a 421 for one connection too many, or one whose header is waited for."""
        address = plain_address(addr.host)
        if not self.connections.accept():
            return self._refuse(address)
        if self._proxies and within(address, self._proxies):
            return self._announced(address)
        return self._admit(address)

    def _announced(self, proxy: str) -> Protocol:
        world, name = self.world, self._listener.name

        def refused(why: str) -> None:
            world.log.event("proxy.refused", client=proxy, listener=name, reason=why)

        def begin(waiting: Announced, header: Header, early: bool) -> Protocol:
            self._waiting.discard(waiting)
            return self._admit(proxy, header, early)

        waiting = Announced(begin, refused, self._never_began, world.clock.monotonic() + HEADER_TIME)
        self._waiting.add(waiting)
        return waiting

    def _never_began(self, waiting: Announced) -> None:
        self._waiting.discard(waiting)
        self.connections.leave()
        self._drain()

    def _admit(self, by: str, header: Header | None = None, early: bool = False) -> Protocol:
        """The session of a connection that has a place; `by` made it, for the client of `header` where there is
        one."""
        source = None if header is None else header.source
        address = by if source is None else plain_address(source[0])
        believed = bool(self._xclients) and within(address, self._xclients)
        # Who speaks for many is not one of them: their places are counted when they are named.
        if not believed and not self._place_for(address):
            self.connections.leave()
            return self._refuse(address)
        session = self._session(address, believed)
        protocol: ServerProtocol = session.protocol
        protocol.core.early = early and not self.tls
        if header is not None and source is not None:
            protocol.stated_peer = address_of(address, source[1])
            protocol.stated_host = None if header.destination is None else address_of(*header.destination)
        via = {} if address == by else {"via": by}
        self.world.log.event(
            "session.opened", session=session.id, client=address, listener=self._listener.name, **via
        )
        return protocol

    def _session(self, address: str, believed: bool) -> _Session:
        world = self.world
        if self._surroundings is None:
            self._surroundings = Surroundings(world.clock, world.log, self.context, send=self._send)
        profile = self._profile
        peer = Peer(address, self._listener.name, profile.submission, new_session_id(), profile.lmtp)
        login = Login(self.portal, Asking(world.clock, world.log, peer.session, self._bounds))
        session = _Session(self, peer, login, None if believed else address)
        core = ServerCore(self._believing if believed else self._profile, MECHANISMS, self.tls)
        session.protocol = ServerProtocol(core, session, self._surroundings)
        self._sessions.add(session)
        return session

    def _refuse(self, address: str) -> Protocol:
        self.world.log.event("connection.refused", client=address, listener=self._listener.name)
        return _Refused(self._profile)

    def _place_for(self, address: str) -> bool:
        allowed = self._per_minute.count(address, self.world.clock.monotonic())
        return allowed and self.connections.claim(address)

    def moves(self, session: _Session, address: str) -> bool:
        """Whether there is a place for a session that is the client's at `address` from now on (XCLIENT)."""
        if session.counted != address:
            if not self._place_for(address):
                return False
            self._release(session)
            session.counted = address
        return True

    def _release(self, session: _Session) -> None:
        if session.counted is not None:
            self.connections.release(session.counted)

    def ended(self, session: _Session) -> None:
        """A session is over."""
        self._sessions.discard(session)
        self.connections.leave()
        self._release(session)
        self._drain()

    def _drain(self) -> None:
        if not self._sessions and not self._waiting:
            waiting, self._drained = self._drained, []
            for one in waiting:
                one.callback(None)

    def tick(self) -> None:
        """Once a second."""
        now = self.world.clock.monotonic()
        for session in list(self._sessions):
            session.protocol.check_deadline(now)
            session.check(now)
        for waiting in list(self._waiting):
            waiting.check_deadline(now)

    def hang_up(self, reply: Reply) -> None:
        """421 to everybody: at once, or after the content that is under way."""
        for protocol in self._protocols():
            protocol.hang_up(reply)
        for waiting in list(self._waiting):
            waiting.abort()

    def abort(self) -> None:
        """Cut every session."""
        for protocol in self._protocols():
            protocol.abort()
        for waiting in list(self._waiting):
            waiting.abort()

    def drained(self) -> Deferred[None]:
        """Fires when there is no session."""
        done: Deferred[None] = Deferred()
        if self._sessions or self._waiting:
            self._drained.append(done)
        else:
            done.callback(None)
        return done

    def _protocols(self) -> list[ServerProtocol]:
        return [one.protocol for one in self._sessions]


def plain_address(host: str) -> str:
    """An IPv4 client of a socket for both families, as IPv4."""
    mapped = IPv6Address(host).ipv4_mapped if host.startswith("::ffff:") else None
    return host if mapped is None else str(mapped)
