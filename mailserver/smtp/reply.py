"""SMTP replies: a code, an enhanced status, and lines of text (RFC 5321 §4.2, RFC 2034)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from mailserver.smtp.status import Status


@dataclass(frozen=True)
class Reply:
    """``code`` 200 to 599; ``status`` None for replies that carry none (greeting, EHLO, 354); ``lines`` is text.

    Text has no CR or LF: whoever takes words from a stranger escapes them first. What slips through anyway
    becomes ``?`` on the wire, where it would split one reply into two. ``meaning`` is for people who read a
    catalogue of replies: when it is said, and what the client can do. It is never sent.
    """

    code: int
    status: Status | None = None
    lines: tuple[str, ...] = ("",)
    meaning: str = field(default="", compare=False, repr=False)

    @property
    def positive(self) -> bool:
        """True for 2yz and 3yz."""
        return self.code < 400

    @cached_property
    def wire(self) -> bytes:
        """The reply as it is sent, every line with code and status, non-ASCII escaped (RFC 6531 §3.7.4)."""
        lead = f"{self.status} " if self.status else ""
        last = len(self.lines) - 1
        return b"".join(
            f"{self.code}{' ' if n == last else '-'}{lead}{_printable(line)}\r\n".encode(
                "ascii", "backslashreplace"
            )
            for n, line in enumerate(self.lines)
        )

    @cached_property
    def plain(self) -> bytes:
        """:attr:`wire` without enhanced statuses, for a listener that does not announce them."""
        return replace(self, status=None).wire

    def __str__(self) -> str:
        return " ".join((str(self.code), *([str(self.status)] if self.status else []), *self.lines))


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(character if character.isprintable() else "?" for character in line)


def reply(code: int, status: tuple[int, int, int] | None, *lines: str, meaning: str = "") -> Reply:
    """Short way to write a reply."""
    return Reply(code, Status(*status) if status else None, lines or ("",), meaning)
