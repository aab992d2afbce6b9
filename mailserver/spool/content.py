"""Content as the spool keeps it: in memory up to a cap and within one budget, beyond that in a file.

A writer does not notice the difference, but for the awaitables of :meth:`SpoolContent.write` and ``finish``.
A content in a file enters a commit only after its ``finish`` has fired: the file is durable before the row.
From ``store()`` on the content belongs to the spool, and ``discard()`` does nothing any more; if the commit
fails it belongs to its writer again.

The header section stays in memory (64 KiB of it at most), so that ``header()`` never reads the disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator

from mailserver.message.content import HEADER_SCAN, Content, append
from mailserver.spool.budget import MemoryBudget
from mailserver.spool.files import ContentFiles
from mailserver.spool.writer import ContentWriter

_READ = 65_536


class SpoolContent(Content):
    """Made by ``new_content()`` of the spool, or read back by :meth:`kept`."""

    __slots__ = ("_budget", "_cap", "_dropped", "_files", "_first", "_paid", "_taken", "_writer")

    def __init__(self, files: ContentFiles, budget: MemoryBudget, cap: int) -> None:
        super().__init__()
        self._files = files
        self._budget = budget
        self._cap = cap
        self._paid = 0
        self._first: bytes | None = None
        self._writer: ContentWriter | None = None
        self._taken = False
        self._dropped = False

    @classmethod
    def kept(
        cls, files: ContentFiles, budget: MemoryBudget, columns: tuple[str | None, bytes, bytes, int, int]
    ) -> SpoolContent:
        """A content of a stored message, from the columns file, head, body, size and octets."""
        content = cls(files, budget, 0)
        content.file, content.head, body, size, content._stored = columns
        content._taken = True
        content._lines = size - content.stored - content.head.count(b"\n")
        if content.file is None:
            content._pieces.append(body)
        else:
            content._first = body
        return content

    @property
    def ready(self) -> bool:
        """Whether it may enter a commit: in memory, or durable in its file."""
        return self._writer is None or self._writer.durable

    def write(self, piece: bytes) -> Awaitable[None] | None:
        """Append octets with LF line ends; see `Content.write`. Its awaitable raises SpoolFull or SpoolFailed."""
        self._count(piece)
        paid = len(piece) if self._budget.take(len(piece)) else 0
        if self._writer is None:
            if paid == len(piece) and self._stored <= self._cap:
                self._paid += paid
                append(self._pieces, piece)
                return None
            self._spill()
        assert self._writer is not None
        if self._first is None:
            self._pieces.append(piece[:HEADER_SCAN])
            self._keep_header()
        return self._writer.write(piece, paid)

    def _spill(self) -> None:
        """From memory to a file."""
        self.file = self._files.new_name()
        self._writer = ContentWriter(self._files, self._budget, self.file)
        pieces, self._pieces = self._pieces, []
        paid, self._paid = self._paid, 0
        if pieces:
            whole = b"".join(pieces)
            self._pieces.append(whole[:HEADER_SCAN])
            self._keep_header()
            waiting = self._writer.write(whole, paid)
            if waiting is not None:  # the next write asks the same writer, and answers the same error
                waiting.addErrback(lambda _failure: None)

    def _keep_header(self) -> None:
        """Once the header section is complete, or longer than is scanned, keep just that."""
        start = self._start()
        if len(start) >= HEADER_SCAN or start.startswith(b"\n") or b"\n\n" in start:
            self._first = self.header()
            self._pieces.clear()

    def _start(self) -> bytes:
        return super()._start() if self._first is None else self._first

    def finish(self) -> Awaitable[None] | None:
        """See `Content.finish`. Raises SpoolFull or SpoolFailed."""
        return None if self._writer is None else self._writer.finish()

    def take(self) -> None:
        """The spool takes it for one message."""
        assert self.ready, "a content must be finished before it is stored"
        assert not self._taken, "a content belongs to one message"
        self._taken = True

    def give_back(self) -> None:
        """The commit failed: it belongs to its writer again, who may have discarded it meanwhile."""
        self._taken = False
        if self._dropped:
            self.discard()

    def charge(self) -> None:
        """It was read back into memory to stay for a while: the budget knows, until :meth:`release`."""
        self._paid = sum(map(len, self._pieces)) + len(self._first or b"")
        self._budget.overdraw(self._paid)

    def release(self) -> None:
        """Nobody needs it in memory any more."""
        self._budget.give(self._paid)
        self._paid = 0

    def discard(self) -> None:
        """See `Content.discard`. Does nothing once the message is stored."""
        self._dropped = True
        if self._taken:
            return
        self.release()
        self._pieces.clear()
        if self._writer is not None:
            self._writer.abandon()

    def pieces(self) -> Iterator[bytes]:
        """See `Content.pieces`."""
        if self.file is None:
            yield from self._pieces
            return
        with open(self._files.path(self.file), "rb", buffering=0) as file:
            while piece := file.read(_READ):
                yield piece
