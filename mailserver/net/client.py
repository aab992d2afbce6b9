"""Outgoing SMTP connections: the sockets under :mod:`mailserver.smtp.client`.

:class:`Connector` opens a session with one host at one address and sets it up as its plan says (TLS, login).
:class:`ClientSession` then sends one message after another over it. What goes wrong is an
:class:`~mailserver.message.outcome.Outcome`, never an exception.

Connections are made to an address, to a name (both families at once, RFC 8305) or by anybody's endpoint. When
a Deferred that waits here is cancelled, the connection is cut.

Opportunistic TLS whose handshake fails is followed by one more connection, in clear: mail that nobody asked to
protect is not lost to a broken certificate. Content goes out as fast as the peer reads: what is in memory and
small in one write, everything else piece by piece, files read on the disk pool. Each wait has its time-out
(RFC 5321 §4.5.3.2); only whole replies and content that went out count as a sign of life.

One envelope is one write, on connections with TCP_NODELAY, since a segment waiting for Nagle's algorithm
costs 40 ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import DNSLookupError, UnknownHostError
from twisted.internet.protocol import Factory

from mailserver.interfaces import IThreads
from mailserver.message.content import Content
from mailserver.message.envelope import Original, Recipient
from mailserver.message.outcome import Outcome, Scope, transient
from mailserver.message.route import Attempt
from mailserver.net.outcomes import outcome_of
from mailserver.net.tls import CertificateProblem, ClientContexts
from mailserver.net.wire import Wire
from mailserver.settings.forms import HostPort
from mailserver.smtp.client import ClientCore, State
from mailserver.smtp.plan import Answered, Ended, Ready, SendContent, SessionPlan
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Answer, ForwardPath, Phase, Transaction

# Up to here a content in memory is written at once; the same number bounds what a slow peer makes us hold.
AT_ONCE = 262_144


@dataclass(frozen=True, slots=True)
class Peer:
    """A host (its name, for certificates and reports) at one IP address; "" leaves finding one to the system.

    ``endpoint``, an IStreamClientEndpoint, makes the connection where the host is known by nothing else."""

    host: str
    address: str
    port: int
    endpoint: Any = None

    def __str__(self) -> str:
        if self.endpoint is not None:
            return self.host
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

    @property
    def usable(self) -> bool:
        """True when a message can be sent now."""
        return self._wire.core.state is State.READY

    async def send(self, attempt: Attempt) -> dict[Recipient, Outcome]:
        """Send the message of `attempt` to its recipients: one outcome for each."""
        transaction = transaction_of(attempt)
        if transaction.body == "8BITMIME" and self.usable and "8BITMIME" not in self._wire.core.offers:
            try:
                if await self._ascii(attempt.content):
                    # Declared, but not so: it needs nothing that this host has not (RFC 6152 §3).
                    transaction = replace(transaction, body=None)
            except OSError as error:
                return dict.fromkeys(attempt.recipients, _unreadable(error))
        if self._wire.ended is not None:
            answer = self._wire.ended.answer or _GONE
            return dict.fromkeys(attempt.recipients, outcome_of(answer, self.peer.host))
        self.sent += 1
        try:
            return await self._transact(attempt, transaction)
        except CancelledError:
            self.abort()
            raise

    async def _ascii(self, content: Content) -> bool:
        if content.file is None:
            return content.ascii()
        answer: bool = await self._threads("disk", content.ascii)
        return answer

    async def _transact(self, attempt: Attempt, transaction: Transaction) -> dict[Recipient, Outcome]:
        self._wire.core.start(transaction)
        self._wire.turn()
        event = await self._wire.next()
        broken: Outcome | None = None
        if isinstance(event, SendContent):
            broken = await self._give(attempt.content)
            event = await self._wire.next()
        assert isinstance(event, Answered), event
        pairs = zip(attempt.recipients, event.answers, strict=True)
        return {
            recipient: broken if broken and answer.reply is None else outcome_of(answer, self.peer.host)
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
        if self.usable:
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


def transaction_of(attempt: Attempt) -> Transaction:
    """What the core is asked to send."""
    envelope, route = attempt.envelope, attempt.route
    return Transaction(
        envelope.reverse_path if route.reverse_path is None else route.reverse_path,
        tuple(_forward_path(recipient) for recipient in attempt.recipients),
        attempt.content.size,
        envelope.body,
        envelope.smtputf8,
        envelope.ret,
        envelope.envid,
    )


def _forward_path(recipient: Recipient) -> ForwardPath:
    """RFC 3461 §5.2.1 and §5.2.7.1: parameters are passed on as they came, and none is made up.

    Where several originals became this one, its reports go to one place under one name: the first's, and
    whatever any of them asked to be told.
    """
    originals = recipient.originals
    if not originals:
        return ForwardPath(recipient.mailbox)
    return ForwardPath(recipient.mailbox, _notify(originals), originals[0].orcpt)


def _notify(originals: tuple[Original, ...]) -> frozenset[str] | None:
    first = originals[0].notify
    if len(originals) == 1 or any(original.notify is None for original in originals):
        return first if len(originals) == 1 else None
    asked = frozenset[str]().union(*(original.notify or () for original in originals))
    return (asked - {"NEVER"}) or first


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
        wire = Wire(self.reactor, ClientCore(plan), creator, plan.checks_certificate)
        try:
            await self._endpoint(peer).connect(_WireFactory(wire))
        except CancelledError:
            raise
        except Exception as error:  # an endpoint may be anybody's
            return _no_connection(peer, error)
        session = ClientSession(wire, peer, self.threads)
        try:
            event = await wire.next()
        except CancelledError:
            session.abort()
            raise
        if isinstance(event, Ended):
            # Until it is gone it counts: a destination must not have more connections than its window.
            await wire.closed()
            return event.answer or _GONE
        assert isinstance(event, Ready), event
        return session

    def _endpoint(self, peer: Peer) -> Any:
        if peer.endpoint is not None:
            return peer.endpoint
        bind = (self.bind_address, 0) if self.bind_address else None
        if not peer.address:
            return HostnameEndpoint(self.reactor, peer.host, peer.port, self.connect_timeout, bind)
        kind = TCP6ClientEndpoint if isinstance(ip_address(peer.address), IPv6Address) else TCP4ClientEndpoint
        return kind(self.reactor, peer.address, peer.port, self.connect_timeout, bind)


def _no_connection(peer: Peer, error: Exception) -> Answer:
    if isinstance(error, DNSLookupError | UnknownHostError):
        return Answer(Phase.LOOKUP, None, Status(4, 4, 3), f"the name of {peer} is not found: {error}")
    return Answer(Phase.CONNECT, None, Status(4, 4, 1), f"cannot connect to {peer}: {error}")
