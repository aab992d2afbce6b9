"""The content of a message: header and body octets, kept with LF alone.

Reception proves that the wire had only CRLF, so LF alone loses nothing; ``chunks(crlf=True)`` restores the
wire form. ``size`` counts as SIZE does (RFC 1870 §3: CRLF is two octets). The trace header fields that we
prepend stand in ``head``, so that content already in a file need not be written twice.

This class keeps everything in memory. The spool's own contents go to a file above a cap and override
:meth:`write`, :meth:`finish`, :meth:`discard` and :meth:`pieces`; whoever holds a content does not care.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator

# So many pieces that are so small become one: whoever sends chooses their sizes, and an object costs 40 octets.
_SMALL, _TOGETHER = 1_024, 64
# A header beyond this is not scanned: RFC 5321 §4.5.3.1 sets no bound, so we do.
HEADER_SCAN = 65_536


def append(pieces: list[bytes], piece: bytes) -> None:
    """Put `piece` behind the others, in whatever number of pieces."""
    pieces.append(piece)
    if len(piece) < _SMALL and not len(pieces) % _TOGETHER:
        last = b"".join(pieces[-_TOGETHER:])
        if len(last) < _SMALL * _TOGETHER:
            pieces[-_TOGETHER:] = (last,)


class Content:
    """Octets being written, then (after :meth:`finish`) read. ``file`` names the content file, or is None."""

    __slots__ = ("_lines", "_pieces", "_stored", "file", "head")

    def __init__(self) -> None:
        self.head = b""
        self.file: str | None = None
        self._pieces: list[bytes] = []
        self._stored = 0
        self._lines = 0

    @classmethod
    def of(cls, octets: bytes | Iterable[bytes]) -> Content:
        """A finished content in memory from octets with CRLF or LF line ends (lone CR becomes LF too)."""
        whole = octets if isinstance(octets, bytes) else b"".join(octets)
        content = cls()
        content.write(whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
        return content

    @property
    def size(self) -> int:
        """Octets on the wire, CRLF counted as two, ``head`` included."""
        return self._stored + self._lines + len(self.head) + self.head.count(b"\n")

    @property
    def stored(self) -> int:
        """Octets as kept (LF), ``head`` included: what a Maildir file or a byte budget counts."""
        return self._stored + len(self.head)

    def write(self, piece: bytes) -> Awaitable[None] | None:
        """Append octets with LF line ends. An awaitable asks the caller to wait before it writes more."""
        self._count(piece)
        append(self._pieces, piece)
        return None

    def _count(self, piece: bytes) -> None:
        self._stored += len(piece)
        self._lines += piece.count(b"\n")

    def finish(self) -> Awaitable[None] | None:
        """Nothing more will be written. After the awaitable (if any) a content file is durable."""
        return None

    def discard(self) -> None:
        """Forget the octets: nothing of them stays in memory or on disk. May be called twice."""
        self._pieces.clear()

    def pieces(self) -> Iterator[bytes]:
        """The octets without ``head``, LF line ends, in pieces of at most some 64 KiB when from a file.

        Reads the disk if the content is in a file (then only to be called on a disk thread)."""
        yield from self._pieces

    def chunks(self, crlf: bool = False) -> Iterator[bytes]:
        """``head`` and octets, with CRLF line ends on request. Blocking where :meth:`pieces` is."""
        if self.head:
            yield self.head.replace(b"\n", b"\r\n") if crlf else self.head
        for piece in self.pieces():
            yield piece.replace(b"\n", b"\r\n") if crlf else piece

    async def read(self, crlf: bool = False) -> bytes:
        """The whole content in memory: for applications and tests, not for large mail."""
        return b"".join(self.chunks(crlf))

    def ascii(self) -> bool:
        """Whether no octet is above 127, whatever was declared. Blocking where :meth:`pieces` is."""
        return all(piece.isascii() for piece in self.chunks())

    def header(self) -> bytes:
        """The header section of the octets (without ``head``), up to :data:`HEADER_SCAN`, LF line ends.

        Ends with the last header line's LF; the empty line is not part of it."""
        start = self._start()
        if start.startswith(b"\n"):
            return b""
        end = start.find(b"\n\n")
        return start if end < 0 else start[: end + 1]

    def _start(self) -> bytes:
        if len(self._pieces) == 1:
            return self._pieces[0][:HEADER_SCAN]
        start = b""
        for piece in self._pieces:
            start += piece[: HEADER_SCAN - len(start)]
            if len(start) >= HEADER_SCAN or b"\n\n" in start:
                break
        return start
