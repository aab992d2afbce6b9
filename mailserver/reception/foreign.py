"""Transactions with an application's own deliveries (any ``IMessageDelivery``), under the contract of Twisted.

One :class:`Foreign` for each session. It asks in the order in which ``twisted.mail.smtp`` asks: a delivery from
its factory once per MAIL, ``validateFrom`` (whose answer becomes the sender), ``validateTo`` for each recipient,
at DATA the callable and ``receivedHeader`` of each, then lines, then ``eomReceived``. The application's will is
final: nothing of our policy is asked, and no reply of its is changed. The core lets no command overtake another,
so one hook is open at a time, but for the ends of one content, which are all told before one is awaited.

A positive reply to a content means that every sink has stored its copy. Where some did and some did not, the
answer is the worst one (transient over permanent), the log says who has it, and the client may send a duplicate;
with a spool behind it (``reports``) the answer is 250, and a report on the others is durable before it. In LMTP
(``each``) every recipient has its own answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.mail.interfaces import IMessageDelivery
from twisted.mail.smtp import Address, AddressError, User

from mailserver.reception import refusals
from mailserver.reception.asking import Asking, BadAnswer, Declined, Flow, Hook, is_awaitable, run
from mailserver.reception.login import Login, provides
from mailserver.reception.reports import Reports
from mailserver.reception.sinks import Accepted, Delivered, Sinks
from mailserver.reception.view import SessionView, host_of
from mailserver.smtp import events
from mailserver.smtp.address import Mailbox, as_written
from mailserver.smtp.reply import Reply

Said = Reply | Sequence[Reply]
Answer = Said | None | Awaitable[Said | None]


class Utf8Address(Address):
    """An address that Twisted's own parser has no letters for (RFC 6531 §3.3): ``local`` is UTF-8."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.addrstr = b"<" + mailbox.wire() + b">"
        local, _, domain = mailbox.wire().rpartition(b"@")
        self.local, self.domain = local, domain

    def __str__(self) -> str:
        return bytes(self).decode()


class Foreign:
    """The transactions of one session. ``view`` is what the application sees of it."""

    def __init__(
        self, login: Login, view: SessionView, reports: Reports | None = None, each: bool = False
    ) -> None:
        self.view = view
        self._each = each
        self._login = login
        self._asking: Asking = login.asking
        self._reports = reports
        self._helo = (b"", b"")
        self._delivery: Any = None
        self._origin: Any = None
        self._recipients: list[Accepted] = []
        self._sinks: Sinks | None = None
        self._ask: dict[type, Callable[[Any], Any]] = {
            events.RcptTo: self._rcpt,
            events.ContentBegins: self._begins,
            events.ContentSlice: self._slice,
            events.ContentEnds: self._ends,
            events.ContentDropped: self._dropped,
            events.TransactionReset: self._reset,
        }

    def mail(self, event: events.MailFrom, helo: str) -> Answer:
        """A transaction wants to begin. The login has somebody to ask."""
        self._reset(None)
        self._helo = (helo.encode(), host_of(self.view.transport.getPeer()).encode())
        return self._reply(self._mail(event))

    def handle(self, event: Any) -> Any:
        """All other events of a transaction."""
        return self._ask[type(event)](event)

    def lost(self) -> None:
        """The session is over."""
        self._reset(None)

    # The envelope.

    def _mail(self, event: events.MailFrom) -> Flow[Reply]:
        delivery = yield from self._delivery_now()
        origin: Any = self._address(event.written, event.reverse_path)
        origin.esmtp = event.params
        hook = Hook(delivery, "validateFrom")
        sender = yield from self._asking.ask(hook, delivery.validateFrom, self._helo, origin)
        problem = _no_sender(sender, self.view.host)
        if problem is not None:
            raise self._asking.declined(hook, BadAnswer(problem))
        self._delivery, self._origin = delivery, sender
        return refusals.SENDER_OK

    def _delivery_now(self) -> Flow[Any]:
        login = self._login
        delivery = login.delivery
        if login.deliveries is not None:
            hook = Hook(login.deliveries, "getMessageDelivery")
            delivery = yield from self._asking.ask(hook, login.deliveries.getMessageDelivery)  # type: ignore[attr-defined]  # zope's
            if not provides(delivery, IMessageDelivery):
                what = f"it answered a {type(delivery).__name__}, which is no IMessageDelivery"
                raise self._asking.declined(hook, BadAnswer(what))
        self.view.delivery = delivery
        return delivery

    def _address(self, written: str, mailbox: Mailbox) -> Address:
        if not mailbox.ascii:
            return Utf8Address(mailbox)
        try:
            return Address(as_written(written.lstrip(" ")).encode(), self.view.host)
        except AddressError:
            raise Declined(refusals.BAD_ADDRESS) from None

    def _rcpt(self, event: events.RcptTo) -> Answer:
        return self._reply(self._recipient(event))

    def _recipient(self, event: events.RcptTo) -> Flow[Reply]:
        address = self._address(event.written, event.forward_path)
        user: Any = User(address, self._helo, self.view, self._origin)
        user.dest, user.esmtp = address, event.params
        hook = Hook(self._delivery, "validateTo")
        make = yield from self._asking.ask(hook, self._delivery.validateTo, user)
        if not callable(make):
            what = f"it answered a {type(make).__name__}: a callable that makes an IMessageSMTP is needed"
            raise self._asking.declined(hook, BadAnswer(what))
        self._recipients.append(Accepted(user, make))
        return refusals.RECIPIENT_OK

    # The content.

    def _begins(self, _event: events.ContentBegins) -> Answer:
        self._sinks = Sinks(self._asking, self._reports is not None)
        return self._reply(self._open(self._sinks))

    def _open(self, sinks: Sinks) -> Flow[Reply]:
        delivery, helo, origin = self._delivery, self._helo, self._origin

        def trace(user: Any) -> Any:
            return delivery.receivedHeader(helo, origin, [user])

        yield from sinks.open(self._recipients, trace, Hook(delivery, "receivedHeader"))
        return refusals.GO_AHEAD

    def _slice(self, event: events.ContentSlice) -> Any:
        assert self._sinks is not None
        return run(self._sinks.feed(event.octets))

    def _dropped(self, event: events.ContentDropped) -> None:
        self._asking.log.event("content.refused", reply=event.reply)
        self._reset(None)

    def _reset(self, _event: events.TransactionReset | None) -> None:
        self._recipients = []
        sinks, self._sinks = self._sinks, None
        if sinks is not None:
            sinks.lost()

    def _ends(self, _event: events.ContentEnds) -> Answer:
        sinks, self._sinks, self._recipients = self._sinks, None, []
        assert sinks is not None
        return self._reply(self._end(sinks))

    def _end(self, sinks: Sinks) -> Flow[Said]:
        outcomes = yield from sinks.end()
        if isinstance(outcomes, Reply):
            return outcomes
        failed = [one for one in outcomes if one.refusal is not None]
        if not failed:
            self._asking.log.event("message.delivered", sender=self._origin, recipients=len(outcomes))
            return refusals.ACCEPTED
        if self._each:
            return [one.refusal or refusals.ACCEPTED for one in outcomes]
        if len(failed) < len(outcomes):
            reported = yield from self._partly(sinks, outcomes)
            if reported:
                return refusals.ACCEPTED
        return worst([one.refusal for one in failed if one.refusal is not None])

    def _partly(self, sinks: Sinks, outcomes: Sequence[Delivered]) -> Flow[bool]:
        """Whether a report on those that failed is durable."""
        failed = [one for one in outcomes if one.refusal is not None]
        reported = False
        if self._reports is not None:
            sender = Address(self._origin, self.view.host)
            reported = yield self._reports.owe(sender, sinks.header, failed)
        self._asking.log.event(
            "message.partly-stored",
            stored=[str(one.user.dest) for one in outcomes if one.refusal is None],
            failed=[f"{one.user.dest}: {one.refusal}" for one in failed],
            reported=reported,
        )
        return reported

    def _reply(self, flow: Flow[Any]) -> Answer:
        answer: Answer = run(_answered(flow))
        return answer


def _answered(flow: Flow[Said]) -> Flow[Said]:
    try:
        return (yield from flow)
    except Declined as declined:
        return declined.reply


def worst(said: Sequence[Reply]) -> Reply:
    """The first transient one, else the first."""
    return next((one for one in said if one.code < 500), said[0])


def _no_sender(answer: Any, host: bytes) -> str | None:
    """Why `answer` cannot become the sender, or None."""
    if answer is None or isinstance(answer, bool) or is_awaitable(answer):
        return f"it answered {answer!r}: a return may be missing, the sender's Address is needed"
    try:
        Address(answer, host)
    except Exception as error:
        return f"it answered a {type(answer).__name__}, which is no Address: {error}"
    return None
