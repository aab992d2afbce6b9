"""The delivery object of our own realm.

It provides Twisted's ``IMessageDelivery``, as every avatar of the portal must, and says who it is
(:class:`IIdentified`). A session of ours finds that by adaptation and takes its own, faster path; inside a
stock ``twisted.mail.smtp`` factory the same object stores into our spool: one message for all recipients of
a transaction, answered by the commit.

A stock factory lets through what a session of ours refuses: line ends of other kinds within a line, NUL,
contents and hops without bound. So the delivery itself refuses them. What a stock factory makes of any failure
at the end of a content is its own affair (550); the exception says what it should be.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.mail.interfaces import IMessageDelivery, IMessageSMTP
from twisted.mail.smtp import SMTPBadRcpt, SMTPBadSender, SMTPServerError
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface, implementer

from mailserver.interfaces import IClock, IIntake, SpoolFailed, SpoolFull
from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Facts, Original
from mailserver.message.header import hops
from mailserver.message.identity import Identity
from mailserver.message.prepared import new_queue_id
from mailserver.message.trace import Hop, received
from mailserver.reception import refusals
from mailserver.reception.policy import Policy
from mailserver.smtp import replies
from mailserver.smtp.address import AddressError, Mailbox
from mailserver.smtp.reply import Reply


class IIdentified(Interface):
    """An avatar that says who it is; our own policy applies to it."""

    identity = Attribute("A `mailserver.message.identity.Identity`.")


@dataclass(frozen=True, slots=True)
class Store:
    """How a delivery reaches the spool, and what it takes: ``max_message_size`` in octets as SIZE counts them
    (0: no limit), ``max_hops`` Received fields."""

    intake: IIntake
    new_content: Callable[[], Content]
    policy: Policy
    clock: IClock
    host_name: str
    max_message_size: int = 26_214_400
    max_hops: int = 50


@implementer(IMessageDelivery, IIdentified)
class SpoolDelivery:
    """Stores what one identity sends. Made by the realm at each login; keeps one transaction at a time."""

    def __init__(self, identity: Identity, store: Store) -> None:
        self.identity = identity
        self._store = store
        self._helo: tuple[Any, Any] = (b"", b"")
        self._sender = Mailbox("", None)
        self._incoming: _Incoming | None = None

    def validateFrom(self, helo: tuple[Any, Any], origin: Any) -> Any:
        """The sender must belong to the identity. A stock server that heard no HELO gives None for its name, and
        the address as ``str``."""
        try:
            self._helo, self._sender, self._incoming = helo, mailbox_of(origin), None
        except AddressError as error:
            raise SMTPBadSender(origin, 553, f"5.1.7 {error}") from None
        refusal = self._store.policy.sender(self._sender, self.identity)
        if refusal is not None:
            raise SMTPBadSender(origin, refusal.code, _text(refusal))
        return origin

    def validateTo(self, user: Any) -> Deferred[Callable[[], Any]]:
        """Local recipients for everybody, all others for whoever may relay."""
        return Deferred.fromCoroutine(self._validated(user))

    async def _validated(self, user: Any) -> Callable[[], Any]:
        try:
            mailbox = mailbox_of(user.dest)
        except AddressError as error:
            raise SMTPBadRcpt(user, 553, f"5.1.3 {error}") from None
        refusal: Any = self._store.policy.recipient(mailbox, self.identity, self._client)
        if refusal is not None and not isinstance(refusal, Reply):
            refusal = await refusal
        if refusal is not None:
            raise SMTPBadRcpt(user, refusal.code, _text(refusal))
        return lambda: self._sink(mailbox)

    @property
    def _client(self) -> str:
        return _word(self._helo[1])

    def _sink(self, mailbox: Mailbox) -> _Sink:
        first = self._incoming is None or self._incoming.begun
        if first:
            self._incoming = _Incoming(self._store, self._envelope())
        assert self._incoming is not None
        self._incoming.originals.append(Original(mailbox))
        return _Sink(self._incoming, first)

    def _envelope(self) -> Envelope:
        return Envelope(
            self._sender,
            identity=self.identity.account,
            client_address=self._client,
            helo=_word(self._helo[0]),
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
        self._answer: Deferred[str] | None = None
        self.originals: list[Original] = []
        self.begun = False

    def line(self, line: bytes) -> Awaitable[None] | None:
        """A line of the content; an awaitable where the disk is behind (a stock server does not wait for it, and
        then the content's own bounds hold)."""
        self.begun = True
        if b"\n" in line or b"\r" in line:
            # RFC 5321 §2.3.8. What this server takes for one line is two for the next (CVE-2023-51764: smuggling).
            raise _server_error(replies.BARE_LINE_END)
        if b"\0" in line:
            raise _server_error(replies.HAS_NUL)
        limit = self._store.max_message_size
        if limit and self._content.size + len(line) + 2 > limit:
            raise _server_error(replies.TOO_LARGE)
        waiting = self._content.write(line + b"\n")
        if isinstance(waiting, Deferred):
            # Its failure comes back from finish(); here nobody may be listening.
            waiting.addErrback(_ignored)
        return waiting

    def end(self) -> Deferred[str]:
        """Fires with the queue id once the message is durable; the same for all sinks."""
        self.begun = True
        if self._answer is None:
            self._answer = Deferred.fromCoroutine(self._store_it())
        shared: Deferred[str] = Deferred()
        self._answer.addBoth(_hand_on, shared)
        return shared

    async def _store_it(self) -> str:
        try:
            return await self._stored()
        except SpoolFull:
            refusal = refusals.NO_ROOM
        except SpoolFailed:
            refusal = refusals.NOT_NOW
        except BaseException:
            self._content.discard()
            raise
        self._content.discard()
        raise _server_error(refusal)

    async def _stored(self) -> str:
        store, envelope, content = self._store, self._envelope, self._content
        waiting = content.finish()
        if waiting is not None:
            await waiting
        if hops(content.header()) >= store.max_hops:
            content.discard()
            raise _server_error(refusals.LOOP)
        arrived = store.clock.wall()
        facts = Facts(new_queue_id(arrived), tuple(self.originals), arrived, envelope.identity is not None)
        content.head = received(envelope, Hop(store.host_name, facts.queue_id, arrived))
        return await store.intake.accept(envelope, content, facts)

    def lost(self) -> None:
        """There will be no end."""
        if self._answer is None:
            self._content.discard()


def _ignored(_failure: Any) -> None:
    """Told elsewhere."""


def _server_error(refusal: Reply) -> SMTPServerError:
    # In a content a stock server wants octets, and text everywhere else.
    return SMTPServerError(refusal.code, _text(refusal).encode("ascii", "replace"))


@dataclass(frozen=True, slots=True)
class _Told:
    """A failure that a sink has been told already: as it is nobody's to handle any more, it is no Failure."""

    failure: Failure


def _hand_on(result: Any, shared: Deferred[str]) -> Any:
    """Every sink gets the same result, failures too."""
    failure = result if isinstance(result, Failure) else getattr(result, "failure", None)
    if failure is None:
        shared.callback(result)
        return result
    shared.errback(failure)
    return _Told(failure)


@implementer(IMessageSMTP)
class _Sink:
    """What ``twisted.mail.smtp`` writes one recipient's copy to; only the first sink of a message stores."""

    def __init__(self, incoming: _Incoming, first: bool) -> None:
        self._incoming = incoming
        self._first = first

    def lineReceived(self, line: bytes) -> Awaitable[None] | None:
        return self._incoming.line(line) if self._first else None

    def eomReceived(self) -> Deferred[str]:
        return self._incoming.end()

    def connectionLost(self) -> None:
        self._incoming.lost()


def mailbox_of(address: Any) -> Mailbox:
    """A ``twisted.mail.smtp.Address`` as a value of ours. Raises AddressError."""
    local = address.local.decode("utf-8", "replace")
    domain = address.domain.decode("ascii", "replace")
    if not local and not domain:
        return Mailbox("", None)
    return Mailbox.parse(f"{local}@{domain}") if domain else Mailbox(local, None)


def _word(word: bytes | str | None) -> str:
    return word.decode("ascii", "replace") if isinstance(word, bytes) else word or ""


def _text(refusal: Reply) -> str:
    return f"{refusal.status} {refusal.lines[0]}"
