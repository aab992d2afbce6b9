"""One session's decisions: what reception answers to each question of the protocol core.

Plain values where they come at once, an awaitable where somebody must be asked. The core asks one question at
a time, so nothing here runs twice at once. A positive reply to content comes from the spool's commit and from
nothing else; a connection lost before the end of a content leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from mailserver.interfaces import IClock, IIntake, MailServerError, PoolFull, SpoolFailed, SpoolFull
from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Facts, Original
from mailserver.message.header import hops
from mailserver.message.identity import Identity
from mailserver.message.prepared import new_queue_id
from mailserver.message.trace import Hop, received
from mailserver.reception import refusals
from mailserver.reception.limits import PerMinute
from mailserver.reception.login import Login, Refused
from mailserver.reception.policy import Policy
from mailserver.smtp import events
from mailserver.smtp.reply import Reply, reply

STRANGER = Identity()


@dataclass(frozen=True, slots=True)
class Rates:
    """What one address may do in a minute."""

    messages: PerMinute
    recipients: PerMinute
    auth_failures: PerMinute


@dataclass(frozen=True, slots=True)
class World:
    """What every session of a server shares. ``blocked`` says why new mail cannot be stored now, or None;
    ``later(seconds)`` is a Deferred that fires then."""

    intake: IIntake
    new_content: Callable[[], Content]
    blocked: Callable[[], str | None]
    policy: Policy
    rates: Rates
    clock: IClock
    later: Callable[[float], Awaitable[None]]
    log: Any
    host_name: str
    max_hops: int
    auth_failure_delay: float


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, and through which listener: ``submission`` completes headers and needs a login."""

    address: str
    listener: str
    submission: bool
    session: str


class Session:
    """Answers :meth:`handle` for one connection. ``lost`` is called once, at its end."""

    def __init__(self, world: World, peer: Peer, login: Login, tls: bool) -> None:
        self._world = world
        self._peer = peer
        self._login = login
        self._tls = tls
        self._helo = ""
        self._extended = False
        self._sender: events.MailFrom | None = None
        self._originals: list[Original] = []
        self._content: Content | None = None
        self._ask: dict[type, Callable[[Any], Any]] = {
            events.Opened: self._opened,
            events.Hello: self._hello,
            events.MailFrom: self._mail,
            events.RcptTo: self._rcpt,
            events.ContentBegins: self._begins,
            events.ContentSlice: self._slice,
            events.ContentEnds: self._ends,
            events.ContentDropped: self._dropped,
            events.Authenticate: self._authenticate,
            events.StartTls: self._start_tls,
            events.TransactionReset: self._reset,
        }

    def handle(self, event: Any) -> Any:
        """The reply (or replies, or an awaitable of them) to a question; None for what is none."""
        answer = self._ask.get(type(event))
        return answer(event) if answer is not None else None

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        self._reset(None)
        self._login.forget()
        self._world.log.event("session.closed", session=self._peer.session, reason=reason)

    # Greeting, TLS, login.

    def _opened(self, _event: events.Opened) -> Reply:
        return reply(220, None, f"{self._world.host_name} ESMTP")

    def _hello(self, event: events.Hello) -> Reply:
        self._helo, self._extended = event.name, event.extended
        return reply(250, None, self._world.host_name)

    def _start_tls(self, _event: events.StartTls) -> Reply:
        # RFC 3207 §4.2: all knowledge is forgotten, the avatar too.
        self._login.forget()
        self._helo, self._tls = "", True
        return refusals.READY_FOR_TLS

    async def _authenticate(self, event: events.Authenticate) -> Reply:
        world, address = self._world, self._peer.address
        if not world.rates.auth_failures.allows(address, world.clock.monotonic()):
            return refusals.LOGIN_LATER
        try:
            identity = await self._login.with_credentials(event.credentials)
        except PoolFull:
            return refusals.LOGIN_LATER
        except Refused as refused:
            return await self._bad_login(event.mechanism, str(refused))
        except Exception as error:
            world.log.failure("a credentials checker or realm failed", error, session=self._peer.session)
            return refusals.LOGIN_LATER
        world.log.event(
            "login.accepted", session=self._peer.session, account=identity.account, mechanism=event.mechanism
        )
        return refusals.LOGGED_IN

    async def _bad_login(self, mechanism: str, reason: str) -> Reply:
        world = self._world
        world.rates.auth_failures.count(self._peer.address, world.clock.monotonic())
        world.log.event(
            "login.refused",
            session=self._peer.session,
            client=self._peer.address,
            mechanism=mechanism,
            reason=reason,
        )
        if world.auth_failure_delay:
            await world.later(world.auth_failure_delay)
        return refusals.BAD_LOGIN

    # The envelope.

    def _mail(self, event: events.MailFrom) -> Any:
        world = self._world
        if self._refused_for_space():
            return refusals.NO_ROOM
        if not world.rates.messages.count(self._peer.address, world.clock.monotonic()):
            return refusals.TOO_FAST
        if self._login.identity is None:
            return self._mail_of_stranger(event)
        return self._mail_of(event, self._login.identity)

    async def _mail_of_stranger(self, event: events.MailFrom) -> Reply:
        try:
            identity = await self._login.anonymously()
        except Refused:
            return refusals.SENDER_REFUSED
        except Exception as error:
            self._world.log.failure("the anonymous login failed", error, session=self._peer.session)
            return refusals.INTERNAL
        return self._mail_of(event, identity)

    def _mail_of(self, event: events.MailFrom, identity: Identity) -> Reply:
        refusal = self._world.policy.sender(event.reverse_path, identity)
        if refusal is not None:
            self._refused("sender.refused", event.reverse_path, refusal)
            return refusal
        self._sender, self._originals = event, []
        return refusals.SENDER_OK

    def _rcpt(self, event: events.RcptTo) -> Any:
        world = self._world
        if not world.rates.recipients.count(self._peer.address, world.clock.monotonic()):
            return refusals.TOO_FAST
        identity = self._login.identity or STRANGER
        refusal: Any = world.policy.recipient(event.forward_path, identity, self._peer.address)
        if refusal is None or isinstance(refusal, Reply):
            return self._recipient(event, refusal)
        return self._recipient_later(event, refusal)

    async def _recipient_later(self, event: events.RcptTo, refusal: Awaitable[Reply | None]) -> Reply:
        return self._recipient(event, await refusal)

    def _recipient(self, event: events.RcptTo, refusal: Reply | None) -> Reply:
        if refusal is not None:
            self._refused("recipient.refused", event.forward_path, refusal)
            return refusal
        self._originals.append(Original(event.forward_path, event.params.notify, event.params.orcpt))
        return refusals.RECIPIENT_OK

    def _refused(self, name: str, mailbox: Any, refusal: Reply) -> None:
        self._world.log.event(
            name, session=self._peer.session, client=self._peer.address, mailbox=mailbox, reply=refusal
        )

    def _refused_for_space(self) -> bool:
        reason = self._world.blocked()
        if reason is not None:
            self._world.log.event("mail.refused", session=self._peer.session, reason=reason)
        return reason is not None

    def _reset(self, _event: events.TransactionReset | None) -> None:
        self._sender, self._originals = None, []
        content, self._content = self._content, None
        if content is not None:
            content.discard()

    # The content.

    def _begins(self, _event: events.ContentBegins) -> Reply:
        if self._refused_for_space():
            return refusals.NO_ROOM
        self._content = self._world.new_content()
        return refusals.GO_AHEAD

    def _slice(self, event: events.ContentSlice) -> Awaitable[None] | None:
        assert self._content is not None
        return self._content.write(event.octets)

    def _dropped(self, event: events.ContentDropped) -> None:
        content, self._content = self._content, None
        if content is not None:
            content.discard()
        self._world.log.event("content.refused", session=self._peer.session, reply=event.reply)

    def _ends(self, _event: events.ContentEnds) -> Any:
        content, self._content = self._content, None
        sender = self._sender
        assert content is not None
        assert sender is not None
        if hops(content.header()) >= self._world.max_hops:
            content.discard()
            return refusals.LOOP
        accepting = _Accepting(self._world, self._peer, content, self._envelope(sender), self._originals)
        self._sender, self._originals = None, []
        return accepting.run()

    def _envelope(self, sender: events.MailFrom) -> Envelope:
        params, identity = sender.params, self._login.identity or STRANGER
        protocol = "SMTP"
        if self._extended:
            # RFC 3848; RFC 6531 §3.7.3 for the UTF8 words.
            protocol = "UTF8SMTP" if params.smtputf8 else "ESMTP"
            protocol += ("S" if self._tls else "") + ("A" if identity.account else "")
        return Envelope(
            sender.reverse_path,
            params.envid,
            params.ret,
            params.body,
            params.smtputf8,
            identity.account,
            self._peer.listener,
            self._peer.address,
            self._helo,
            protocol,
        )


class _Accepting:
    """The way of one complete content into the spool. It runs to its end even when the session does not."""

    def __init__(
        self, world: World, peer: Peer, content: Content, envelope: Envelope, originals: list[Original]
    ) -> None:
        self._world = world
        self._peer = peer
        self._content = content
        self._envelope = envelope
        self._originals = tuple(originals)

    def run(self) -> Deferred[Reply]:
        """A Deferred of the reply to the end of the content."""
        finishing: Any = self._content.finish()
        if finishing is None:
            return self._store(None)
        return _deferred(finishing).addCallbacks(self._store, self._not_stored)

    def _store(self, _ignored: None) -> Deferred[Reply]:
        arrived = self._world.clock.wall()
        queue_id = new_queue_id(arrived)
        originals = self._originals
        only = originals[0].mailbox if len(originals) == 1 else None
        self._content.head = received(self._envelope, Hop(self._world.host_name, queue_id, arrived, only))
        facts = Facts(queue_id, originals, arrived, self._peer.submission)
        try:
            stored = _deferred(self._world.intake.accept(self._envelope, self._content, facts))
        except Exception:
            stored = fail(Failure())
        return stored.addCallbacks(self._stored, self._not_stored)

    def _stored(self, queue_id: str) -> Reply:
        envelope = self._envelope
        self._world.log.event(
            "message.accepted",
            session=self._peer.session,
            queue=queue_id,
            sender=envelope.reverse_path,
            recipients=len(self._originals),
            size=self._content.size,
            account=envelope.identity or "-",
        )
        return reply(250, (2, 0, 0), f"Accepted as {queue_id}")

    def _not_stored(self, failure: Failure) -> Any:
        self._content.discard()
        error = failure.value
        if isinstance(error, SpoolFull):
            answer = refusals.NO_ROOM
        elif isinstance(error, SpoolFailed):
            answer = refusals.NOT_NOW
        else:
            answer = refusals.INTERNAL
        if isinstance(error, MailServerError):
            self._world.log.event("content.refused", session=self._peer.session, reply=answer, reason=error)
        else:
            self._world.log.failure("a message could not be stored", error, session=self._peer.session)
        return answer


def _deferred(awaitable: Any) -> Deferred[Any]:
    if isinstance(awaitable, Deferred):
        return awaitable
    return Deferred.fromCoroutine(awaitable)
