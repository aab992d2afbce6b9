"""Who a mailbox is: the answer of a directory."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mailserver.smtp.address import Mailbox


class Found(Enum):
    """ACCOUNT: delivered here. ALIAS: stands for others. UNKNOWN: ours, no such name. ELSEWHERE: not ours."""

    ACCOUNT = "account"
    ALIAS = "alias"
    UNKNOWN = "unknown"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class Resolution:
    """``mailbox`` is the canonical form (an account's own address); ``targets`` are an alias's next step."""

    found: Found
    mailbox: Mailbox
    targets: tuple[Mailbox, ...] = ()
