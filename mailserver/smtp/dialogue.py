"""What one session of the SMTP server knows, and how it asks, says and ends.

The part of the core that its phases share: `verbs` (commands), `authenticating` (AUTH), `receiving` (content),
`chunking` (that of BDAT) and `server`, which is what the holder sees. They change these fields; nobody outside
`mailserver.smtp` does.

One question is open at a time: :attr:`Dialogue.question`. While it is, nothing is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf

from mailserver.smtp import events, sasl, states
from mailserver.smtp.framing import ChunkDecoder, ContentDecoder, Input
from mailserver.smtp.limits import Profile
from mailserver.smtp.reply import Reply
from mailserver.smtp.tally import Tally

NOTHING: frozenset[str] = frozenset()
# What the holder answered to a question, and what is said then.
Said = tuple[Reply, ...]
_OPENED = events.Opened()


class Stated(Enum):
    """Whether XCLIENT has named the client: the EHLO that follows may be the client's own already."""

    NOT = "not"
    SO_FAR = "so far"
    FOR_GOOD = "for good"


@dataclass(slots=True)
class Chunk:
    """A BDAT whose octets come: ``left`` of them. ``refusal`` is said behind them, and then the session stands in
    ``back``."""

    left: int
    last: bool
    back: states.State
    refusal: Reply | None = None


class Dialogue:
    """One session. `tls` is true where TLS was on before the greeting (RFC 8314 §3).

    ``understood`` are the extensions whose parameters are read; ``recipients`` how many this transaction has, or
    had when it failed. ``decoder`` reads a content that comes by DATA, ``dropped`` is the reply that it will get
    where it is thrown away; ``chunks`` reads one that comes by BDAT, ``chunk`` is the one that is under way;
    ``exchange`` is an AUTH; ``early`` is whether the client spoke before it was greeted.
    """

    __slots__ = (
        "authenticated", "chunk", "chunks", "decoder", "dropped", "early", "enhanced", "eof", "events", "exchange",
        "input", "lines_left", "mechanisms", "output", "profile", "question", "recipients", "smtputf8", "state",
        "stated",
        "tally", "tls", "understood",
    )  # fmt: skip

    def __init__(
        self,
        profile: Profile,
        mechanisms: Mapping[str, Callable[[], sasl.Mechanism]] | None = None,
        tls: bool = False,
    ) -> None:
        self.profile = profile
        self.enhanced = profile.enhanced
        self.mechanisms = mechanisms or {}
        self.tls = tls
        self.authenticated = False
        # Lines that may still be read in this turn of the holder, who sets it: who shares a thread takes turns.
        self.lines_left = inf
        self.stated = Stated.NOT
        self.state = states.CONNECTED
        self.input = Input()
        self.output: list[bytes] = []
        # Three at most, and a deque takes 700 octets: idle sessions are many.
        self.events: list[events.Event] = []
        self.eof = self.early = False
        self.tally = Tally(profile.limits)
        self.understood = NOTHING
        self.recipients, self.smtputf8 = 0, False
        self.decoder: ContentDecoder | None = None
        self.dropped: Reply | None = None
        self.chunks: ChunkDecoder | None = None
        self.chunk: Chunk | None = None
        self.exchange: sasl.Exchange | None = None
        self.question: events.Question | None = None
        self.ask(_OPENED)

    def ask(self, question: events.Question) -> None:
        """Stop until the holder has answered."""
        self.question = question
        self.events.append(question)

    def say(self, reply: Reply) -> None:
        """A reply to the peer. A 421 is the last one, and so is one refusal too many."""
        self.output.append(reply.wire if self.enhanced else reply.plain)
        code = reply.code
        if code >= 400:
            self._weigh(code)

    def say_each(self, replies: Sequence[Reply]) -> None:
        """The replies of one content in LMTP, of which none is missing because another one ends the session."""
        self.output.extend(reply.wire if self.enhanced else reply.plain for reply in replies)
        codes = {reply.code for reply in replies}
        worst = 421 if 421 in codes else max(codes)
        if worst >= 400:
            self._weigh(worst)

    def _weigh(self, code: int) -> None:
        if code == 421:
            self.close(None, "421 was answered")
        elif (end := self.tally.error() if code >= 500 else self.tally.transient()) is not None:
            self.close(*end)

    def close(self, reply: Reply | None, reason: str) -> None:
        """The end, with `reply` as the last word; `reason` is for the log."""
        if self.state is not states.CLOSED:
            if reply is not None:
                self.output.append(reply.wire if self.enhanced else reply.plain)
            self.state = states.CLOSED
            self.question = None
            self.input.clear()
            self.events.append(events.Closing(reason))

    def forget(self) -> None:
        """The transaction is over, if there was one: the holder forgets it too."""
        if self.state.transaction:
            self.events.append(events.TransactionReset())
