"""What happened, one line for each event::

    2026-11-24T13:00:00.123Z message.accepted session=1f0c9a2b77d1 queue=… from=<a@example.org> size=123

The name comes first, then the fields in the order in which they were given. A value with a space, a quote or
anything that does not print stands in quotes, with escapes, so that what a stranger sent can neither begin a
line nor move a cursor; it is cut after 500 characters. Passwords and content are never fields: the names that
would carry them are refused.

A line is appended to a buffer and costs a few microseconds. The buffer is written by :meth:`Log.flush`, which
the tick calls every second, and by itself once it holds 64 KiB. Writing never raises: a full disk loses lines,
not mail, and the first line that can be written again says how many.
"""

from __future__ import annotations

import os
import re
import secrets
import time
import traceback
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.interfaces import IClock

_MAX_VALUE = 500
_MAX_ITEMS = 50
_MAX_TRACE = 100
_LONG = 1 << 63
_BUFFER = 65_536
_STANDARD_ERROR = 2
_SECRET = frozenset(("password", "secret", "credentials", "content"))
# Printable ASCII without space, quote and backslash needs no quotes.
_is_plain = re.compile(r"[!#-\[\]-~]{1,500}").fullmatch
_CONTROLS = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_QUOTED = {'"': '\\"', "\\": "\\\\", **_CONTROLS}


class Stream(Protocol):
    """Where lines may go: anything that takes octets, an unbuffered file above all."""

    def write(self, octets: bytes, /) -> int | None:
        """Write some of `octets`, and say how many; None is none."""


class Log:
    """A log on a file, or on a stream of octets; the path "" is standard error.

    A file is made by :meth:`open`, when the server starts, and no earlier: that raises OSError, and nothing
    afterwards does. Used on one thread, the reactor's.
    """

    def __init__(self, target: str | Path | Stream, clock: IClock, format: str = "human") -> None:
        if format != "human":
            raise ValueError(f"no such log format: {format!r}")
        self._path = target if isinstance(target, (str, Path)) else None
        self._stream: Stream | None = None if isinstance(target, (str, Path)) else target
        self._clock = clock
        self._second, self._stamp = -1, ""
        self._lines: list[str] = []
        self._size = 0
        self._lost = 0
        self._torn = False

    def open(self) -> None:
        """Open the file. Raises OSError. Nothing happens when it is open."""
        if self._stream is None:
            assert self._path is not None
            self._stream = _open(self._path)

    def event(self, name: str, /, **fields: object) -> None:
        """Log one event. Raises TypeError for a field that would carry a secret."""
        if not _SECRET.isdisjoint(fields):
            raise TypeError(f"{', '.join(_SECRET & fields.keys())}: not to be logged")
        line = f"{self._now()} {name}"
        for key, value in fields.items():
            # The two common types by the shortest way; an int may have too many digits for str().
            if (type(value) is str and _is_plain(value)) or (type(value) is int and -_LONG < value < _LONG):
                line += f" {key}={value}"
            else:
                line += f" {key}={_written(value)}"
        self._append(line + "\n")

    def failure(self, what: str, exception: BaseException | Failure, /, **fields: object) -> None:
        """Log a bug of ours with its traceback, whose lines are indented: an event begins at the margin."""
        error = exception.value if isinstance(exception, Failure) else exception
        self.event("failure", what=what, error=f"{type(error).__name__}: {_text(error)}", **fields)
        trace = exception.getTraceback() if isinstance(exception, Failure) else _trace(exception)
        lines = [line for line in trace.split("\n") if line.strip()]
        if len(lines) > _MAX_TRACE:
            lines = [*lines[: _MAX_TRACE // 2], "…", *lines[-_MAX_TRACE // 2 :]]
        self._append("".join(f"    {_escaped(line, _CONTROLS)}\n" for line in lines))

    def flush(self) -> None:
        """Write what is buffered."""
        if not self._lines:
            return
        octets = "".join(self._lines).encode("utf-8", "backslashreplace")
        lines = octets.count(b"\n")
        self._lines.clear()
        self._size = 0
        if self._lost:
            octets = f"{self._now()} log.lost lines={self._lost}\n".encode() + octets
        if self._write((b"\n" if self._torn else b"") + octets):
            self._lost = 0
        else:
            self._lost += lines

    def reopen(self) -> None:
        """Go on in a new file of the same path, after a rotation. If that fails, stay in the old one."""
        self.flush()
        if not self._path:
            return
        try:
            stream = _open(self._path)
        except OSError as error:
            self.event("log.reopen-failed", path=self._path, error=error)
            return
        self._close_stream()
        self._stream = stream
        self._torn = False

    def close(self) -> None:
        """Write what is buffered and close the file. A stream that was given stays open."""
        self.flush()
        if self._path:
            self._close_stream()

    def _append(self, text: str) -> None:
        self._lines.append(text)
        self._size += len(text)
        if self._size >= _BUFFER:
            self.flush()

    def _now(self) -> str:
        wall = self._clock.wall()
        second = int(wall)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((wall - second) * 1000):03d}Z"

    def _write(self, octets: bytes) -> bool:
        """Whether all of it is written. A line that was torn is ended before the next one begins."""
        written = 0
        try:
            self.open()
            assert self._stream is not None
            while written < len(octets):
                count = self._stream.write(octets[written:] if written else octets)
                if not count:
                    break
                written += count
        except (OSError, ValueError):  # ValueError: the stream was closed by its owner
            pass
        if written:
            self._torn = octets[written - 1] != ord("\n")
        return written == len(octets)

    def _close_stream(self) -> None:
        stream: Any = self._stream
        try:
            if stream is not None:
                stream.close()
        except OSError:
            return


def _open(path: str | Path) -> Any:
    """An unbuffered file for appending, readable by owner and group; for "" standard error."""
    if not path:
        return open(_STANDARD_ERROR, "wb", buffering=0, closefd=False)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    return open(os.open(path, flags, 0o640), "ab", buffering=0)


def _written(value: object) -> str:
    """The value of a field as it stands in a line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.3f}"
    text = _text(value)
    return text if _is_plain(text) else f'"{_escaped(text)}"'


def _text(value: object) -> str:
    """`value` as text, cut; invalid UTF-8 becomes surrogates, which are escaped later."""
    try:
        if isinstance(value, (bytes, bytearray)):
            return bytes(value[: 4 * _MAX_VALUE]).decode("utf-8", "surrogateescape")[: _MAX_VALUE + 1]
        if isinstance(value, Enum):
            return str(value.value)
        if type(value) in (list, tuple, set, frozenset):
            return ",".join(_text(item) for item in list(value)[:_MAX_ITEMS])  # type: ignore[call-overload]
        return str(value)[: _MAX_VALUE + 1]
    except Exception as error:
        return f"a {type(value).__name__} that cannot be shown: {type(error).__name__}"


def _escaped(text: str, escapes: Mapping[str, str] = _QUOTED) -> str:
    """`text` with escapes for all that does not print and for what `escapes` has; cut with an ellipsis."""
    pieces = []
    room = _MAX_VALUE
    for character in text[: _MAX_VALUE + 1]:
        piece = escapes.get(character) or (character if character.isprintable() else _escape(ord(character)))
        room -= len(piece)
        if room < 0:
            pieces.append("…")
            break
        pieces.append(piece)
    return "".join(pieces)


def _escape(point: int) -> str:
    """Octets that were no UTF-8 (surrogate escapes) show as the octets they are."""
    if 0xDC80 <= point <= 0xDCFF:
        point -= 0xDC00
    if point <= 0xFF:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


def _trace(exception: BaseException) -> str:
    return "".join(traceback.format_exception(exception, limit=-30))


def new_session_id() -> str:
    """Twelve random characters: enough to tell the sessions of a log apart."""
    return secrets.token_hex(6)


def observer(log: Log) -> ILogObserver:
    """An observer for `twisted.logger` that passes failures and critical events on. For the twistd root only:
    an embedding application has observers of its own."""
    return _Observer(log)


@implementer(ILogObserver)
class _Observer:
    def __init__(self, log: Log) -> None:
        self._log = log

    def __call__(self, event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is not None:
            self._log.failure("twisted", failure, namespace=event.get("log_namespace"), text=formatEvent(event))
        elif event.get("log_level") is LogLevel.critical:
            self._log.event("twisted.critical", namespace=event.get("log_namespace"), text=formatEvent(event))
