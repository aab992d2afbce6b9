"""Replies of a peer: cut from the octets it sends, bounded, and made safe to show (RFC 5321 §4.2).

:class:`ReplyParser` is fed what arrives and yields :class:`~mailserver.smtp.reply.Reply` values, the same
however the input was split. A peer is a stranger, so everything is bounded: a line by :data:`MAX_LINE`, a
reply by :data:`MAX_LINES`. Its words are text for people: whatever is not printable is escaped, so that no
reply can put a line or a terminal sequence into a log, and an enhanced status counts only where it agrees
with the code (RFC 2034 §4).

A line may end by LF alone: refusing it would gain nothing, since replies carry no content.

Everything that is no SMTP reply leaves as :class:`ProtocolFailure`, after which the parser is of no use.
"""

from __future__ import annotations

from mailserver.smtp.reply import Reply
from mailserver.smtp.status import Status

# RFC 5321 §4.5.3.1.5 says 512; real peers put URLs into their refusals.
MAX_LINE = 1024
# The longest EHLO lists of today have some 20 lines, the longest refusals 10.
MAX_LINES = 100


class ProtocolFailure(ValueError):
    """The peer does not speak SMTP; ``str()`` is one sentence for a person."""


class ReplyParser:
    """Feed octets, then take replies until there is none."""

    __slots__ = ("_at", "_code", "_data", "_lines")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0
        self._code = 0
        self._lines: list[str] = []

    @property
    def empty(self) -> bool:
        """True when nothing of a further reply has arrived."""
        return self._at == len(self._data) and not self._lines

    def feed(self, data: bytes) -> None:
        """Append octets."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def next(self) -> Reply | None:
        """The next whole reply, or None while its end has not come. Raises ProtocolFailure."""
        while (end := self._data.find(b"\n", self._at, self._at + MAX_LINE)) >= 0:
            line = self._data[self._at : end].removesuffix(b"\r")
            self._at = end + 1
            if self._take(line):
                return self._finish()
        if len(self._data) - self._at >= MAX_LINE:
            raise ProtocolFailure(f"a line of the reply is longer than {MAX_LINE} octets")
        return None

    def _take(self, line: bytes) -> bool:
        """Add a line to the reply; true when it was the last."""
        code, mark = line[:3], line[3:4]
        if len(code) != 3 or not code.isdigit() or not b"200" <= code <= b"599" or mark not in (b" ", b"-", b""):
            raise ProtocolFailure(f"this is no SMTP reply: {printable(line)[:100]}")
        if self._lines and int(code) != self._code:
            raise ProtocolFailure(f"the reply changes its code from {self._code} to {int(code)}")
        if len(self._lines) >= MAX_LINES:
            raise ProtocolFailure(f"the reply has more than {MAX_LINES} lines")
        self._code = int(code)
        self._lines.append(printable(line[4:]))
        return mark != b"-"

    def _finish(self) -> Reply:
        lines, self._lines = self._lines, []
        status, rest = _split_status(lines[0], self._code)
        if status is None:
            return Reply(self._code, None, tuple(lines))
        return Reply(self._code, status, (rest, *(_split_status(line, self._code)[1] for line in lines[1:])))


def _split_status(line: str, code: int) -> tuple[Status | None, str]:
    word, _, rest = line.partition(" ")
    status = Status.parse(word)
    if status is None or status.klass != code // 100:
        return None, line
    return status, rest


def printable(octets: bytes) -> str:
    """Octets of a stranger as text of one line: UTF-8 where it is, everything not printable escaped."""
    text = octets.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
