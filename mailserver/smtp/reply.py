"""SMTP replies: a code, an enhanced status, and lines of text (RFC 5321 §4.2, RFC 2034)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mailserver.smtp.status import Status


@dataclass(frozen=True)
class Reply:
    """``code`` 200 to 599; ``status`` None for replies that carry none (greeting, EHLO, 354); ``lines`` is text.

    Text never has CR or LF: whoever takes words from a stranger escapes them first.
    """

    code: int
    status: Status | None = None
    lines: tuple[str, ...] = ("",)

    @property
    def positive(self) -> bool:
        """True for 2yz and 3yz."""
        return self.code < 400

    @cached_property
    def wire(self) -> bytes:
        """The reply as it is sent, every line with code and status."""
        lead = f"{self.status} " if self.status else ""
        last = len(self.lines) - 1
        return b"".join(
            f"{self.code}{' ' if n == last else '-'}{lead}{line}\r\n".encode() for n, line in enumerate(self.lines)
        )

    def __str__(self) -> str:
        return " ".join((str(self.code), *([str(self.status)] if self.status else []), *self.lines))


def reply(code: int, status: tuple[int, int, int] | None, *lines: str) -> Reply:
    """Short way to write a reply."""
    return Reply(code, Status(*status) if status else None, lines or ("",))
