"""The SMTP server without I/O (RFC 5321, 3207, 4954, 1870, 2920, 6152).

Octets and answers go in, events and reply octets come out::

    core = ServerCore(profile, PASSWORD_MECHANISMS)
    core.receive(data)
    while (event := core.next_event()) is not None:
        ...                                     # a question: core.answer(reply) before the next one can come
    transport.write(core.data_to_send())

One question is open at a time, and while it is, nothing further is parsed: replies are in order however much
the client pipelines, and nothing can overtake AUTH or STARTTLS. Content becomes slices as it comes. What is
read is bounded: command lines, content, errors, commands, and what is thrown away; the holder of the core
bounds what it feeds while a question is open (see :attr:`ServerCore.buffered`).

Nothing that the peer sends raises. A wrong call by the holder raises :class:`OutOfTurn`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from mailserver.smtp import command, events, replies, sasl, states
from mailserver.smtp.command import Refused
from mailserver.smtp.framing import ContentDecoder, Input, LineFault
from mailserver.smtp.limits import Profile
from mailserver.smtp.reply import Reply
from mailserver.smtp.tally import Tally

_NOTHING: frozenset[str] = frozenset()
_OPENED, _CONTENT_BEGINS, _CONTENT_ENDS = events.Opened(), events.ContentBegins(), events.ContentEnds()


class OutOfTurn(RuntimeError):
    """The holder of a core called something that its state does not allow: a bug of ours."""


class ServerCore:
    """One session. `tls` is true where TLS was on before the greeting (RFC 8314 §3)."""

    def __init__(
        self,
        profile: Profile,
        mechanisms: Mapping[str, Callable[[], sasl.Mechanism]] | None = None,
        tls: bool = False,
    ) -> None:
        self.profile = profile
        self.tls = tls
        self.authenticated = False
        # Lines that may still be read in this turn of the holder, who sets it: who shares a thread takes turns.
        self.lines_left = inf
        self._mechanisms = mechanisms or {}
        self._state = states.CONNECTED
        self._input = Input()
        self._output: list[bytes] = []
        self._question: events.Question | None = None
        self._events: deque[events.Event] = deque()
        self._eof = False
        self._tally = Tally(profile.limits)
        self._understood = _NOTHING
        self._recipients, self._smtputf8 = 0, False
        self._decoder: ContentDecoder | None = None
        self._dropped: Reply | None = None
        self._exchange: sasl.Exchange | None = None
        self._ask(_OPENED)

    # What the holder sees.

    @property
    def state(self) -> states.State:
        """Where the session stands."""
        return self._state

    @property
    def buffered(self) -> int:
        """Octets received and not yet parsed."""
        return len(self._input)

    @property
    def busy(self) -> bool:
        """True while a content is coming or a question is open: not the moment to hang up."""
        return self._question is not None or self._state is states.CONTENT

    @property
    def asking(self) -> bool:
        """True while :meth:`answer` is due: the last event was a question."""
        return self._question is not None and not self._events

    @property
    def waiting_for(self) -> tuple[str, float]:
        """What the peer owes us, and how many seconds it has, anew with each progress; inf while we owe."""
        if self._question is not None:
            return "answer", inf
        phase = self._state.phase
        return phase, self.profile.patience.seconds(phase)

    def data_to_send(self) -> bytes:
        """Octets for the peer; each is given once."""
        output = self._output
        if len(output) == 1:
            return output.pop()
        data = b"".join(output)
        output.clear()
        return data

    @property
    def unsent(self) -> int:
        """Octets that :meth:`data_to_send` would give."""
        return sum(map(len, self._output))

    # What comes in.

    def receive(self, data: bytes) -> None:
        """Octets came."""
        if self._state is not states.CLOSED:
            self._input.feed(data)

    def receive_eof(self) -> None:
        """The peer will send no more. What it sent before is still worked on."""
        self._eof = True

    def next_event(self) -> events.Event | None:
        """The next event, or None until more octets, an answer or more :attr:`lines_left` come."""
        while not self._events:
            if self._question is not None or self._state is states.CLOSED or self.lines_left <= 0:
                return None
            if not self._read():
                if not self._eof:
                    return None
                self._close(None, "the peer ended the connection")
        return self._events.popleft()

    def answer(self, *answers: Reply) -> None:
        """Answer the open question. Only the end of content takes several replies."""
        question = self._question
        if question is None or self._events:
            raise OutOfTurn(f"answer in state {self._state.name} to {question}")
        kind = type(question)
        if len(answers) != 1 and (not answers or kind is not events.ContentEnds):
            raise OutOfTurn(f"{len(answers)} answers to {question}")
        self._question = None
        accepted = answers[0].code < 400
        after = states.AFTER[kind][not accepted]
        if after.forgets:
            self._forget()
        if after.state is not None:
            self._state = after.state
        if accepted and (more := _ACCEPTED.get(kind)) is not None:
            composed = more(self, question)
            answers = (composed,) if composed is not None else answers
        for answer in answers:
            self._say(answer)

    def drop_content(self, reply: Reply) -> None:
        """Throw the rest of the content away; its end will be answered with `reply`."""
        question = self._question
        if self._state is not states.CONTENT or (question is not None and question not in self._events):
            raise OutOfTurn(f"drop_content in state {self._state.name} with question {question}")
        if self._dropped is not None:
            return
        self._question = None
        self._events.clear()
        self._drop(reply)
        if question is not None:
            self._end_content()

    def tls_started(self) -> None:
        """TLS is on: everything known of the client is forgotten (RFC 3207 §4.2).

        So is all that came in clear behind STARTTLS (CVE-2011-0411: it would run as if it had come under TLS).
        """
        if self._state is not states.TLS:
            raise OutOfTurn(f"tls_started in state {self._state.name}")
        self._state = states.GREETED
        self._input.clear()
        self.tls, self.authenticated, self._understood = True, False, _NOTHING
        self._events.append(events.TransactionReset())

    def hang_up(self, reply: Reply) -> None:
        """End the session with a 421 from outside. Not while a question is open."""
        self._end_session(reply, "hung up")

    def timed_out(self) -> None:
        """The peer did not send what :attr:`waiting_for` names in time (RFC 5321 §4.5.3.2.7)."""
        self._end_session(replies.TIMED_OUT, f"timed out waiting for {self._state.phase}")

    def _end_session(self, reply: Reply, reason: str) -> None:
        if self._question is not None:
            raise OutOfTurn(f"{reason} while {self._question} is open")
        self._close(reply, reason)

    # Asking, saying, ending.

    def _ask(self, question: events.Question) -> None:
        self._question = question
        self._events.append(question)

    def _say(self, reply: Reply) -> None:
        self._output.append(reply.wire)
        code = reply.code
        if code == 421:
            self._close(None, "421 was answered")
        elif code >= 500 and (end := self._tally.error()) is not None:
            self._close(*end)

    def _close(self, reply: Reply | None, reason: str) -> None:
        if self._state is not states.CLOSED:
            if reply is not None:
                self._output.append(reply.wire)
            self._state = states.CLOSED
            self._question = None
            self._input.clear()
            self._events.append(events.Closing(reason))

    def _forget(self) -> None:
        if self._state.transaction:
            self._events.append(events.TransactionReset())

    # Reading.

    def _read(self) -> bool:
        """Work on the next line or slice; false when there is none."""
        state = self._state
        if state is states.CONTENT:
            return self._read_content()
        if state is states.TLS:
            return False
        line = self._input.line(self.profile.limits.auth_line)
        if line is None:
            return False
        self.lines_left -= 1
        if isinstance(line, LineFault):
            self._bad_line(line)
        elif state is states.AUTH:
            self._read_response(line)
        else:
            self._read_command(line)
        return True

    def _bad_line(self, fault: LineFault) -> None:
        authenticating = self._state is states.AUTH
        if authenticating:
            self._state = states.READY
        if fault is LineFault.BARE_LF:
            self._say(replies.BARE_LF)
            return
        self._say(replies.AUTH_LINE_TOO_LONG if authenticating else replies.LINE_TOO_LONG)
        if fault is LineFault.ENDLESS:
            self._close(replies.ENDLESS, "a line without end")

    def _read_command(self, line: bytes) -> None:
        if (end := self._tally.command(line)) is not None:
            self._close(*end)
            return
        try:
            verb, argument = command.split(line)
            if len(line) + 2 > self.profile.limits.command_line:
                self._check_length(verb, len(line) + 2)
            run = _VERBS.get(verb)
            if run is None:
                raise Refused(replies.UNKNOWN_COMMAND)
            refusal = self._state.refuses.get(verb)
            if self.profile.auth_required and not self.authenticated and verb in self._state.needs_auth:
                refusal = self.profile.login_first(self.tls)
            if refusal is not None:
                raise Refused(refusal)
            run(self, argument)
        except Refused as refused:
            self._say(refused.reply)

    def _check_length(self, verb: str, length: int) -> None:
        limits = self.profile.limits
        longest = command.line_limit(verb, limits.command_line, self._understood)
        if length > (limits.auth_line if verb == "AUTH" else longest):
            raise Refused(replies.LINE_TOO_LONG)

    # Commands. Each was found permitted by the table.

    def _ehlo(self, argument: str) -> None:
        self._ask(events.Hello(command.read_hello(argument), True))

    def _helo(self, argument: str) -> None:
        self._ask(events.Hello(command.read_hello(argument), False))

    def _mail(self, argument: str) -> None:
        path, params = command.read_mail(argument, self._understood)
        limit = self.profile.limits.max_message_size
        if limit and params.size is not None and params.size > limit:
            raise Refused(replies.TOO_LARGE)
        self._ask(events.MailFrom(path, params, argument[5:]))

    def _rcpt(self, argument: str) -> None:
        path, params = command.read_rcpt(argument, self._understood, self._smtputf8)
        limit = self.profile.limits.max_recipients
        if limit and self._recipients >= limit:
            raise Refused(replies.TOO_MANY_RECIPIENTS)
        self._ask(events.RcptTo(path, params, argument[3:]))

    def _data(self, argument: str) -> None:
        command.no_argument(argument)
        self._ask(_CONTENT_BEGINS)

    def _rset(self, argument: str) -> None:
        command.no_argument(argument)
        self._forget()
        if self._state.transaction:
            self._state = states.READY
        self._say(replies.OK)

    def _noop(self, argument: str) -> None:
        self._say(replies.OK)

    def _quit(self, argument: str) -> None:
        command.no_argument(argument)
        self._close(replies.GOODBYE, "QUIT")

    def _vrfy(self, argument: str) -> None:
        if not argument:
            raise Refused(replies.BAD_ARGUMENT)
        self._say(replies.CANNOT_VERIFY)

    def _expn(self, argument: str) -> None:
        raise Refused(replies.NOT_IMPLEMENTED)

    def _help(self, argument: str) -> None:
        self._say(replies.HELP)

    def _starttls(self, argument: str) -> None:
        if self.tls:
            raise Refused(replies.TLS_ALREADY)
        if not self.profile.starttls:
            raise Refused(replies.NOT_IMPLEMENTED)
        command.no_argument(argument)
        self._ask(events.StartTls())

    def _auth(self, argument: str) -> None:
        profile = self.profile
        if not profile.mechanisms:
            raise Refused(replies.NOT_IMPLEMENTED)
        if profile.auth_waits_for_tls(argument, self.tls):
            raise Refused(replies.ENCRYPTION_NEEDED)
        if self.authenticated:
            raise Refused(replies.ALREADY_AUTHENTICATED)
        self._exchange, step = sasl.begin(argument, profile.offered(self.tls), self._mechanisms)
        self._take_step(step)

    def _read_response(self, line: bytes) -> None:
        assert self._exchange is not None
        self._state = states.READY
        try:
            self._take_step(self._exchange.respond(line))
        except Refused as refused:
            self._exchange = None
            self._say(refused.reply)

    def _take_step(self, step: sasl.Challenge | sasl.Finished) -> None:
        assert self._exchange is not None
        if isinstance(step, sasl.Challenge):
            self._state = states.AUTH
            self._output.append(sasl.encode_challenge(step.data))
            return
        name, self._exchange = self._exchange.name, None
        self._ask(events.Authenticate(name, step.credentials))

    # Content.

    def _read_content(self) -> bool:
        piece = self._input.slice()
        if not piece:
            return False
        assert self._decoder is not None
        decoder = self._decoder
        text = decoder.feed(piece)
        if text:
            self._events.append(events.ContentSlice(text))
        if decoder.fault is not None and self._dropped is None:
            self._drop(states.FAULTS[decoder.fault])
        if decoder.ended:
            self._input.put_back(decoder.surplus)
            self._end_content()
        elif 0 < self.profile.limits.discard < decoder.discarded:
            self._close(replies.ENDLESS, "a content without end")
        return True

    def _drop(self, reply: Reply) -> None:
        assert self._decoder is not None
        self._dropped = reply
        self._decoder.refuse()
        self._events.append(events.ContentDropped(reply))

    def _end_content(self) -> None:
        if self._dropped is None:
            self._ask(_CONTENT_ENDS)
            return
        self._decoder = None
        self._state = states.READY
        self._say(self._dropped)

    # What acceptance of a question means beyond the table; answers what is to be said, if not the answer.

    def _greet(self, question: events.Hello) -> Reply:
        self._understood = self.profile.understood if question.extended else _NOTHING
        return self.profile.hello(self.tls) if question.extended else self.profile.helo

    def _begin_transaction(self, question: events.MailFrom) -> None:
        self._recipients, self._smtputf8 = 0, question.params.smtputf8

    def _add_recipient(self, question: events.RcptTo) -> None:
        self._recipients += 1

    def _begin_content(self, question: events.ContentBegins) -> Reply:
        limits = self.profile.limits
        self._dropped = None
        self._decoder = ContentDecoder(limits.max_message_size, limits.max_line_length)
        return replies.SEND_CONTENT

    def _end_transaction(self, question: events.ContentEnds) -> None:
        self._tally.accepted()
        self._decoder = None

    def _log_in(self, question: events.Authenticate) -> None:
        self.authenticated = True


_VERBS: Mapping[str, Callable[[ServerCore, str], None]] = {
    "EHLO": ServerCore._ehlo,
    "HELO": ServerCore._helo,
    "MAIL": ServerCore._mail,
    "RCPT": ServerCore._rcpt,
    "DATA": ServerCore._data,
    "RSET": ServerCore._rset,
    "NOOP": ServerCore._noop,
    "QUIT": ServerCore._quit,
    "VRFY": ServerCore._vrfy,
    "EXPN": ServerCore._expn,
    "HELP": ServerCore._help,
    "STARTTLS": ServerCore._starttls,
    "AUTH": ServerCore._auth,
}
_ACCEPTED: Mapping[type[events.Question], Callable[[ServerCore, Any], Reply | None]] = {
    events.Hello: ServerCore._greet,
    events.MailFrom: ServerCore._begin_transaction,
    events.RcptTo: ServerCore._add_recipient,
    events.ContentBegins: ServerCore._begin_content,
    events.ContentEnds: ServerCore._end_transaction,
    events.Authenticate: ServerCore._log_in,
}
