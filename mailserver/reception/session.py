"""One session's decisions: what reception answers to each question of the protocol core.

Plain values where they come at once, an awaitable where somebody must be asked. The core asks one question at
a time, so nothing here runs twice at once. A positive reply to content comes from the spool's commit and from
nothing else; a connection lost before the end of a content leaves nothing behind.

Where the avatar of the login is an application's own delivery, its transactions go to
:class:`~mailserver.reception.foreign.Foreign`: of all that is here only the limits stand before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError

from mailserver.interfaces import PoolFull
from mailserver.message.content import Content
from mailserver.message.context import CheckContext
from mailserver.message.envelope import Envelope, Original
from mailserver.message.header import hops
from mailserver.message.identity import Identity
from mailserver.message.verdict import Stage
from mailserver.reception import refusals
from mailserver.reception.accepting import Accepting
from mailserver.reception.asking import is_awaitable
from mailserver.reception.foreign import Foreign
from mailserver.reception.login import Login, NoAvatar, Refused
from mailserver.reception.reports import Reports
from mailserver.reception.view import SessionView, state
from mailserver.reception.world import Peer, World
from mailserver.smtp import events, replies
from mailserver.smtp.address import NULL
from mailserver.smtp.reply import Reply

STRANGER = Identity()
# What a transaction with an application's own delivery consists of, after MAIL and RCPT.
_OF_A_TRANSACTION = frozenset(
    (
        events.ContentBegins,
        events.ContentSlice,
        events.ContentEnds,
        events.ContentDropped,
        events.TransactionReset,
    )
)


class Session:
    """Answers :meth:`handle` for one connection. ``lost`` is called once, at its end.

    ``protocol`` and ``factory`` are what an application's deliveries may see of them (`reception.view`); whoever
    makes the session sets them."""

    protocol: Any = None
    factory: Any = None
    greeting_delay: float = 0

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
        self._foreign: Foreign | None = None
        self._abroad = False
        self._counted = False
        self._started_tls = False

    def handle(self, event: Any) -> Any:
        """The reply (or replies, or an awaitable of them) to a question; None for what is none."""
        kind = type(event)
        if self._abroad and kind in _OF_A_TRANSACTION:
            return self._foreigner().handle(event)
        answer = _ASK.get(kind)
        return answer(self, event) if answer is not None else None

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        self._reset(None)
        if self._foreign is not None:
            self._foreign.lost()
        self._login.forget()
        self._world.log.event("session.closed", session=self._peer.session, reason=reason)

    def check(self, now: float) -> None:
        """Give up on what an application has not answered in time; `now` is monotonic."""
        self._login.asking.check(now)

    def _foreigner(self) -> Foreign:
        if self._foreign is None:
            world, login = self._world, self._login
            factory, host = self.factory, world.host_name.encode("ascii", "replace")
            view = SessionView(self.protocol, factory, factory.portal, host, login)
            view.startedTLS = self._started_tls
            reports = Reports(world.intake, world.new_content, world.clock, world.host_name, world.log)
            self._foreign = Foreign(login, view, reports, each=self._peer.lmtp)
        return self._foreign

    # What the checks say.

    def _checked(self, stage: Stage, event: Any, go_on: Callable[[Any], Reply]) -> Any:
        """`go_on(event)`, unless a check refuses."""
        checks = self._world.checks
        if checks is None or not checks.wants(stage):
            return go_on(event)
        refusal: Any = checks.refusal(stage, self._context(event))
        if refusal is None or isinstance(refusal, Reply):
            return refusal or go_on(event)
        return _unless(refusal, event, go_on)

    def _context(self, event: Any, content: Content | None = None) -> CheckContext:
        peer = self._peer
        sender = event if isinstance(event, events.MailFrom) else self._sender
        return CheckContext(
            session=peer.session,
            listener=peer.listener,
            submission=peer.submission,
            client_address=peer.address,
            tls=self._tls,
            early_talker=self._early_talker,
            helo=event.name if isinstance(event, events.Hello) else self._helo,
            identity=self._login.identity or STRANGER,
            reverse_path=NULL if sender is None else sender.reverse_path,
            forward_path=event.forward_path if isinstance(event, events.RcptTo) else NULL,
            forward_paths=tuple(one.mailbox for one in self._originals),
            content=content,
        )

    # Greeting, TLS, login.

    @property
    def _early_talker(self) -> bool:
        return self.protocol is not None and self.protocol.core.early_talker

    def _opened(self, event: events.Opened) -> Any:
        if self.greeting_delay:
            return self._opened_later(event)
        return self._checked(Stage.CONNECT, event, self._greet_first)

    async def _opened_later(self, event: events.Opened) -> Reply:
        await self._world.later(self.greeting_delay)
        answer = self._checked(Stage.CONNECT, event, self._greet_first)
        reply: Reply = await answer if is_awaitable(answer) else answer
        return reply

    def _greet_first(self, event: events.Opened) -> Reply:
        if self._early_talker:
            self._world.log.event("client.early", session=self._peer.session, client=self._peer.address)
        return self._greet(event)

    def _client_stated(self, event: events.ClientStated) -> Any:
        """XCLIENT. Everything begins anew, but for TLS, which is that of the connection. Its LOGIN is nobody's:
        who says it is believed about addresses, and has shown no credentials."""
        client, before = event.client, self._peer
        self._login.forget()
        self._helo = ""
        if client.address is not None:
            # A login that was begun is counted where it was: at the address before.
            self._counted = False
            if not self._moves(client.address):
                return refusals.TOO_MANY_CONNECTIONS
            self._peer = replace(before, address=client.address)
        state(self.protocol, client)
        self._world.log.event(
            "client.stated",
            session=before.session,
            client=self._peer.address,
            by=before.address,
            name=client.name,
            login=client.login,
        )
        return self._checked(Stage.CONNECT, event, self._greet)

    def _moves(self, _address: str) -> bool:
        """Whether the session may go on as one of the client at that address."""
        return True

    def _greet(self, _event: object) -> Reply:
        greeting = replies.lmtp_greeting if self._peer.lmtp else replies.greeting
        return greeting(self._world.host_name)

    def _hello(self, event: events.Hello) -> Any:
        return self._checked(Stage.HELLO, event, self._greeted)

    def _greeted(self, event: events.Hello) -> Reply:
        self._helo, self._extended = event.name, event.extended
        return replies.OK

    def _start_tls(self, _event: events.StartTls) -> Reply:
        # RFC 3207 §4.2: all knowledge is forgotten, the avatar too.
        self._login.forget()
        self._helo, self._tls, self._started_tls = "", True, True
        if self._foreign is not None:
            self._foreign.view.startedTLS = True
        return refusals.READY_FOR_TLS

    def _find_keys(self, event: events.FindKeys) -> Any:
        # An exchange that is given up half-way has learnt something, too.
        if not self._begins_login():
            return refusals.LOGIN_LATER
        self._counted = True
        return self._login.find_keys(event.username)

    def _begins_login(self) -> bool:
        """Count a failure beforehand, so that many logins at once are not more than as many after one another."""
        world = self._world
        return world.rates.auth_failures.count(self._peer.address, world.clock.monotonic())

    def _no_failure(self) -> None:
        world = self._world
        world.rates.auth_failures.forgive(self._peer.address, world.clock.monotonic())

    async def _authenticate(self, event: events.Authenticate) -> Reply:
        world = self._world
        counted, self._counted = self._counted, False
        if not counted and not self._begins_login():
            return refusals.LOGIN_LATER
        try:
            await self._login.with_credentials(event.credentials)
        except (PoolFull, NoAvatar):
            self._no_failure()
            return refusals.LOGIN_LATER
        except Refused as refused:
            return await self._bad_login(event.mechanism, str(refused))
        except CancelledError:
            # The peer left before the verdict, and it counts: the work was done all the same, or would have been.
            raise
        except Exception as error:
            self._no_failure()
            self._login_failed(error)
            return refusals.LOGIN_LATER
        self._no_failure()
        world.log.event(
            "login.accepted", session=self._peer.session, account=self._login.account, mechanism=event.mechanism
        )
        return refusals.LOGGED_IN

    async def _bad_login(self, mechanism: str, reason: str) -> Reply:
        world = self._world
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
        if not world.rates.messages.count(self._peer.address, world.clock.monotonic()):
            return refusals.TOO_FAST
        return self._mail_by_login(event) if self._login.made else self._mail_of_stranger(event)

    def _mail_by_login(self, event: events.MailFrom) -> Any:
        login = self._login
        self._abroad = login.foreign
        if self._abroad:
            return self._foreigner().mail(event, self._helo)
        if self._refused_for_space():
            return refusals.NO_ROOM
        return self._mail_of(event, login.identity or STRANGER)

    async def _mail_of_stranger(self, event: events.MailFrom) -> Reply:
        try:
            await self._login.anonymously()
        except NoAvatar:
            return refusals.INTERNAL
        except Refused:
            return refusals.SENDER_REFUSED
        except CancelledError:
            raise
        except Exception as error:
            self._login_failed(error)
            return refusals.INTERNAL
        answer = self._mail_by_login(event)
        reply: Reply = await answer if is_awaitable(answer) else answer
        return reply

    def _login_failed(self, error: Exception) -> None:
        self._world.log.failure(
            "a credentials checker or realm failed", error, culprit=self._login.asked, session=self._peer.session
        )

    def _mail_of(self, event: events.MailFrom, identity: Identity) -> Any:
        refusal = self._world.policy.sender(event.reverse_path, identity)
        if refusal is not None:
            self._refused("sender.refused", event.reverse_path, refusal)
            return refusal
        return self._checked(Stage.MAIL, event, self._sender_taken)

    def _sender_taken(self, event: events.MailFrom) -> Reply:
        self._sender, self._originals = event, []
        return refusals.SENDER_OK

    def _rcpt(self, event: events.RcptTo) -> Any:
        world = self._world
        if not world.rates.recipients.count(self._peer.address, world.clock.monotonic()):
            return refusals.TOO_FAST
        if self._abroad:
            return self._foreigner().handle(event)
        identity = self._login.identity or STRANGER
        client = None if self._peer.lmtp else self._peer.address
        refusal: Any = world.policy.recipient(event.forward_path, identity, client)
        if refusal is None or isinstance(refusal, Reply):
            return self._recipient(event, refusal)
        return self._recipient_later(event, refusal)

    async def _recipient_later(self, event: events.RcptTo, refusal: Awaitable[Reply | None]) -> Reply:
        answer = self._recipient(event, await refusal)
        reply: Reply = await answer if is_awaitable(answer) else answer
        return reply

    def _recipient(self, event: events.RcptTo, refusal: Reply | None) -> Any:
        if refusal is not None:
            self._refused("recipient.refused", event.forward_path, refusal)
            return refusal
        return self._checked(Stage.RCPT, event, self._recipient_taken)

    def _recipient_taken(self, event: events.RcptTo) -> Reply:
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

    def _ends(self, event: events.ContentEnds) -> Any:
        content, self._content = self._content, None
        sender = self._sender
        assert content is not None
        assert sender is not None
        if hops(content.header()) >= self._world.max_hops:
            content.discard()
            return refusals.LOOP
        accepting = Accepting(self._world, self._peer, content, self._envelope(sender), self._originals)
        checks = self._world.checks
        if checks is not None and checks.wants(Stage.CONTENT):
            accepting.ask = partial(checks.refusal, Stage.CONTENT, self._context(event, content))
        self._sender, self._originals = None, []
        return accepting.run()

    def _envelope(self, sender: events.MailFrom) -> Envelope:
        params, identity = sender.params, self._login.identity or STRANGER
        protocol = "SMTP"
        if self._extended:
            # RFC 3848; RFC 6531 §4.3 for the UTF8 words.
            plain, utf8 = ("LMTP", "UTF8LMTP") if self._peer.lmtp else ("ESMTP", "UTF8SMTP")
            protocol = utf8 if params.smtputf8 else plain
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


async def _unless(refusal: Awaitable[Reply | None], event: Any, go_on: Callable[[Any], Reply]) -> Reply:
    return await refusal or go_on(event)


# One table for all sessions: a session that waits is small.
_ASK: Mapping[type, Callable[[Session, Any], Any]] = {
    events.Opened: Session._opened,
    events.Hello: Session._hello,
    events.MailFrom: Session._mail,
    events.RcptTo: Session._rcpt,
    events.ContentBegins: Session._begins,
    events.ContentSlice: Session._slice,
    events.ContentEnds: Session._ends,
    events.ContentDropped: Session._dropped,
    events.FindKeys: Session._find_keys,
    events.Authenticate: Session._authenticate,
    events.ClientStated: Session._client_stated,
    events.StartTls: Session._start_tls,
    events.TransactionReset: Session._reset,
}
