"""The outbox: how a program sends mail, and learns what became of it.

:meth:`Outbox.send` returns when the message is durable: from then on it is delivered, or somebody is told, and
neither a crash nor a restart changes that. A *key* is the program's own name for a message: it is unique in the
store and written in the same commit, so that a program which does not know whether it has sent sends again
with the same key, and gets the queue id of the message that is there; also from two calls at once, and after
a restart, for as long as fates are kept. What the second call brings as content and recipients is not looked at.

The fate of each recipient is written in the commit that settles it (`mailserver.message.fate`). It is read by
:meth:`Sent.settled`, :meth:`Outbox.fates`, and told to whoever asked with :meth:`Outbox.on_settled`.

Raises :class:`~mailserver.smtp.address.AddressError` for a bad address, :class:`TooLarge`, :class:`NotSettled`,
:class:`UnknownMessage`, and SpoolFull or SpoolFailed; nothing is stored then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from mailserver.interfaces import IClock, IFates, IIntake, MailServerError, SpoolFailed, SpoolFull
from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Facts, Original
from mailserver.message.fate import Fates, Settled
from mailserver.message.prepared import new_queue_id
from mailserver.queue.follower import Follower, Handler
from mailserver.smtp.address import NULL, AddressError, Mailbox

Octets = bytes | Iterable[bytes] | Content
# The longest key, in characters: any identifier or URL of the program fits.
KEY = 500


class TooLarge(MailServerError):
    """The content is larger than ``reception.max_message_size``."""


class NotSettled(MailServerError, TimeoutError):
    """Some recipients are not final; ``fates`` are those of the others. The message is on its way all the same."""

    def __init__(self, reason: str, fates: Fates) -> None:
        super().__init__(reason)
        self.fates = fates


class UnknownMessage(MailServerError, LookupError):
    """No fates are known of that queue id: it was never sent here, or so long ago that they are gone."""


@dataclass(frozen=True, slots=True)
class OutboxParts:
    """``fates`` is None where the spool keeps none. ``blocked`` says why nothing can be taken now; ``reactor`` has
    ``callLater``; ``log`` has ``event`` and ``failure``; ``max_size`` is octets as SIZE counts."""

    intake: IIntake
    new_content: Callable[[], Content]
    fates: IFates | None
    blocked: Callable[[], str | None]
    clock: IClock
    reactor: Any
    log: Any
    max_size: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that is durable. ``queue_id`` never repeats; ``key`` is the one it was sent with."""

    queue_id: str
    key: str | None
    outbox: Outbox = field(repr=False, compare=False)

    async def settled(self, timeout: float | None = None) -> Fates:
        """Every recipient's fate, once all are final; that may take days. After `timeout` seconds
        :class:`NotSettled` is raised."""
        return await self.outbox.settled(self.queue_id, timeout)


class Outbox:
    """One per queue. It sends while the queue runs: between start and stop of its service."""

    def __init__(self, parts: OutboxParts) -> None:
        self._parts = parts
        self._running = False
        self._waiting: dict[str, list[Deferred[None]]] = {}
        self._followers: dict[str, Follower] = {}

    # Sending.

    async def send(
        self,
        content: Octets,
        *,
        sender: str | Mailbox,
        recipients: Iterable[str | Mailbox],
        key: str | None = None,
    ) -> Sent:
        """Store a message durably. `content` is header and body, with LF or CRLF line ends; Date and Message-ID
        are added where they lack. `sender` "" is nobody, who gets no report. Equal recipients count once.
        ValueError for a key that is empty or longer than :data:`KEY`, and for no recipient."""
        envelope, originals = _envelope(sender, recipients)
        if key is not None:
            _check_text(key, "a key")
            if not 1 <= len(key) <= KEY:
                raise ValueError(f"a key has from 1 to {KEY} characters, not {len(key)}")
        if not self._running:
            raise SpoolFailed("the queue does not run: start its service first")
        fates = self._fates()
        earlier = fates.sent(key) if key is not None else None
        if earlier is not None:
            return Sent(earlier, key, self)
        blocked = self._parts.blocked()
        if blocked is not None:
            raise SpoolFull(blocked)
        return Sent(await self._store(content, envelope, originals, key), key, self)

    async def _store(
        self, octets: Octets, sender: Mailbox, originals: tuple[Original, ...], key: str | None
    ) -> str:
        parts = self._parts
        content = parts.new_content()
        try:
            eight_bit = await self._write(content, octets)
            arrived = parts.clock.wall()
            utf8 = not all(one.ascii for one in (sender, *(original.mailbox for original in originals)))
            envelope = Envelope(
                sender,
                body="8BITMIME" if eight_bit else None,
                smtputf8=utf8 or not content.header().isascii(),
                listener="outbox",
            )
            facts = Facts(new_queue_id(arrived), originals, arrived, submitted=True, fates=True, key=key)
            stored = await parts.intake.accept(envelope, content, facts)
        except BaseException:
            content.discard()
            raise
        if stored != facts.queue_id:  # another call with this key came first
            content.discard()
        return stored

    async def _write(self, content: Content, octets: Octets) -> bool:
        """Fill `content`; whether there is an octet that is not ASCII."""
        eight_bit = False
        for piece in _lines(octets):
            if content.size + len(piece) + piece.count(b"\n") > self._parts.max_size:
                raise TooLarge(f"the message is larger than {self._parts.max_size} octets")
            waiting = content.write(piece)
            if waiting is not None:
                await waiting
            eight_bit = eight_bit or not piece.isascii()
        waiting = content.finish()
        if waiting is not None:
            await waiting
        return eight_bit

    # What became of it.

    async def fates(self, queue_id: str) -> Fates:
        """The fates so far, by recipient as given; who is not final yet is not in it. Raises UnknownMessage."""
        return self._find(queue_id).fates

    async def settled(self, queue_id: str, timeout: float | None = None) -> Fates:
        """See :meth:`Sent.settled`. Raises UnknownMessage, too."""
        found = self._find(queue_id)
        if found.number:
            return found.fates
        waiter = Deferred[None]()
        self._waiting.setdefault(queue_id, []).append(waiter)
        timer = None if timeout is None else self._parts.reactor.callLater(max(timeout, 0), waiter.callback, None)
        try:
            await waiter
        finally:
            if timer is not None and timer.active():
                timer.cancel()
            self._forget(queue_id, waiter)
        found = self._find(queue_id)
        if not found.number:
            raise NotSettled(f"message {queue_id} has recipients that are not final", found.fates)
        return found.fates

    def on_settled(self, name: str, handler: Handler) -> None:
        """Call `handler` with a `Settled` for every message whose last recipient becomes final, in that order.

        At least once for each `name`, also over restarts: `name` is where to go on, kept in the store. A new
        name begins with the oldest message whose fates are kept. The handler answers None, a Deferred or a
        coroutine, and is called with the next message only then. When it raises, it is called again with the
        same message, after a while. ValueError for a name that has a handler, or is empty."""
        _check_text(name, "the name of a handler")
        if not name or name in self._followers:
            raise ValueError(f"{name!r} has a handler already" if name else "a handler needs a name")
        if not callable(handler):
            raise TypeError(f"a handler is called with a Settled; {handler!r} cannot be called")
        parts = self._parts
        self._followers[name] = follower = Follower(name, handler, parts.reactor, parts.log)
        if self._running:
            follower.start(self._fates())

    def _fates(self) -> IFates:
        if self._parts.fates is None:
            raise MailServerError("this spool keeps no fates, so nothing can be sent through an outbox")
        return self._parts.fates

    def _find(self, queue_id: str) -> Settled:
        found: Settled | None = self._fates().find(queue_id)
        if found is None:
            raise UnknownMessage(f"no fates are known of the message {queue_id}")
        return found

    def _forget(self, queue_id: str, waiter: Deferred[None]) -> None:
        waiting = self._waiting[queue_id]
        waiting.remove(waiter)
        if not waiting:
            del self._waiting[queue_id]

    # Life.

    def start(self) -> None:
        """The spool is open."""
        self._running = True
        if self._parts.fates is not None:
            self._parts.fates.subscribe(self._settled)
            for follower in self._followers.values():
                follower.start(self._parts.fates)

    async def stop(self, patience: Callable[[Deferred[None]], Awaitable[Any]]) -> None:
        """Before the spool closes. Handlers under way end as long as `patience` lets them (see
        `QueueManager.stop`); who waits for :meth:`settled` gets NotSettled."""
        self._running = False
        self._wake(list(self._waiting))
        ended = DeferredList([follower.stop() for follower in self._followers.values()])
        await patience(ended.addCallback(lambda _results: None))

    def _settled(self, queue_ids: Iterable[str]) -> None:
        self._wake(queue_ids)
        for follower in self._followers.values():
            follower.wake()

    def _wake(self, queue_ids: Iterable[str]) -> None:
        for queue_id in queue_ids:
            for waiter in tuple(self._waiting.get(queue_id, ())):
                if not waiter.called:
                    waiter.callback(None)


def _envelope(sender: str | Mailbox, recipients: Iterable[str | Mailbox]) -> tuple[Mailbox, tuple[Original, ...]]:
    if isinstance(recipients, str | Mailbox):
        raise TypeError("recipients is a list of addresses, not one address")
    mailboxes = dict.fromkeys(_mailbox(one, "recipient") for one in recipients)
    if not mailboxes:
        raise ValueError("a message needs a recipient")
    if NULL in mailboxes:
        raise AddressError("a recipient is empty")
    return _mailbox(sender, "sender") if sender else NULL, tuple(map(Original, mailboxes))


def _mailbox(address: str | Mailbox, role: str) -> Mailbox:
    if isinstance(address, Mailbox):
        return address
    try:
        return Mailbox.parse(address)
    except AddressError as error:
        raise AddressError(f"the {role} {address!r} is no mail address: {error}") from None


def _lines(octets: Octets) -> Iterator[bytes]:
    """The pieces with LF line ends, however CRLF was cut; a lone CR becomes LF, as in `Content.of`. The last
    line ends, too: SMTP has no way to send it otherwise."""
    cut, last = b"", b"\n"
    for piece in _pieces(octets):
        whole = cut + piece
        cut = b"\r" if whole.endswith(b"\r") else b""
        whole = whole[: len(whole) - len(cut)]
        if whole:
            last = whole[-1:]
            yield whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if cut or last != b"\n":
        yield b"\n"


def _pieces(octets: Octets) -> Iterable[bytes]:
    if isinstance(octets, str):
        raise TypeError("a content is octets: encode the text first")
    if isinstance(octets, Content):
        return octets.chunks()
    return (bytes(octets),) if isinstance(octets, bytes | bytearray | memoryview) else octets


def _check_text(text: object, what: str) -> None:
    """Refuse here what the store could not keep: there it would look like a fault of the store."""
    if not isinstance(text, str):
        raise TypeError(f"{what} is text, not {type(text).__name__}")
    if not text.isprintable():
        raise ValueError(f"{what} has characters that do not print: {text!r}")
