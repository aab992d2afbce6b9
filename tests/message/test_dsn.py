"""RFC 3464 reports, read back with the standard library and compared field by field."""

from __future__ import annotations

import quopri
from email import message_from_bytes, message_from_string, policy
from email.message import Message
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.message.dsn import (
    DELAYED,
    DELIVERED,
    EXPANDED,
    FAILED,
    RELAYED,
    Report,
    Told,
    closing,
    compose,
    opening,
    printable,
)
from mailserver.message.envelope import Envelope, Original
from mailserver.message.outcome import Klass, Outcome, Scope, delivered, expanded, permanent, transient
from mailserver.message.state import State
from mailserver.smtp.address import Mailbox
from mailserver.smtp.status import Status

SENDER = Mailbox.parse("sender@a.example")
NOW = 1_764_003_600.0
HEADER = b"Received: by us\nSubject: =?utf-8?q?hi?=\n folded\nTo: x@y\n"


def report(header: bytes = HEADER, whole: str = "", **envelope: Any) -> Report:
    value = Envelope(envelope.pop("reverse_path", SENDER), **envelope)
    return Report("mx.here.example", "0subject", "0report", value, NOW - 3600, NOW, header, whole)


def told(name: str = "bob@b.example", outcome: Outcome | None = None, **more: Any) -> Told:
    original = Original(Mailbox.parse(name), orcpt=more.get("orcpt"))
    return Told(original, outcome or permanent("no"), more.get("action", FAILED), more.get("until"))


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
            "Last-Attempt-Date": "Mon, 24 Nov 2025 17:00:00 +0000",
        },
    ]
    words = text.get_payload()
    for part in ("<bob@b.example>", "no such user", "mx.b.example said: 550", "0subject", "16:00:00"):
        assert part in words
    assert quoted.get_payload().replace("\r\n", "\n").strip("\n") == HEADER.decode().strip("\n")


def test_a_report_of_a_delay_says_until_when() -> None:
    down = transient("down", Status(4, 4, 1))
    message = parse(compose(report(), [told(outcome=down, action=DELAYED, until=NOW + 86_400)]))
    assert message["Subject"] == "Your message is delayed and still being tried"
    assert blocks(message)[1] == {
        "Final-Recipient": "rfc822; bob@b.example",
        "Action": "delayed",
        "Status": "4.4.1",
        "Last-Attempt-Date": "Mon, 24 Nov 2025 17:00:00 +0000",
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
        "Last-Attempt-Date",
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


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_words_stay_on_their_line_in_a_report_in_utf_8_too(words: str) -> None:
    outcome = Outcome(
        Klass.PERMANENT, Scope.RECIPIENT, Status(5, 0, 0), words, remote_mta=words, remote_reply=words
    )
    one = told("büro@b.example", outcome=outcome, orcpt=f"rfc822;{words}")
    octets = compose(report(reverse_path=Mailbox.parse("jürgen@a.example"), envid=words, helo=words), [one])
    text = octets.decode()
    assert all(line.replace("\t", " ").isprintable() for line in text.split("\n"))
    assert text.count("\nAction: ") == 1
    assert text.count("\n--report-0report") == 4
    assert max(map(len, octets.split(b"\n"))) <= 998


def test_where_it_came_from_is_said_unless_that_was_a_user() -> None:
    from_host: dict[str, Any] = {"helo": "mail.a.example", "client_address": "192.0.2.1"}
    first = blocks(parse(compose(report(**from_host), [told()])))[0]
    assert first["Received-From-MTA"] == "dns; mail.a.example ([192.0.2.1])"
    first = blocks(parse(compose(report(**from_host, identity="s@a.example"), [told()])))[0]
    assert "Received-From-MTA" not in first
    octets = compose(report(helo="a) evil\r\nAction: (\u2028", client_address="2001:db8::1"), [told()])
    first, *more = blocks(parse(octets))
    assert first["Received-From-MTA"] == "dns; a??evil??Action:??? ([IPv6:2001:db8::1])"
    assert len(more) == 1


def took(reply: str = "250 2.0.0 queued") -> Outcome:
    return Outcome(
        Klass.SUCCESS, Scope.RECIPIENT, Status(2, 0, 0), "took it", State.RELAYED,
        remote_mta="mx.b.example", remote_reply=reply,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("action", "outcome", "subject", "words"),
    [
        (DELIVERED, delivered(), "Your message was delivered", "was delivered to:"),
        (RELAYED, took(), "Your message was handed on", "sends no reports of success"),
        (EXPANDED, expanded(), "Your message was sent on to several addresses", "addresses behind:"),
    ],
)
def test_a_report_of_a_success(action: str, outcome: Outcome, subject: str, words: str) -> None:
    message = parse(compose(report(ret="FULL"), [told(outcome=outcome, action=action)]))
    assert message["Subject"] == subject
    block = blocks(message)[1]
    assert (block["Action"], block["Status"]) == (action, "2.0.0")
    assert ("Last-Attempt-Date" in block) is (action != EXPANDED)
    assert ("Remote-MTA" in block) is ("Diagnostic-Code" in block) is (action == RELAYED)
    text: Any = message.get_payload(0)
    assert words in text.get_payload()


def test_several_successes_share_a_report() -> None:
    some = [
        told("one@b.example", delivered(), action=DELIVERED),
        told("two@b.example", took(), action=RELAYED),
        told("all@b.example", expanded(), action=EXPANDED),
    ]
    message = parse(compose(report(), some))
    assert message["Subject"] == "What became of your message"
    assert [block["Action"] for block in blocks(message)[1:]] == ["delivered", "relayed", "expanded"]


# Letters outside of ASCII (RFC 6533).

JUERGEN = Mailbox.parse("jürgen@a.example")
LETTERS = "Subject: größe\nFrom: jürgen@a.example\n".encode()


def test_to_an_ascii_address_a_recipient_with_other_letters_is_written_in_ascii() -> None:
    one = told("m\u010aller+x@b.example", REFUSED, orcpt="utf-8;\u760d@b.example")
    one_report = report(smtputf8=True)
    octets = compose(one_report, [one])
    assert octets.isascii()
    assert (one_report.smtputf8, one_report.body) == (False, None)
    message = parse(octets)
    block = blocks(message)[1]
    assert block["Original-Recipient"] == r"utf-8;\x{760D}@b.example"
    assert block["Final-Recipient"] == r"utf-8; m\x{10A}ller\x{2B}x@b.example"
    text: Any = message.get_payload(0)
    assert text["Content-Transfer-Encoding"] == "quoted-printable"
    assert "<m\u010aller+x@b.example>" in text.get_payload(decode=True).decode("utf-8")


def test_to_an_ascii_address_a_header_with_other_letters_is_quoted_without_loss() -> None:
    octets = compose(report(LETTERS, smtputf8=True), [told()])
    assert octets.isascii()
    head, _, quoted = octets.rpartition(b"message/global-headers\n")
    assert head
    encoding, _, coded = quoted.partition(b"\n\n")
    assert encoding == b"Content-Transfer-Encoding: quoted-printable"
    assert quopri.decodestring(coded.rpartition(b"\n--report")[0]) == LETTERS


def test_to_an_address_with_other_letters_all_is_utf_8() -> None:
    one_report = report(LETTERS, smtputf8=True, reverse_path=JUERGEN)
    assert (one_report.smtputf8, one_report.body) == (True, "8BITMIME")
    one = told("m\u010aller@b.example", REFUSED, orcpt="utf-8;\u760d@b.example")
    text = compose(one_report, [one]).decode()
    message = message_from_string(text, policy=policy.SMTPUTF8)
    assert message["To"].addresses[0].addr_spec == "jürgen@a.example"
    assert message["Content-Transfer-Encoding"] == "8bit"
    kinds = [part.get_content_type() for part in message.get_payload()]
    assert kinds == ["text/plain", "message/global-delivery-status", "message/global-headers"]
    assert [part["Content-Transfer-Encoding"] for part in message.get_payload()] == ["8bit"] * 3
    assert "\nOriginal-Recipient: utf-8;\u760d@b.example\nFinal-Recipient: utf-8; m\u010aller@b.example\n" in text
    assert text.endswith(LETTERS.decode() + "\n--report-0report--\n")


def test_octets_above_127_are_letters_only_where_smtputf8_says_so() -> None:
    assert b"text/rfc822-headers" in compose(report(LETTERS), [told()])
    octets = compose(report(b"Subject: gr\xf6\xdfe\n", smtputf8=True), [told()])
    assert b"text/rfc822-headers" in octets
    assert b"Subject: gr??e" in octets


@pytest.mark.parametrize(
    ("whole", "header", "envelope", "kind", "body"),
    [
        ("7BIT", HEADER, {}, "message/rfc822", None),
        ("8BITMIME", HEADER, {}, "message/rfc822", "8BITMIME"),
        ("8BITMIME", LETTERS, {"smtputf8": True}, "message/global", "8BITMIME"),
    ],
)
def test_a_whole_message_stands_between_opening_and_closing(
    whole: str, header: bytes, envelope: dict[str, Any], kind: str, body: str | None
) -> None:
    one_report = report(header, whole, **envelope)
    assert one_report.body == body
    content = header + b"\n" + ("grün\n" if body else "plain\n").encode()
    octets = opening(one_report, [told()]) + content + closing(one_report)
    message = parse(octets)
    quoted = message.get_payload(2)
    assert quoted.get_content_type() == kind
    for part in (message, quoted):
        assert part["Content-Transfer-Encoding"] == ("8bit" if body else None)
    assert octets.partition(kind.encode())[2].partition(b"\n\n")[2] == content + b"\n--report-0report--\n"
    text: Any = message.get_payload(0)
    assert "The message itself stands at the end" in text.get_payload()


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
