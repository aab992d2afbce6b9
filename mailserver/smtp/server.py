"""The SMTP server without I/O (RFC 5321, 3207, 4954, 1870, 2920, 6152, 3030), and LMTP (RFC 2033).

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

from math import inf

from mailserver.smtp import authenticating, chunking, events, receiving, replies, states, verbs
from mailserver.smtp.dialogue import NOTHING, Dialogue
from mailserver.smtp.framing import LineFault
from mailserver.smtp.reply import Reply

# Who reads where no lines come. Nobody does while TLS is about to start.
_OCTETS = {states.CONTENT: receiving.read, states.CHUNK: chunking.read, states.SKIP: chunking.skip}


class OutOfTurn(RuntimeError):
    """The holder of a core called something that its state does not allow: a bug of ours."""


class ServerCore(Dialogue):
    """One session, as its holder sees it: ``profile``, ``state``, ``tls``, ``authenticated`` to look at,
    ``lines_left`` and ``early`` to set, and the members below. `tls` is true where TLS was on before the
    greeting."""

    __slots__ = ()

    # What the holder sees.

    @property
    def buffered(self) -> int:
        """Octets received and not yet parsed."""
        return len(self.input)

    @property
    def early_talker(self) -> bool:
        """True if octets of the client came before it was greeted (RFC 5321 §3.1 has it wait). The holder that saw
        some before there was a session sets ``early``."""
        return self.early or (self.state is states.CONNECTED and len(self.input) > 0)

    @property
    def busy(self) -> bool:
        """True while a content is coming or a question is open: not the moment to hang up."""
        return self.question is not None or self.state.busy

    @property
    def asking(self) -> bool:
        """True while :meth:`answer` is due: the last event was a question."""
        return self.question is not None and not self.events

    @property
    def waiting_for(self) -> tuple[str, float]:
        """What the peer owes us, and how many seconds it has, anew with each progress; inf while we owe."""
        if self.question is not None:
            return "answer", inf
        phase = self.state.phase
        return phase, self.profile.patience.seconds(phase)

    def data_to_send(self) -> bytes:
        """Octets for the peer; each is given once."""
        output = self.output
        if len(output) == 1:
            return output.pop()
        data = b"".join(output)
        output.clear()
        return data

    @property
    def unsent(self) -> int:
        """Octets that :meth:`data_to_send` would give."""
        return sum(map(len, self.output))

    # What comes in.

    def receive(self, data: bytes) -> None:
        """Octets came."""
        if self.state is not states.CLOSED:
            self.input.feed(data)

    def receive_eof(self) -> None:
        """The peer will send no more. What it sent before is still worked on."""
        self.eof = True

    def next_event(self) -> events.Event | None:
        """The next event, or None until more octets, an answer or more :attr:`lines_left` come."""
        while not self.events:
            if self.question is not None or self.state is states.CLOSED or self.lines_left <= 0:
                return None
            if not self._read():
                if not self.eof:
                    return None
                self.close(None, "the peer ended the connection")
        return self.events.pop(0)

    def answer(self, *answers: Reply) -> None:
        """Answer the open question. Only the end of a content in LMTP takes several, one per recipient."""
        question = self.question
        if question is None or self.events:
            raise OutOfTurn(f"answer in state {self.state.name} to {question}")
        kind = type(question)
        if len(answers) != 1:
            self._check_count(len(answers))
        if kind is events.FindKeys and answers[0].code < 400:
            raise OutOfTurn(f"{answers[0]} for {question}: keys, or a refusal")
        self.question = None
        accepted = answers[0].code < 400 or any(one.code < 400 for one in answers)
        after = (states.AFTER if self.chunk is None else states.AFTER_CHUNK)[kind][not accepted]
        if after.forgets:
            self.forget()
        if after.state is not None:
            self.state = after.state
        more = (verbs.ACCEPTED if accepted else verbs.REFUSED).get(kind)
        if more is not None:
            answers = more(self, question, answers)
        if len(answers) == 1:
            self.say(answers[0])
        elif answers:
            self.say_each(answers)

    def _check_count(self, count: int) -> None:
        several = self.profile.lmtp and type(self.question) is events.ContentEnds
        if not several or count != self.recipients:
            raise OutOfTurn(f"{count} answers to {self.question}")

    def found(self, keys: object) -> None:
        """Accept a :class:`~mailserver.smtp.events.FindKeys`: the exchange goes on with `keys`."""
        if type(self.question) is not events.FindKeys or self.events:
            raise OutOfTurn(f"found in state {self.state.name} with question {self.question}")
        self.question = None
        authenticating.found(self, keys)

    def drop_content(self, reply: Reply) -> None:
        """Throw the rest of the content away; its end will be answered with `reply`."""
        question = self.question
        if self.state.phase != "data_block" or (question is not None and question not in self.events):
            raise OutOfTurn(f"drop_content in state {self.state.name} with question {question}")
        receiving.drop(self, reply)

    def tls_started(self) -> None:
        """TLS is on: everything known of the client is forgotten (RFC 3207 §4.2).

        So is all that came in clear behind STARTTLS (CVE-2011-0411: it would run as if it had come under TLS).
        """
        if self.state is not states.TLS:
            raise OutOfTurn(f"tls_started in state {self.state.name}")
        self.state = states.GREETED
        self.input.clear()
        self.tls, self.authenticated, self.understood = True, False, NOTHING
        self.events.append(events.TransactionReset())

    def hang_up(self, reply: Reply) -> None:
        """End the session with a 421 from outside. Not while a question is open."""
        self._end_session(reply, "hung up")

    def timed_out(self) -> None:
        """The peer did not send what :attr:`waiting_for` names in time (RFC 5321 §4.5.3.2.7)."""
        self._end_session(replies.TIMED_OUT, f"timed out waiting for {self.state.phase}")

    def _end_session(self, reply: Reply, reason: str) -> None:
        if self.question is not None:
            raise OutOfTurn(f"{reason} while {self.question} is open")
        self.close(reply, reason)

    def _read(self) -> bool:
        """Work on the next line or slice; false when there is none."""
        state = self.state
        if not state.lines:
            octets = _OCTETS.get(state)
            return octets is not None and octets(self)
        line = self.input.line(self.profile.limits.auth_line)
        if line is None:
            return False
        # Reading a name that is not ASCII costs ten times what another line does.
        self.lines_left -= 1 if line.__class__ is not bytes or line.isascii() else 10
        if isinstance(line, LineFault):
            verbs.read_fault(self, line)
        elif state is states.AUTH:
            authenticating.read(self, line)
        else:
            verbs.read(self, line)
        return True
