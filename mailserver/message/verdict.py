"""What a check says: go on, or refuse with a status and a text that the client may read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mailserver.smtp.status import Status


class Stage(Enum):
    """When a check is asked."""

    CONNECT = "connect"
    HELLO = "hello"
    MAIL = "mail"
    RCPT = "rcpt"
    CONTENT = "content"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``status`` None lets the mail pass; its class decides between 4yz and 5yz. ``reason`` is for the log."""

    status: Status | None = None
    text: str = ""
    reason: str = ""


CONTINUE = Verdict()


def reject(status: Status, text: str, reason: str = "") -> Verdict:
    """Refuse for good (class 5) or for now (class 4); `text` is what the client is told."""
    if status.klass not in (4, 5):
        raise ValueError(f"a refusal needs a status of class 4 or 5, not {status}")
    return Verdict(status, text, reason)
