"""Cutting the octets of a session: command lines, and the content of a message in both directions.

:class:`Input` holds what the peer sent and cuts command lines from it. :class:`ContentDecoder` turns content
on the wire (CRLF, dot-stuffed, RFC 5321 §4.5.2) into slices with LF alone, :class:`ChunkDecoder` that of BDAT
(RFC 3030: no stuffing, no end mark); :class:`ContentEncoder` is the way back. All of them keep a few octets
between calls and give the same result however the input was split.

Only CRLF.CRLF ends a content. Bare CR, bare LF and NUL make it bad as a whole, so that no two readers can
disagree where it ends (CVE-2023-51764, CVE-2023-51765, CVE-2023-51766: SMTP smuggling).

Where line ends are normalized (``normalizes``), each bare CR and each bare LF becomes a line end of its own, in
that order of work: the end of the content is looked for first, in the octets as they were sent, then stuffed dots
are taken off behind true CRLFs, and only then line ends are made. So a line that is a dot alone because of a made
line end cannot end anything: the search is over. It stands in the text as a dot, and whoever sends the text on
stuffs it like any other (:class:`ContentEncoder`). A dot behind a bare line end stays: for its writer no line
began there, so nothing was doubled, and a dot too many is a blemish where a dot too few is a loss.

Content is worked on by operations over whole slices, never by a Python call per line: deleting CR and putting
it back before every LF gives the same octets exactly when there was no bare CR and no bare LF.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum

SLICE = 65_536
# An over-long command line is thrown away up to here, then the session ends.
MAX_SKIPPED = 65_536


class LineFault(Enum):
    """Why there is no command line."""

    TOO_LONG = "too long"
    ENDLESS = "too long, and its end is not in sight"
    BARE_LF = "ended by LF alone"


class Input:
    """Octets received and not yet used."""

    __slots__ = ("_at", "_data", "_skipped", "lead")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0
        self._skipped = 0
        # How the last faulty line began.
        self.lead = b""

    def __len__(self) -> int:
        return len(self._data) - self._at

    def begins(self, octets: bytes) -> bool:
        """Whether what is not used yet begins with `octets`."""
        return self._data.startswith(octets, self._at)

    def feed(self, data: bytes) -> None:
        """Append octets."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def clear(self) -> None:
        """Forget everything, a line that began included."""
        self._data = b""
        self._at = self._skipped = 0

    def line(self, limit: int) -> bytes | LineFault | None:
        """The next line without its CRLF, a fault in its place, or None while its end has not come.

        `limit` is in octets, CRLF included (RFC 5321 §4.5.3.1.4). Memory stays flat for a line without end.
        """
        start = self._at
        if start >= len(self._data):
            self._data, self._at = b"", 0
            return None
        end = self._data.find(b"\n", start)
        if end < 0:
            return self._wait(limit)
        self._at = end + 1
        length = self._skipped + end + 1 - start
        if length > limit:
            self._lead(start)
            self._skipped = 0
            return LineFault.TOO_LONG if length <= MAX_SKIPPED else LineFault.ENDLESS
        if end == start or self._data[end - 1] != 13:
            self._lead(start)
            return LineFault.BARE_LF
        return self._data[start : end - 1]

    def _wait(self, limit: int) -> LineFault | None:
        have = len(self)
        if self._skipped or have > limit:
            self._lead(self._at)
            self._skipped += have
            self._data, self._at = b"", 0
            if self._skipped > MAX_SKIPPED:
                return LineFault.ENDLESS
        return None

    def _lead(self, start: int) -> None:
        if not self._skipped:
            self.lead = self._data[start : start + 5]

    def slice(self, most: int = SLICE) -> bytes:
        """The next octets, at most `most` and :data:`SLICE`; empty when there are none."""
        piece = self._data[self._at : self._at + min(most, SLICE)]
        if not piece:
            self._data, self._at = b"", 0
        self._at += len(piece)
        return piece

    def put_back(self, count: int) -> None:
        """The last `count` octets of the slice just taken were not for the taker."""
        self._at -= count


class ContentFault(Enum):
    """Why a content is bad. The rest of it is thrown away."""

    BARE_LINE_END = "bare CR or LF"
    NUL = "NUL"
    TOO_LARGE = "too large"
    LINE_TOO_LONG = "line too long"
    REFUSED = "refused by the application"


class _Text:
    """What every content meets, however it comes: the checks, and LF alone at the end of its lines.

    `max_size` counts as SIZE does (RFC 1870 §3: CRLF is two octets, stuffed dots do not count), `max_line` is in
    octets without the line end; 0 is no limit. With `normalizes` bare line ends are made whole (see above).
    """

    __slots__ = ("_held", "_line", "_max_line", "_max_size", "_normalizes", "fault", "size")

    def __init__(self, max_size: int = 0, max_line: int = 0, normalizes: bool = False) -> None:
        self.fault: ContentFault | None = None
        self.size = 0
        self._max_size = max_size
        self._max_line = max_line
        self._normalizes = normalizes
        self._line = 0
        # Octets that mean something only together with the next ones.
        self._held = b""

    def _decode(self, raw: bytes, stuffed: bool = False, dotted: bool = False) -> bytes:
        """The text of `raw`; `stuffed` if a dotted line begins within, `dotted` if one begins with it."""
        text = raw.replace(b"\r", b"")
        lines = len(raw) - len(text)
        if text.replace(b"\n", b"\r\n") != raw:
            if self._normalizes:
                text, stuffed = _normalized(raw, stuffed), False
                lines = text.count(b"\n")
            else:
                self.fault = ContentFault.BARE_LINE_END
        if b"\0" in text:
            self.fault = self.fault or ContentFault.NUL
        if dotted:
            text = text[1:]
        if stuffed:
            # Split and join search once, where replace counts first and searches again.
            text = b"\n".join(text.split(b"\n."))
        self.size += len(text) + lines
        if self._max_size and self.size > self._max_size:
            self.fault = self.fault or ContentFault.TOO_LARGE
        elif self._max_line and self._has_long_line(text):
            self.fault = self.fault or ContentFault.LINE_TOO_LONG
        return text

    def _has_long_line(self, text: bytes) -> bool:
        """Hop over the text by the longest allowed line: a handful of calls for a slice, not one per line."""
        longest, place = self._max_line, 0
        room = longest - self._line
        while len(text) - place > room:
            end = text.rfind(b"\n", place, place + room + 1)
            if end < 0:
                return True
            place, room = end + 1, longest
        last = text.rfind(b"\n", place)
        if last >= 0:
            place, room = last + 1, longest
        self._line = longest - room + len(text) - place
        return False


def _normalized(raw: bytes, stuffed: bool) -> bytes:
    if stuffed:
        raw = raw.replace(b"\r\n.", b"\r\n")
    return raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


class ContentDecoder(_Text):
    """Wire octets to LF-only slices. Feed until :attr:`ended`; the last :attr:`surplus` octets came after it.

    :attr:`discarded` counts octets thrown away after a fault.
    """

    __slots__ = ("_line_start", "discarded", "ended", "surplus")

    def __init__(self, max_size: int = 0, max_line: int = 0, normalizes: bool = False) -> None:
        super().__init__(max_size, max_line, normalizes)
        self.ended = False
        self.surplus = 0
        self.discarded = 0
        # State is kept before un-stuffing: the octets that may belong to CRLF.CRLF, and whether the octet
        # before them ended a line. The line end of the DATA command counts (RFC 5321 §4.1.1.4).
        self._line_start = True

    def feed(self, data: bytes) -> bytes:
        """The decoded text in `data`, perhaps empty. Not to be called after the end."""
        raw = self._held + data if self._held else data
        # One search tells whether there is any line that begins with a dot: an end, or a stuffed one.
        dot = raw.find(b"\r\n.") if b"." in raw else -1
        raw = self._cut(raw, dot)
        if not raw:
            return b""
        if not self.fault:
            dotted = self._line_start and raw.startswith(b".")
            text = self._decode(raw, 0 <= dot < len(raw) - 2, dotted)
        self._line_start = raw.endswith(b"\r\n")
        if self.fault:
            self.discarded += len(raw)
            return b""
        return text

    def refuse(self) -> None:
        """Throw the rest away, though it is not bad."""
        self.fault = self.fault or ContentFault.REFUSED

    def _cut(self, raw: bytes, dot: int) -> bytes:
        """What of `raw` is content for sure, a whole end of content taken off; `dot` is the first dotted line."""
        if self._line_start and raw.startswith(b".\r\n"):
            return self._end(raw, 0)
        if dot >= 0 and (end := raw.find(b"\r\n.\r\n", dot)) >= 0:
            return self._end(raw, end + 2)
        return self._hold(raw)

    def _end(self, raw: bytes, at: int) -> bytes:
        self.ended = True
        self.surplus = len(raw) - at - 3
        self._held = b""
        return raw[:at]

    def _hold(self, raw: bytes) -> bytes:
        """Keep back what may become an end of content, or half a line end."""
        keep = 0
        if raw.endswith(b"\r"):
            keep = 2 if raw.endswith(b"\r\n.\r") or (self._line_start and raw == b".\r") else 1
        elif raw.endswith(b".") and (raw.endswith(b"\r\n.") or (self._line_start and raw == b".")):
            keep = 1
        self._held = raw[len(raw) - keep :]
        return raw[:-keep] if keep else raw


class ChunkDecoder(_Text):
    """The octets of BDAT chunks, one after the other, to LF-only slices; then :meth:`end`.

    A CR at the end of a chunk may have its LF in the next one. A dot means nothing here.
    """

    __slots__ = ("_open",)

    def __init__(self, max_size: int = 0, max_line: int = 0, normalizes: bool = False) -> None:
        super().__init__(max_size, max_line, normalizes)
        self._open = False

    @property
    def taken(self) -> int:
        """Octets that came, as SIZE counts them."""
        return self.size + len(self._held)

    def feed(self, data: bytes) -> bytes:
        """The decoded text in `data`, perhaps empty; nothing after a fault."""
        raw = self._held + data if self._held else data
        self._held = b""
        if raw.endswith(b"\r"):
            raw, self._held = raw[:-1], b"\r"
        if not raw or self.fault:
            return b""
        text = self._decode(raw)
        self._open = not raw.endswith(b"\n")
        return b"" if self.fault else text

    def end(self) -> bytes:
        """There are no more chunks. A last line without its end gets one, and it counts: a message is made of
        lines (RFC 5322 §2.1), and by DATA the same one would have come so. A lone CR is no line end."""
        rest = self._held or (b"\r\n" if self._open else b"")
        self._held = b""
        if not rest or self.fault:
            return b""
        text = self._decode(rest)
        return b"" if self.fault else text


class ContentEncoder:
    """LF-only text to the wire: CRLF line ends, dots stuffed, and the end of content (RFC 5321 §4.5.2)."""

    __slots__ = ("_line_start",)

    def __init__(self) -> None:
        self._line_start = True

    def feed(self, piece: bytes) -> bytes:
        """The wire form of `piece`. Raises ValueError if it has a CR: a bare one would smuggle (see above)."""
        if b"\r" in piece:
            raise ValueError("content is kept with LF alone, and this has a CR")
        if not piece:
            return b""
        dot = b"." if self._line_start and piece[0] == 46 else b""
        self._line_start = piece.endswith(b"\n")
        if b"\n." in piece:
            piece = piece.replace(b"\n.", b"\n..")
        return dot + piece.replace(b"\n", b"\r\n")

    def end(self) -> bytes:
        """What ends the content; a last line without line end gets one."""
        return b".\r\n" if self._line_start else b"\r\n.\r\n"


def stuff(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A whole content for the wire, piece by piece, its end included."""
    encoder = ContentEncoder()
    for piece in pieces:
        yield encoder.feed(piece)
    yield encoder.end()
