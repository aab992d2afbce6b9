"""The delivery object of our own realm.

It provides Twisted's ``IMessageDelivery``, as every avatar of the portal must, and says who it is
(:class:`IIdentified`). A session of ours finds that by adaptation and takes its own, faster path; inside a
stock ``twisted.mail.smtp`` factory the same object stores into our spool: one message for all recipients of
a transaction, answered by the commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.mail.interfaces import IMessageDelivery, IMessageSMTP
from twisted.mail.smtp import SMTPBadRcpt, SMTPBadSender
from zope.interface import Attribute, Interface, implementer

from mailserver.interfaces import IClock, IIntake
from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Facts, Original
from mailserver.message.identity import Identity
from mailserver.message.prepared import new_queue_id
from mailserver.message.trace import Hop, received
from mailserver.reception.policy import Policy
from mailserver.smtp.address import Mailbox
from mailserver.smtp.reply import Reply


class IIdentified(Interface):
    """An avatar that says who it is; our own policy applies to it."""

    identity = Attribute("A `mailserver.message.identity.Identity`.")


@dataclass(frozen=True, slots=True)
class Store:
    """How a delivery reaches the spool."""

    intake: IIntake
    new_content: Callable[[], Content]
    policy: Policy
    clock: IClock
    host_name: str


@implementer(IMessageDelivery, IIdentified)
class SpoolDelivery:
    """Stores what one identity sends. Made by the realm at each login; keeps one transaction at a time."""

    def __init__(self, identity: Identity, store: Store) -> None:
        self.identity = identity
        self._store = store
        self._helo: tuple[bytes, bytes] = (b"", b"")
        self._sender = Mailbox("", None)
        self._incoming: _Incoming | None = None

    def validateFrom(self, helo: tuple[bytes, bytes], origin: Any) -> Any:
        """The sender must belong to the identity."""
        self._helo, self._sender, self._incoming = helo, _mailbox(origin), None
        refusal = self._store.policy.sender(self._sender, self.identity)
        if refusal is not None:
            raise SMTPBadSender(origin, refusal.code, _text(refusal))
        return origin

    def validateTo(self, user: Any) -> Deferred[Callable[[], Any]]:
        """Local recipients for everybody, all others for whoever may relay."""
        return Deferred.fromCoroutine(self._validated(user))

    async def _validated(self, user: Any) -> Callable[[], Any]:
        mailbox = _mailbox(user.dest)
        refusal: Any = self._store.policy.recipient(mailbox, self.identity, self._client)
        if refusal is not None and not isinstance(refusal, Reply):
            refusal = await refusal
        if refusal is not None:
            raise SMTPBadRcpt(user, refusal.code, _text(refusal))
        return lambda: self._sink(mailbox)

    @property
    def _client(self) -> str:
        return self._helo[1].decode("ascii", "replace")

    def _sink(self, mailbox: Mailbox) -> _Sink:
        first = self._incoming is None or self._incoming.begun
        if first:
            self._incoming = _Incoming(self._store, self._envelope())
        assert self._incoming is not None
        self._incoming.originals.append(Original(mailbox))
        return _Sink(self._incoming, first)

    def _envelope(self) -> Envelope:
        helo = self._helo[0].decode("ascii", "replace")
        return Envelope(
            self._sender,
            identity=self.identity.account,
            client_address=self._client,
            helo=helo,
            protocol="ESMTPA" if self.identity.account else "ESMTP",
        )

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        """Nothing here: the trace field is written when the content is complete."""
        return b""


class _Incoming:
    """One message on its way to the spool, shared by the sinks of its recipients."""

    def __init__(self, store: Store, envelope: Envelope) -> None:
        self._store = store
        self._envelope = envelope
        self._content = store.new_content()
        self._waiting: Awaitable[None] | None = None
        self._answer: Deferred[str] | None = None
        self.originals: list[Original] = []
        self.begun = False

    def line(self, line: bytes) -> None:
        self.begun = True
        # A real receivedHeader folds with LF inside one call; everything else is one line.
        self._content.write(line + b"\n")

    def end(self) -> Deferred[str]:
        self.begun = True
        if self._answer is None:
            self._answer = Deferred.fromCoroutine(self._store_it())
        shared: Deferred[str] = Deferred()
        self._answer.addBoth(_hand_on, shared)
        return shared

    async def _store_it(self) -> str:
        waiting = self._content.finish()
        if waiting is not None:
            await waiting
        arrived = self._store.clock.wall()
        facts = Facts(new_queue_id(arrived), tuple(self.originals), arrived, self._envelope.identity is not None)
        self._content.head = received(self._envelope, Hop(self._store.host_name, facts.queue_id, arrived))
        return await self._store.intake.accept(self._envelope, self._content, facts)

    def lost(self) -> None:
        if self._answer is None:
            self._content.discard()


def _hand_on(result: Any, shared: Deferred[str]) -> Any:
    shared.callback(result) if isinstance(result, str) else shared.errback(result)
    return result if isinstance(result, str) else None


@implementer(IMessageSMTP)
class _Sink:
    """What ``twisted.mail.smtp`` writes one recipient's copy to; only the first sink of a message stores."""

    def __init__(self, incoming: _Incoming, first: bool) -> None:
        self._incoming = incoming
        self._first = first

    def lineReceived(self, line: bytes) -> None:
        if self._first:
            self._incoming.line(line)

    def eomReceived(self) -> Deferred[str]:
        return self._incoming.end()

    def connectionLost(self) -> None:
        self._incoming.lost()


def _mailbox(address: Any) -> Mailbox:
    local = address.local.decode("utf-8", "replace")
    domain = address.domain.decode("ascii", "replace")
    if not local and not domain:
        return Mailbox("", None)
    return Mailbox.parse(f"{local}@{domain}") if domain else Mailbox(local, None)


def _text(refusal: Reply) -> str:
    return f"{refusal.status} {refusal.lines[0]}"
