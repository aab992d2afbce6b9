"""Command lines of a transaction, and when it is refused without asking."""

from __future__ import annotations

import pytest

from mailserver.smtp.address import NULL, Domain, Mailbox
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import ForwardPath, Phase, Transaction, commands, line, refusals

ANNA = Mailbox.parse("anna@example.org")
BOB = Mailbox.parse("bob@remote.example")
FULL = Transaction(
    ANNA,
    (
        ForwardPath(BOB, frozenset({"SUCCESS", "FAILURE"}), "rfc822;b+b=1@old.example"),
        ForwardPath(Mailbox("b b", Domain("remote.example"))),
    ),
    size=1234,
    body="8BITMIME",
    ret="HDRS",
    envid="a b",
)
EVERYTHING = {"SIZE": "", "8BITMIME": "", "SMTPUTF8": "", "DSN": ""}


def lines(transaction: Transaction, offers: dict[str, str]) -> list[bytes]:
    return [text for _, text in commands(transaction, offers)]


def test_everything_offered() -> None:
    assert lines(FULL, EVERYTHING) == [
        b"MAIL FROM:<anna@example.org> SIZE=1234 BODY=8BITMIME RET=HDRS ENVID=a+20b\r\n",
        b"RCPT TO:<bob@remote.example> NOTIFY=FAILURE,SUCCESS ORCPT=rfc822;b+2Bb+3D1@old.example\r\n",
        b'RCPT TO:<"b b"@remote.example>\r\n',
        b"DATA\r\n",
    ]


def test_without_dsn_and_size() -> None:
    assert lines(FULL, {"8BITMIME": ""})[:2] == [
        b"MAIL FROM:<anna@example.org> BODY=8BITMIME\r\n",
        b"RCPT TO:<bob@remote.example>\r\n",
    ]


def test_null_reverse_path() -> None:
    assert lines(Transaction(NULL, (ForwardPath(BOB),)), {})[0] == b"MAIL FROM:<>\r\n"


def test_smtputf8_where_an_address_needs_it() -> None:
    transaction = Transaction(ANNA, (ForwardPath(Mailbox.parse("grün@remote.example")),))
    assert lines(transaction, EVERYTHING)[:2] == [
        b"MAIL FROM:<anna@example.org> SIZE=0 SMTPUTF8\r\n",
        "RCPT TO:<grün@remote.example>\r\n".encode(),
    ]


@pytest.mark.parametrize(
    ("transaction", "missing", "status"),
    [
        (Transaction(ANNA, (ForwardPath(BOB),), smtputf8=True), "SMTPUTF8", Status(5, 6, 7)),
        (Transaction(ANNA, (ForwardPath(Mailbox.parse("ü@b.example")),)), "SMTPUTF8", Status(5, 6, 7)),
        (Transaction(Mailbox.parse("ü@b.example"), (ForwardPath(BOB),)), "SMTPUTF8", Status(5, 6, 7)),
        (Transaction(ANNA, (ForwardPath(BOB),), body="8BITMIME"), "8BITMIME", Status(5, 6, 3)),
    ],
)
def test_refused_for_what_the_host_cannot(transaction: Transaction, missing: str, status: Status) -> None:
    assert refusals(transaction, EVERYTHING) == [None]
    (answer,) = refusals(transaction, {key: value for key, value in EVERYTHING.items() if key != missing})
    assert answer is not None
    assert answer.status == status


def test_only_who_needs_smtputf8_is_refused() -> None:
    mail = Transaction(ANNA, tuple(map(ForwardPath, (BOB, Mailbox.parse("ü@b.example"), ANNA))))
    first, answer, last = refusals(mail, {"8BITMIME": ""})
    assert (first, last) == (None, None)
    assert answer is not None
    assert (answer.phase, answer.status) == (Phase.RCPT, Status(5, 6, 7))


@pytest.mark.parametrize(
    ("limit", "refused"), [("1233", True), ("1234", False), ("0", False), ("", False), ("x", False)]
)
def test_refused_for_its_size(limit: str, refused: bool) -> None:
    answers = refusals(FULL, EVERYTHING | {"SIZE": limit})
    assert [answer is not None and answer.status == Status(5, 3, 4) for answer in answers] == [refused] * 2


@pytest.mark.parametrize("text", ["a\r\nRCPT TO:<x@y>", "a\nb", "a\0b"])
def test_no_line_within_a_line(text: str) -> None:
    with pytest.raises(ValueError, match="may not hold"):
        line("MAIL FROM:<", text, ">")
