"""docs/reports.md shows what a report really says."""

from __future__ import annotations

import re
from email import message_from_bytes
from pathlib import Path
from typing import Any

from mailserver.message.dsn import Report, Told, compose
from mailserver.message.envelope import Envelope, Original
from mailserver.message.outcome import Klass, Outcome, Scope
from mailserver.smtp.address import Mailbox
from mailserver.smtp.status import Status

PAGE = (Path(__file__).parents[2] / "docs/reports.md").read_text()
RECEIVED = 1_767_614_400.0  # Mon, 05 Jan 2026 12:00:00 +0000


def parts() -> list[Any]:
    bob = Mailbox.parse("bob@remote.example")
    said = "550 5.1.1 <bob@remote.example>: no such user"
    refused = Outcome(
        Klass.PERMANENT, Scope.RECIPIENT, Status(5, 1, 1), f"mx.remote.example said to RCPT: {said}",
        remote_mta="mx.remote.example", remote_reply=said,
    )  # fmt: skip
    envelope = Envelope(Mailbox.parse("anna@example.org"), envid="QQ314159", ret="FULL")
    number = "06drw1t600e4fgm894jkw5g"
    report = Report("mx.example.org", number, "0own", envelope, RECEIVED, RECEIVED, b"Subject: x\n", "7bit")
    told = Told(Original(bob, orcpt="rfc822;Bob@remote.example"), refused)
    payload: Any = message_from_bytes(compose(report, [told])).get_payload()
    return list(payload)


def drawn() -> list[str]:
    return re.findall(r"```text\n(.*?)```", PAGE, re.S)


def test_the_words_for_people() -> None:
    assert parts()[0].get_payload().strip() == drawn()[0].strip()


def test_the_fields_for_programs() -> None:
    shown = [block.strip() for block in drawn()[1].split("\n\n")]
    assert [str(block).strip() for block in parts()[1].get_payload() if block.items()] == shown
