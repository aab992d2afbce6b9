"""Outgoing SMTP connections: the sockets under :mod:`mailserver.smtp.client`.

:class:`Connector` opens a session with one host at one address and sets it up as its plan says (TLS, login).
:class:`ClientSession` then sends one message after another over it. What goes wrong is an
:class:`~mailserver.message.outcome.Outcome`, never an exception.

Connections are made to an address, to a name (both families at once, RFC 8305) or by anybody's endpoint. When
a Deferred that waits here is cancelled, the connection is cut.

Opportunistic TLS whose handshake fails is followed by one more connection, in clear: mail that nobody asked to
protect is not lost to a broken certificate. Content goes out as fast as the peer reads: what is in memory and
small in one write (with its envelope, where the host offers CHUNKING), everything else piece by piece, files read
on the disk pool. Each wait has its time-out (RFC 5321 §4.5.3.2); only whole replies and content that went out are
signs of life.

One envelope is one write, on connections with TCP_NODELAY, since a segment waiting for Nagle's algorithm
costs 40 ms.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.error import DNSLookupError, UnknownHostError
from twisted.internet.protocol import Factory

from mailserver.interfaces import IThreads
from mailserver.message.content import Content
from mailserver.message.envelope import Recipient
from mailserver.message.outcome import Outcome, Scope, transient
from mailserver.message.route import Attempt
from mailserver.net.asked import EIGHT_BIT, transaction_of, truly
from mailserver.net.outcomes import outcome_of
from mailserver.net.tls import CertificateProblem, ClientContexts
from mailserver.net.wire import Wire
from mailserver.settings.forms import UNIX, HostPort
from mailserver.smtp.address import Domain
from mailserver.smtp.client import ClientCore
from mailserver.smtp.clientstates import State
from mailserver.smtp.plan import Answered, Derive, Ended, Event, Ready, SendContent, SessionPlan
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Answer, Phase, Transaction

# Up to here a content in memory is written at once; the same number bounds what a slow peer makes us hold.
AT_ONCE = 262_144
# Up to here it goes along with the envelope. More would not leave at once anyway: a new connection takes some
# 14 KiB before the first answer (RFC 6928), and what a host refuses is sent for nothing.
ONE_FLIGHT = 65_536


@dataclass(frozen=True, slots=True)
class Peer:
    """A host (its name, for certificates and reports) at one IP address; "" leaves finding one to the system.
    ``unix:PATH`` in its place is a socket of this machine.

    ``endpoint``, an IStreamClientEndpoint, makes the connection where the host is known by nothing else."""

    host: str
    address: str
    port: int
    endpoint: Any = None

    def __str__(self) -> str:
        if self.endpoint is not None:
            return self.host
        if self.address.startswith(UNIX):
            return self.address
        if self.address in ("", self.host):
            return str(HostPort(self.host, self.port))
        return f"{self.host}[{self.address}]:{self.port}"


class ClientSession:
    """A session that is set up. ``sent`` counts the messages that were tried over it."""

    def __init__(self, wire: Wire, peer: Peer, threads: IThreads) -> None:
        self.sent = 0
        self.peer = peer
        self._wire = wire
        self._threads = threads
        self._domains: set[Domain | None] = set()

    @property
    def usable(self) -> bool:
        """True when a message can be sent now. After as many as the host takes in a session it cannot."""
        core = self._wire.core
        return core.state is State.READY and not 0 < core.limits.mails <= self.sent

    def room(self, recipients: Sequence[Recipient]) -> int:
        """How many of `recipients`, from the first on, the host takes in the next transaction (RFC 9422); 0 means
        another session, and never comes from a new one."""
        limits = self._wire.core.limits
        most = min(len(recipients), limits.recipients or len(recipients))
        if not limits.domains:
            return most
        domains = set(self._domains)
        for place, recipient in enumerate(recipients[:most]):
            domains.add(recipient.mailbox.domain)
            if len(domains) > limits.domains:
                return place
        return most

    async def send(self, attempt: Attempt) -> dict[Recipient, Outcome]:
        """Send the message of `attempt` to its recipients: one outcome for each."""
        wire, content = self._wire, attempt.content
        try:
            transaction = await self._asked(attempt)
        except OSError as error:
            return dict.fromkeys(attempt.recipients, _unreadable(error))
        if wire.ended is not None:
            return dict.fromkeys(attempt.recipients, outcome_of(wire.ended.answer or _GONE, self.peer.host))
        whole = b"".join(content.chunks()) if self._in_one_flight(attempt) else None
        self.sent += 1
        if wire.core.limits.domains:
            self._domains.update(recipient.mailbox.domain for recipient in attempt.recipients)
        try:
            return await self._transact(attempt, transaction, whole)
        except CancelledError:
            self.abort()
            raise

    async def _asked(self, attempt: Attempt) -> Transaction:
        core = self._wire.core
        transaction = await truly(transaction_of(attempt), attempt.content, core.offers, self._threads)
        if core.plan.any_octets and EIGHT_BIT not in core.offers:
            return replace(transaction, body=None)
        return transaction

    def _in_one_flight(self, attempt: Attempt) -> bool:
        """Whether the content goes along with the envelope, where the host takes it so.

        What it costs: from the first octet on, a lost connection is an uncertain one, after which no other host is
        asked. So the second attempt goes step by step; and the second message of a session, which tells a host
        that closes after each one from a host that keeps the connection.
        """
        content = attempt.content
        if not self._wire.core.one_flight or attempt.again or self.sent == 1:
            return False
        return content.file is None and content.stored <= ONE_FLIGHT

    async def _transact(
        self, attempt: Attempt, transaction: Transaction, whole: bytes | None
    ) -> dict[Recipient, Outcome]:
        duty_goes = "DSN" in self._wire.core.offers
        try:
            self._wire.core.start(transaction, whole)
        except ValueError as error:
            return dict.fromkeys(attempt.recipients, _unreadable(error))
        self._wire.turn()
        event = await self._wire.next()
        broken: Outcome | None = None
        if isinstance(event, SendContent):
            broken = await self._give(attempt.content)
            event = await self._wire.next()
        assert isinstance(event, Answered), event
        pairs = zip(attempt.recipients, event.answers, strict=True)
        return {
            recipient: broken if broken and answer.reply is None else outcome_of(answer, self.peer.host, duty_goes)
            for recipient, answer in pairs
        }

    async def _give(self, content: Content) -> Outcome | None:
        """Send the content; answers an outcome when it could not be read."""
        core = self._wire.core
        if core.state is not State.CONTENT:
            return None  # the session ended with the very reply that asked for the content
        try:
            if content.file is None and content.stored <= AT_ONCE:
                for piece in content.chunks():
                    core.content(piece)
            else:
                await self._stream(content)
        except CancelledError:
            raise
        except Exception as error:
            # Without its end the peer must not take it for a message: the connection is cut.
            self.abort()
            return _unreadable(error)
        if core.state is State.CONTENT:
            core.content_end()
            self._wire.turn()
        return None

    async def _stream(self, content: Content) -> None:
        core, transport = self._wire.core, self._wire.transport
        transport.registerProducer(self._wire, True)
        try:
            pieces = content.chunks()
            while (piece := await self._piece(content, pieces)) is not None and core.state is State.CONTENT:
                core.content(piece)
                self._wire.turn()
                if (room := self._wire.room()) is not None:
                    await room
        finally:
            transport.unregisterProducer()

    async def _piece(self, content: Content, pieces: Iterator[bytes]) -> bytes | None:
        if content.file is None:
            return next(pieces, None)
        piece: bytes | None = await self._threads("disk", next, pieces, None)
        return piece

    def quit(self) -> Deferred[None]:
        """End the session in good order; fires when the connection is gone."""
        if self._wire.core.state is State.READY:
            self._wire.core.quit()
            self._wire.turn()
        elif self._wire.ended is None:
            self.abort()
        return self._wire.closed()

    def abort(self) -> None:
        """End it at once, whatever is under way."""
        self._wire.core.connection_lost("given up here")
        self._wire.turn()


_GONE = Answer(Phase.MAIL, None, Status(4, 4, 2), "the session is over")


def _unreadable(error: Exception) -> Outcome:
    return transient(f"the content cannot be read: {error}", Status(4, 3, 0), Scope.MESSAGE)


class _WireFactory(Factory):
    noisy = False

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def buildProtocol(self, addr: Any) -> Wire:
        return self._wire


@dataclass(frozen=True, slots=True)
class Connector:
    """Opens sessions. ``connect_timeout`` in seconds; ``bind_address`` "" lets the system choose."""

    reactor: Any
    threads: IThreads
    contexts: ClientContexts
    connect_timeout: float = 30
    bind_address: str = ""

    async def connect(self, peer: Peer, plan: SessionPlan, ca_file: str = "") -> ClientSession | Outcome:
        """A session with `peer` that is set up, or why there is none."""
        session = await self._open(peer, plan, ca_file)
        if isinstance(session, Answer):
            if session.phase is not Phase.TLS or plan.tls != "opportunistic":
                return outcome_of(session, peer.host)
            session = await self._open(peer, replace(plan, tls="off"), "")
        return outcome_of(session, peer.host) if isinstance(session, Answer) else session

    async def _open(self, peer: Peer, plan: SessionPlan, ca_file: str) -> ClientSession | Answer:
        try:
            creator = None if plan.tls == "off" else self.contexts.creator(plan.tls, peer.host, ca_file)
        except CertificateProblem as problem:
            return Answer(Phase.TLS, None, Status(4, 7, 5), str(problem))
        # RFC 5802 §5.1: a nonce is printable, without commas, and never used twice.
        core = ClientCore(plan, secrets.token_urlsafe(18))
        wire = Wire(self.reactor, core, creator, plan.checks_certificate)
        try:
            await self._endpoint(peer).connect(_WireFactory(wire))
        except CancelledError:
            raise
        except Exception as error:  # an endpoint may be anybody's
            return _no_connection(peer, error)
        session = ClientSession(wire, peer, self.threads)
        try:
            event = await self._set_up(wire)
        except CancelledError:
            session.abort()
            raise
        if isinstance(event, Ended):
            # Until it is gone it counts: a destination must not have more connections than its window.
            await wire.closed()
            return event.answer or _GONE
        assert isinstance(event, Ready), event
        return session

    async def _set_up(self, wire: Wire) -> Event:
        event = await wire.next()
        if isinstance(event, Derive):
            try:
                # Not the password pool: a flood of logins here must not hold up the mail that goes out.
                wire.core.derived(await self.threads("plugin", event.work))
            except CancelledError:
                raise
            except Exception as error:
                wire.core.connection_lost(f"the login could not be worked out: {error}")
            wire.turn()
            event = await wire.next()
        return event

    def _endpoint(self, peer: Peer) -> Any:
        if peer.endpoint is not None:
            return peer.endpoint
        bind = (self.bind_address, 0) if self.bind_address else None
        if not peer.address:
            return HostnameEndpoint(self.reactor, peer.host, peer.port, self.connect_timeout, bind)
        if peer.address.startswith(UNIX):
            return UNIXClientEndpoint(self.reactor, peer.address[len(UNIX) :], self.connect_timeout)
        kind = TCP6ClientEndpoint if isinstance(ip_address(peer.address), IPv6Address) else TCP4ClientEndpoint
        return kind(self.reactor, peer.address, peer.port, self.connect_timeout, bind)


def _no_connection(peer: Peer, error: Exception) -> Answer:
    if isinstance(error, DNSLookupError | UnknownHostError):
        return Answer(Phase.LOOKUP, None, Status(4, 4, 3), f"the name of {peer} is not found: {error}")
    return Answer(Phase.CONNECT, None, Status(4, 4, 1), f"cannot connect to {peer}: {error}")
