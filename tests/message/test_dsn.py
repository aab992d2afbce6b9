"""RFC 3464 reports, read back with the standard library and compared field by field."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import Message
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.message.dsn import DELAYED, FAILED, Report, Told, compose, printable
from mailserver.message.envelope import Envelope, Original
from mailserver.message.outcome import Klass, Outcome, Scope, permanent, transient
from mailserver.smtp.address import Mailbox
from mailserver.smtp.status import Status

SENDER = Mailbox.parse("sender@a.example")
NOW = 1_764_003_600.0
HEADER = b"Received: by us\nSubject: =?utf-8?q?hi?=\n folded\nTo: x@y\n"


def report(action: str = FAILED, header: bytes = HEADER, **envelope: Any) -> Report:
    value = Envelope(envelope.pop("reverse_path", SENDER), **envelope)
    return Report(action, "mx.here.example", "0subject", "0report", value, NOW - 3600, NOW, header)


def told(name: str = "bob@b.example", outcome: Outcome | None = None, **more: Any) -> Told:
    return Told(
        Original(Mailbox.parse(name), orcpt=more.get("orcpt")), outcome or permanent("no"), more.get("until")
    )


def parse(octets: bytes) -> Message:
    """As a mail program would. Every line end on the wire is CRLF."""
    message = message_from_bytes(octets.replace(b"\n", b"\r\n"), policy=policy.compat32)
    everything = list(message.walk())
    assert [part.defects for part in everything] == [[]] * len(everything)
    return message


def blocks(message: Message) -> list[dict[str, str]]:
    """The blocks of the machine-readable part, the one of the message first."""
    status: Any = message.get_payload(1)
    assert status.get_content_type() == "message/delivery-status"
    return [dict(block.items()) for block in status.get_payload() if block.items()]


REFUSED = Outcome(
    Klass.PERMANENT, Scope.RECIPIENT, Status(5, 1, 1), "mx.b.example said to RCPT: no such user",
    remote_mta="mx.b.example", remote_reply="550 5.1.1 no such user",
)  # fmt: skip


def test_a_report_of_a_failure() -> None:
    message = parse(compose(report(envid="envelope-1"), [told(outcome=REFUSED, orcpt="rfc822;Bob@b.example")]))
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert dict(message.items()) | {"Content-Type": ""} == {
        "From": "Mail Delivery System <MAILER-DAEMON@mx.here.example>",
        "To": "<sender@a.example>",
        "Subject": "Your message could not be delivered",
        "Date": "Mon, 24 Nov 2025 17:00:00 +0000",
        "Message-ID": "<0report@mx.here.example>",
        "Auto-Submitted": "auto-replied",
        "MIME-Version": "1.0",
        "Content-Type": "",
    }
    text, status, quoted = message.get_payload()
    assert text.get_content_type() == "text/plain"
    assert status.get_content_type() == "message/delivery-status"
    assert quoted.get_content_type() == "text/rfc822-headers"
    assert blocks(message) == [
        {
            "Original-Envelope-Id": "envelope-1",
            "Reporting-MTA": "dns; mx.here.example",
            "Arrival-Date": "Mon, 24 Nov 2025 16:00:00 +0000",
        },
        {
            "Original-Recipient": "rfc822;Bob@b.example",
            "Final-Recipient": "rfc822; bob@b.example",
            "Action": "failed",
            "Status": "5.1.1",
            "Remote-MTA": "dns; mx.b.example",
            "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
        },
    ]
    words = text.get_payload()
    for part in ("<bob@b.example>", "no such user", "mx.b.example said: 550", "0subject", "16:00:00"):
        assert part in words
    assert quoted.get_payload().replace("\r\n", "\n").strip("\n") == HEADER.decode().strip("\n")


def test_a_report_of_a_delay_says_until_when() -> None:
    message = parse(
        compose(report(DELAYED), [told(outcome=transient("down", Status(4, 4, 1)), until=NOW + 86_400)])
    )
    assert message["Subject"] == "Your message is delayed and still being tried"
    assert blocks(message)[1] == {
        "Final-Recipient": "rfc822; bob@b.example",
        "Action": "delayed",
        "Status": "4.4.1",
        "Will-Retry-Until": "Tue, 25 Nov 2025 17:00:00 +0000",
    }
    words: Any = message.get_payload(0)
    assert "need not send it again" in words.get_payload()
    assert "tried until Tue, 25 Nov 2025 17:00:00 +0000" in words.get_payload()


def test_each_recipient_has_a_block() -> None:
    message = parse(compose(report(), [told(f"r{n}@b.example") for n in range(3)]))
    names = [block.get("Final-Recipient") for block in blocks(message)]
    assert names == [None, "rfc822; r0@b.example", "rfc822; r1@b.example", "rfc822; r2@b.example"]


def test_it_is_a_function_of_its_arguments() -> None:
    one = [told(outcome=REFUSED)]
    assert compose(report(), one) == compose(report(), one)


HOSTILE = [
    "550 no\r\nAction: delivered",
    "550 no\r\n\r\nFinal-Recipient: rfc822; other@b.example",
    "550 no\n--report-0report\nContent-Type: text/html\n\n<script>",
    "550 \0 \x1b[2J \x7f",
    "550 größe \u202e \ud800",
    "5" * 10_000,
]


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_words_stay_on_their_line(words: str) -> None:
    outcome = Outcome(
        Klass.PERMANENT, Scope.RECIPIENT, Status(5, 0, 0), words, remote_mta=words, remote_reply=words
    )
    octets = compose(report(envid=words), [told(outcome=outcome, orcpt=f"rfc822;{words}")])
    message = parse(octets)
    assert len(message.get_payload()) == 3
    first, second, *more = blocks(message)
    assert more == []
    assert list(first) == ["Original-Envelope-Id", "Reporting-MTA", "Arrival-Date"]
    assert list(second) == [
        "Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code",
    ]  # fmt: skip
    assert second["Action"] == "failed"
    assert second["Final-Recipient"] == "rfc822; bob@b.example"
    assert set(octets) <= {*range(32, 127), 9, 10}
    assert max(map(len, octets.split(b"\n"))) <= 998


def test_a_hostile_recipient_and_sender_stay_on_their_line() -> None:
    strange = Mailbox('a"b\r\nBcc: x', Mailbox.parse("x@b.example").domain)
    octets = compose(report(reverse_path=strange), [Told(Original(strange), permanent("no"))])
    message = parse(octets)
    assert message["Bcc"] is None
    assert len(blocks(message)) == 2


def test_the_quoted_header_is_ascii_so_that_every_host_takes_it() -> None:
    octets = compose(report(header="Subject: größe\n".encode()), [told()])
    assert octets.isascii()
    assert b"Subject: gr????e\n" in octets


@pytest.mark.parametrize("header", [b"", b"Subject: no line end"])
def test_a_quoted_header_may_be_empty_or_cut(header: bytes) -> None:
    message = parse(compose(report(header=header), [told()]))
    quoted: Any = message.get_payload(2)
    assert quoted.get_payload().strip("\r\n") == header.decode()


@given(st.text(), st.integers(0, 600))
def test_printable(text: str, limit: int) -> None:
    result = printable(text, limit)
    assert len(result) == min(len(text), limit)
    assert all(" " <= character <= "~" for character in result)
