"""What the halves of the client core work on: the state of a session, what is on its way, what is waited for.

:class:`ClientDialogue` sends, expects, ends, and knows no command. Who reads a reply is said by the phase that was
set when its command went out (:mod:`mailserver.smtp.client`).
"""

from __future__ import annotations

from collections import deque
from typing import cast

from mailserver.smtp.clientlogin import Exchange
from mailserver.smtp.clientreplies import ReplyParser
from mailserver.smtp.clientstates import NEXT, State, WrongState
from mailserver.smtp.framing import ContentEncoder
from mailserver.smtp.offers import NO_LIMITS
from mailserver.smtp.plan import LIMIT, Answered, Ended, Event, SessionPlan
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Answer, Phase


class Sending:
    """A transaction under way.

    ``answers`` has the one that decided about each recipient, None while nothing did. ``lines`` are still to be
    sent; ``places`` are those of the recipients who were asked and have no reply to RCPT yet. ``chunked`` is true
    where the content goes by BDAT, ``given`` from when its end is on the way: the peer may have the message.
    ``spoilt`` is what a host that does not know BDAT leaves of the session.
    """

    __slots__ = ("answers", "chunked", "encoder", "given", "lines", "places", "spoilt")

    def __init__(self, answers: list[Answer | None], lines: deque[tuple[Phase, bytes]], chunked: bool) -> None:
        self.answers = answers
        self.lines = lines
        self.places = deque(place for place, answer in enumerate(answers) if answer is None)
        self.chunked = self.given = chunked
        self.encoder = ContentEncoder()
        self.spoilt: Answer | None = None

    @property
    def undecided(self) -> bool:
        """True while somebody may still get the message."""
        return None in self.answers

    def decide(self, answer: Answer) -> None:
        """`answer` is about everybody about whom nothing is decided yet."""
        self.answers = [answer if given is None else given for given in self.answers]

    def result(self) -> Answered:
        """When everybody is decided about."""
        return Answered(tuple(cast(list[Answer], self.answers)))


class ClientDialogue:
    """The state of one session. ``dirty``: a transaction began and did not end well, so RSET comes first;
    ``exchanges`` are the logins that can be tried, the first of them under way.

    With a `nonce`, printable ASCII without commas that was never used before, SCRAM can be one of them."""

    def __init__(self, plan: SessionPlan, nonce: str = "") -> None:
        self.plan = plan
        self.state = State.GREETING
        self.offers: dict[str, str] = {}
        self.limits = NO_LIMITS
        self.tls_verified: bool | None = None
        # Counts replies taken and content given: while it grows, the peer is not silent.
        self.progress = 0
        self.parser = ReplyParser()
        self.out: list[bytes] = []
        self.events: deque[Event] = deque()
        self.expected: deque[Phase] = deque([Phase.GREETING])
        self.verb = ""
        self.nonce = nonce
        self.exchanges: deque[Exchange] = deque()
        self.sending: Sending | None = None
        self.dirty = False

    @property
    def waiting_for(self) -> tuple[Phase, float] | None:
        """What the peer owes us and the seconds it has for it; None when it owes nothing."""
        if self.expected:
            phase = self.expected[0]
        elif self.state is State.CONTENT:
            phase = Phase.CONTENT
        elif self.state is State.TLS:
            phase = Phase.TLS
        else:
            return None
        return phase, LIMIT[phase](self.plan.timeouts)

    @property
    def phase(self) -> Phase:
        """What is waited for; an idle session waits for the next MAIL."""
        if self.waiting_for:
            return self.waiting_for[0]
        return Phase.AUTH if self.state is State.AUTH else Phase.MAIL

    def send(self, phase: Phase, data: bytes) -> None:
        """A command, and that its reply is expected."""
        self.out.append(data)
        self.expected.append(phase)

    def enter(self, state: State) -> None:
        """Go on to `state`. Raises WrongState."""
        if state not in NEXT[self.state]:
            raise WrongState(f"from {self.state.name} to {state.name}")
        self.state = state

    def require(self, state: State) -> None:
        """Raises WrongState in any other."""
        if self.state is not state:
            raise WrongState(f"the session is in state {self.state.name}, not {state.name}")

    def problem(self, text: str, status: Status) -> Answer:
        """What is wrong without a reply of the peer that says so."""
        uncertain = self.sending is not None and self.sending.given
        return Answer(self.phase, None, status, text, uncertain=uncertain)

    def end(self, answer: Answer | None) -> None:
        """The session is over; with an `answer` that decides about those who wait for one."""
        sending, self.sending = self.sending, None
        if sending is not None and answer is not None:
            sending.decide(answer)
            self.events.append(sending.result())
        self.expected.clear()
        orderly = self.state is State.QUITTING
        self.state = State.CLOSED
        self.events.append(Ended(None if orderly else answer))
