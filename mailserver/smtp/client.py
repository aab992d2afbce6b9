"""The client side of an SMTP session, without I/O (RFC 5321, 1870, 2920, 3207, 3461, 4954, 6152, 6531, 8314).

Facts go in (:meth:`~ClientCore.receive`, :meth:`~ClientCore.tls_established`, :meth:`~ClientCore.start`,
:meth:`~ClientCore.content`, :meth:`~ClientCore.connection_lost`, …); events (:meth:`~ClientCore.next_event`),
octets (:meth:`~ClientCore.data_to_send`) and the wait that is on (:attr:`~ClientCore.waiting_for`) come out.

The way of a session: greeting, EHLO (HELO where the peer has no EHLO), STARTTLS and EHLO again, AUTH, then
:class:`Ready`; with :meth:`~ClientCore.tls_begun` TLS comes before the greeting. Each transaction ends with
:class:`Answered`: one :class:`~mailserver.smtp.transaction.Answer` per recipient, namely the one that decided.
With PIPELINING the whole envelope leaves in one piece. A session ends with :class:`Ended`, exactly once; before
it, a transaction under way is answered.

Guarantees: nothing that arrived in clear is used after TLS (CVE-2011-0411); a password leaves only over
verified TLS unless the login says otherwise; a lost connection after the final dot is marked uncertain.
Nothing the peer sends raises. A call in a wrong state is a bug of the caller and raises :class:`WrongState`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import cast

from mailserver.smtp.clientlogin import LoginFailure, Response, begin, coded
from mailserver.smtp.clientreplies import ProtocolFailure, ReplyParser
from mailserver.smtp.framing import ContentEncoder
from mailserver.smtp.plan import LIMIT, Answered, Ended, Event, Ready, SendContent, SessionPlan, StartTls
from mailserver.smtp.reply import Reply
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Answer, Phase, Transaction, commands, line, refusal


class State(Enum):
    """Where a session stands."""

    GREETING = "waiting for the greeting"
    HELLO = "waiting for the reply to EHLO or HELO"
    TLS_ASKED = "waiting for the reply to STARTTLS"
    TLS = "handshake"
    AUTH = "logging in"
    READY = "idle: a transaction or QUIT may begin"
    ENVELOPE = "MAIL, RCPT and DATA are on their way"
    CONTENT = "the caller is giving content"
    FINAL = "waiting for the reply to the content"
    QUITTING = "waiting for the reply to QUIT"
    CLOSED = "over"


# Where a session may go from each state; CLOSED may follow on all of them.
_NEXT: Mapping[State, tuple[State, ...]] = MappingProxyType(
    {
        State.GREETING: (State.HELLO, State.TLS),
        State.HELLO: (State.HELLO, State.TLS_ASKED, State.AUTH, State.READY),
        State.TLS_ASKED: (State.TLS, State.AUTH, State.READY),
        State.TLS: (State.HELLO, State.GREETING),
        State.AUTH: (State.READY,),
        State.READY: (State.ENVELOPE, State.QUITTING),
        State.ENVELOPE: (State.CONTENT, State.FINAL, State.READY),
        State.CONTENT: (State.FINAL,),
        State.FINAL: (State.READY,),
        State.QUITTING: (),
        State.CLOSED: (),
    }
)


class WrongState(RuntimeError):
    """A call that the state of the session does not allow."""


class ClientCore:
    """One session, held as ``plan`` says. ``offers`` is the EHLO list: keyword in upper case to its parameters."""

    def __init__(self, plan: SessionPlan) -> None:
        self.state = State.GREETING
        self.offers: dict[str, str] = {}
        self.tls_verified: bool | None = None
        # Counts replies taken and content given: while it grows, the peer is not silent.
        self.progress = 0
        self.plan = plan
        self._parser = ReplyParser()
        self._encoder = ContentEncoder()
        self._out: list[bytes] = []
        self._events: deque[Event] = deque()
        self._commands: deque[tuple[Phase, bytes]] = deque()
        self._expected: deque[Phase] = deque([Phase.GREETING])
        self._answers: list[Answer | None] = []
        self._recipient = 0
        self._dirty = False
        self._verb = "EHLO"
        self._responses: deque[Response] = deque()
        self._greeted = False

    # What comes out.

    def next_event(self) -> Event | None:
        """The next event, or None."""
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> bytes:
        """Octets for the peer, in one piece."""
        data, self._out = b"".join(self._out), []
        return data

    @property
    def waiting_for(self) -> tuple[Phase, float] | None:
        """What the peer owes us and the seconds it has for it; None when it owes nothing."""
        if self._expected:
            phase = self._expected[0]
        elif self.state is State.CONTENT:
            phase = Phase.CONTENT
        elif self.state is State.TLS:
            phase = Phase.TLS
        else:
            return None
        return phase, LIMIT[phase](self.plan.timeouts)

    # What goes in.

    def receive(self, data: bytes) -> None:
        """Octets from the peer."""
        self._parser.feed(data)
        try:
            while self.state is not State.CLOSED and (reply := self._parser.next()) is not None:
                self._take(reply)
        except ProtocolFailure as failure:
            self._end(self._problem(str(failure), Status(4, 5, 0)))

    def tls_begun(self) -> None:
        """TLS was started with the connection, before the greeting."""
        self._require(State.GREETING)
        self._expected.clear()
        self._enter(State.TLS)

    def tls_established(self, verified: bool) -> None:
        """The handshake is done; `verified` when the certificate was checked against policy."""
        self._require(State.TLS)
        self.progress += 1
        self.tls_verified = verified
        if not self._greeted:
            self._enter(State.GREETING)
            self._expected.append(Phase.GREETING)
            return
        # RFC 3207 §4.2: what was learnt in clear is forgotten.
        self.offers = {}
        self._hello("EHLO")

    def start(self, transaction: Transaction) -> None:
        """Begin a transaction. Raises ValueError where an address cannot stand in a command."""
        self._require(State.READY)
        refused = refusal(transaction, self.offers)
        if refused is not None:
            self._events.append(Answered((refused,) * len(transaction.recipients)))
            return
        lines = deque(commands(transaction, self.offers))
        if self._dirty:
            lines.appendleft((Phase.RESET, b"RSET\r\n"))
        self._commands, self._dirty = lines, True
        self._answers, self._recipient = [None] * len(transaction.recipients), 0
        self._enter(State.ENVELOPE)
        self._advance()

    def content(self, piece: bytes) -> None:
        """Content octets with LF line ends. Raises ValueError for a CR among them."""
        self._require(State.CONTENT)
        self.progress += 1
        self._out.append(self._encoder.feed(piece))

    def content_end(self) -> None:
        """The content is complete."""
        self._require(State.CONTENT)
        self._out.append(self._encoder.end())
        self._enter(State.FINAL)
        self._expected.append(Phase.FINAL)

    def quit(self) -> None:
        """Say QUIT. The session ends with its reply, whatever that is."""
        self._require(State.READY)
        self._enter(State.QUITTING)
        self._send(Phase.QUIT, b"QUIT\r\n")

    def connection_lost(self, why: str = "") -> None:
        """The connection is gone, or the handshake failed; `why` is for people."""
        if self.state is State.TLS:
            self._end(self._problem(f"the TLS handshake failed: {why}", Status(4, 7, 5)))
        elif self.state is not State.CLOSED:
            self._end(self._problem(f"{why or 'the connection was lost'}{self._while()}", Status(4, 4, 2)))

    def timed_out(self) -> None:
        """What :attr:`waiting_for` speaks of did not come in time."""
        phase, seconds = self.waiting_for or (Phase.QUIT, 0)
        status = Status(4, 7, 5) if phase is Phase.TLS else Status(4, 4, 2)
        self._end(self._problem(f"no answer to {phase.value} within {seconds:g} s", status))

    # Replies.

    def _take(self, reply: Reply) -> None:
        self.progress += 1
        if reply.code == 421:
            # RFC 5321 §3.8: may come at any time, and is the last.
            return self._end(Answer(self._phase, reply))
        if self.state is State.CONTENT and not reply.positive:
            # Refused in mid-content. There is no way to go on but to close.
            return self._end(Answer(Phase.CONTENT, reply))
        if not self._expected:
            raise ProtocolFailure(f"a reply came unasked: {reply}"[:200])
        _HANDLERS[self._expected.popleft()](self, reply)
        return self._advance()

    def _greeting(self, reply: Reply) -> None:
        if not 200 <= reply.code < 300:
            return self._end(Answer(Phase.GREETING, reply))
        self._greeted = True
        return self._hello("EHLO")

    def _hello(self, verb: str) -> None:
        self._enter(State.HELLO)
        self._verb = verb
        self._send(Phase.HELLO, line(verb, " ", self.plan.helo))

    def _hello_reply(self, reply: Reply) -> None:
        if 200 <= reply.code < 300:
            if self._verb == "EHLO":
                self.offers = {word.upper(): rest for word, _, rest in (x.partition(" ") for x in reply.lines[1:])}
            return self._secure()
        if reply.code >= 500 and self._verb == "EHLO":
            return self._hello("HELO")
        return self._end(Answer(Phase.HELLO, reply))

    def _secure(self) -> None:
        """STARTTLS where it is wanted and offered, else on to the login."""
        if self.tls_verified is not None or self.plan.tls == "off":
            return self._log_in()
        if "STARTTLS" in self.offers:
            if not self._parser.empty:
                raise ProtocolFailure("the reply to STARTTLS came before the command")
            self._enter(State.TLS_ASKED)
            return self._send(Phase.TLS, b"STARTTLS\r\n")
        if self.plan.demands_tls:
            text = "the host does not offer STARTTLS, which is required"
            return self._end(Answer(Phase.TLS, None, Status(4, 7, 4), text))
        return self._log_in()

    def _starttls_reply(self, reply: Reply) -> None:
        if reply.code == 220:
            # CVE-2011-0411: replies injected in clear would be read as if they came over TLS.
            if not self._parser.empty:
                raise ProtocolFailure("the host sent text in clear behind its reply to STARTTLS")
            self._enter(State.TLS)
            return self._events.append(StartTls())
        if self.plan.checks_certificate:
            return self._end(Answer(Phase.TLS, reply))
        return self._log_in()

    def _log_in(self) -> None:
        login = self.plan.login
        if login is None:
            return self._become_ready()
        exchange = begin(login, self.offers.get("AUTH", ""))
        if exchange is None and login.optional:
            return self._become_ready()
        self._enter(State.AUTH)
        if not (self.tls_verified or login.unprotected):
            return self._no_login("the login is kept back: the connection is not over verified TLS")
        if exchange is None:
            return self._no_login(f"the host offers no AUTH that we know ({', '.join(login.mechanisms)})")
        command, self._responses = exchange
        return self._send(Phase.AUTH, command)

    def _no_login(self, text: str) -> None:
        self._end(Answer(Phase.AUTH, None, Status(4, 7, 0), text))

    def _auth_reply(self, reply: Reply) -> None:
        if reply.code == 235:
            self._become_ready()
        elif reply.code == 334 and self._responses:
            try:
                self._send(Phase.AUTH, coded(self._responses.popleft()(reply.lines[0])))
            except LoginFailure as failure:
                self._end(Answer(Phase.AUTH, None, Status(4, 7, 8), str(failure)))
        else:
            self._end(Answer(Phase.AUTH, reply))

    def _become_ready(self) -> None:
        self._enter(State.READY)
        self._events.append(Ready())

    def _reset_reply(self, reply: Reply) -> None:
        if not 200 <= reply.code < 300:
            self._end(Answer(Phase.RESET, reply))

    def _mail_reply(self, reply: Reply) -> None:
        if not 200 <= reply.code < 300:
            self._decide(Answer(Phase.MAIL, reply))
            # What was not pipelined need not be sent; what was is answered with 503.
            self._commands.clear()

    def _rcpt_reply(self, reply: Reply) -> None:
        place, self._recipient = self._recipient, self._recipient + 1
        if self._answers[place] is None and not 200 <= reply.code < 300:
            self._answers[place] = Answer(Phase.RCPT, reply)

    def _data_reply(self, reply: Reply) -> None:
        if 200 <= reply.code < 300:
            raise ProtocolFailure(f"DATA was answered with {reply.code}")
        if reply.code >= 400:
            return self._decide(Answer(Phase.DATA, reply))
        if None in self._answers:
            self._encoder = ContentEncoder()
            self._enter(State.CONTENT)
            return self._events.append(SendContent())
        # RFC 2920 §3.1: 354 although every recipient was refused. An empty content ends it.
        self._enter(State.FINAL)
        return self._send(Phase.FINAL, b".\r\n")

    def _final_reply(self, reply: Reply) -> None:
        if 300 <= reply.code < 400:
            raise ProtocolFailure(f"the content was answered with {reply.code}")
        self._dirty = False
        self._decide(Answer(Phase.FINAL, reply))
        self._finish()

    def _quit_reply(self, _: Reply) -> None:
        self._end(None)

    # The transaction.

    def _advance(self) -> None:
        """Send what may be sent of the envelope, or see that it is through."""
        if self.state is not State.ENVELOPE:
            return
        pipelining = "PIPELINING" in self.offers
        while self._commands and (pipelining or not self._expected):
            if not pipelining and self._commands[0][0] is Phase.DATA and None not in self._answers:
                self._commands.clear()
                break
            self._send(*self._commands.popleft())
        if not self._commands and not self._expected:
            self._finish()

    def _decide(self, answer: Answer) -> None:
        self._answers = [answer if given is None else given for given in self._answers]

    def _finish(self) -> None:
        self._enter(State.READY)
        self._events.append(Answered(tuple(cast(list[Answer], self._answers))))
        self._answers = []

    def _end(self, answer: Answer | None) -> None:
        if answer is not None and self._answers:
            self._decide(answer)
            self._events.append(Answered(tuple(cast(list[Answer], self._answers))))
        self._answers = []
        self._commands.clear()
        self._expected.clear()
        orderly = self.state is State.QUITTING
        self.state = State.CLOSED
        self._events.append(Ended(None if orderly else answer))

    # Small things.

    @property
    def _phase(self) -> Phase:
        """What is waited for; an idle session waits for the next MAIL."""
        return self.waiting_for[0] if self.waiting_for else Phase.MAIL

    def _problem(self, text: str, status: Status) -> Answer:
        return Answer(self._phase, None, status, text, uncertain=self.state is State.FINAL)

    def _while(self) -> str:
        return f" while waiting for the answer to {self.waiting_for[0].value}" if self.waiting_for else ""

    def _send(self, phase: Phase, data: bytes) -> None:
        self._out.append(data)
        self._expected.append(phase)

    def _enter(self, state: State) -> None:
        if state not in _NEXT[self.state]:
            raise WrongState(f"from {self.state.name} to {state.name}")
        self.state = state

    def _require(self, state: State) -> None:
        if self.state is not state:
            raise WrongState(f"the session is in state {self.state.name}, not {state.name}")


# A phase is set from its command to its reply, and this is who reads the reply.
_HANDLERS: Mapping[Phase, Callable[[ClientCore, Reply], None]] = MappingProxyType(
    {
        Phase.GREETING: ClientCore._greeting,
        Phase.HELLO: ClientCore._hello_reply,
        Phase.TLS: ClientCore._starttls_reply,
        Phase.AUTH: ClientCore._auth_reply,
        Phase.RESET: ClientCore._reset_reply,
        Phase.MAIL: ClientCore._mail_reply,
        Phase.RCPT: ClientCore._rcpt_reply,
        Phase.DATA: ClientCore._data_reply,
        Phase.FINAL: ClientCore._final_reply,
        Phase.QUIT: ClientCore._quit_reply,
    }
)
