"""Addresses outside of ASCII through the whole server (RFC 6531): in, out, and back as a report."""

from __future__ import annotations

import smtplib
from email import message_from_string, policy
from typing import Any

import pytest

from mailserver.message import State
from mailserver.message.outcome import permanent
from mailserver.testing import MailKit
from tests.harness.transactions import path, transact

ANNA = "anna@example.test"
LETTERS = "Subject: Grüße\nFrom: jürgen@bücher.test\n\nhallo, Grüße\n".encode()
PLAIN = b"Subject: hi\nFrom: x@far.test\n\nhello\n"
ASCII_HOST = ("PIPELINING", "SIZE 26214400", "8BITMIME", "DSN")
SEVEN_BIT = ("PIPELINING", "SIZE 26214400", "DSN")


@pytest.fixture
def kit(mailkit: MailKit) -> MailKit:
    """Two accounts, one with other letters in both parts of its address."""
    mailkit.account(ANNA, password="pw")
    mailkit.account("jürgen@bücher.test", password="pw")
    return mailkit


@pytest.mark.parametrize(
    "written",
    [
        "jürgen@bücher.test",
        "jürgen@xn--bcher-kva.test",
        "JÜRGEN@BÜCHER.TEST",
        "ju\u0308rgen@bu\u0308cher.test",  # decomposed: NFC makes them equal
        "jürgen+books@bücher.test",
    ],
)
def test_one_mailbox_however_it_is_written(written: str, kit: MailKit) -> None:
    answer = transact(kit, "müller@far.test", [path(written)], LETTERS, smtputf8=True, body="8BITMIME")
    assert answer.code == 250
    kit.advance(seconds=2)
    (letter,) = kit.mailbox("jürgen@xn--bcher-kva.test").messages
    trace, _, rest = letter.raw.partition(b"Subject:")
    assert b" with UTF8SMTP id " in trace.replace(b"\r\n\t", b" ")
    assert trace.isascii()
    assert rest == LETTERS.replace(b"\n", b"\r\n").removeprefix(b"Subject:")
    assert letter.sender == "müller@far.test"


def test_a_user_with_other_letters_logs_in_and_sends(kit: MailKit) -> None:
    host = kit.host("mx.remote.test", serves="remote.test")
    sender = "jürgen@xn--bcher-kva.test"
    answer = transact(kit, sender, [path("bob@remote.test")], LETTERS, login=True, smtputf8=True)
    assert answer.code == 250
    message = kit.wait_for(to="bob@remote.test")
    assert message.sender == sender
    assert b"with UTF8SMTPSA id" in message.raw
    mail = next(line for line in host.transcript if line.startswith("MAIL"))
    assert mail.startswith(f"MAIL FROM:<{sender}> ")
    assert " SMTPUTF8" in mail


def test_without_the_parameter_there_are_no_such_addresses(kit: MailKit) -> None:

    port = kit.listen("mx")
    with smtplib.SMTP("127.0.0.1", port.port) as client:
        client.ehlo()
        client.send("MAIL FROM:<jürgen@far.test>\r\n".encode())
        assert client.getreply()[0] == 553
        assert client.mail("x@far.test")[0] == 250
        client.send("RCPT TO:<jürgen@bücher.test>\r\n".encode())
        assert client.getreply() == (553, b"5.6.7 Address with non-ASCII characters needs SMTPUTF8")
        assert client.rcpt(ANNA)[0] == 250


def reports(kit: MailKit, address: str = ANNA) -> list[Any]:
    # As text: what the standard library reads from octets above 127 in a header, it keeps as surrogates.
    return [message_from_string(one.raw.decode(), policy=policy.SMTPUTF8) for one in kit.mailbox(address).messages]


@pytest.mark.parametrize(
    ("to", "content", "offers", "status"),
    [
        ("bob@remote.test", LETTERS, ASCII_HOST, "5.6.7"),
        ("böb@remote.test", PLAIN, ASCII_HOST, "5.6.7"),
        ("bob@remote.test", b"Subject: x\n\n\xc3\xbc\n", SEVEN_BIT, "5.6.3"),
    ],
)
def test_what_cannot_be_sent_there_comes_back(
    to: str, content: bytes, offers: tuple[str, ...], status: str, kit: MailKit
) -> None:
    host = kit.host("mx.remote.test", serves="remote.test").offers(*offers)
    transact(kit, ANNA, [path(to)], content, login=True, smtputf8=True, body="8BITMIME")
    kit.advance(seconds=2)
    assert host.messages == []
    (report,) = reports(kit)
    assert f"\r\nStatus: {status}\r\n" in report.as_string()


def test_an_ascii_message_with_the_flag_goes_anywhere(kit: MailKit) -> None:
    host = kit.host("mx.remote.test", serves="remote.test").offers(*SEVEN_BIT)
    answer = transact(kit, ANNA, [path("bob@remote.test")], PLAIN, login=True, smtputf8=True, body="8BITMIME")
    kit.advance(seconds=2)
    assert kit.fate(answer.queue_id)["bob@remote.test"].state is State.RELAYED
    assert "SMTPUTF8" not in host.transcript[1]
    assert "BODY" not in host.transcript[1]


def test_a_report_to_an_address_with_other_letters(kit: MailKit) -> None:
    sender = "jürgen@xn--bcher-kva.test"
    kit.mailbox(ANNA).answers(permanent("closed"))
    transact(kit, sender, [path(ANNA, "FAILURE")], LETTERS, login=True, smtputf8=True, ret="HDRS")
    kit.advance(seconds=2)
    (report,) = reports(kit, sender)
    assert report["To"].addresses[0].addr_spec == sender
    kinds = [part.get_content_type() for part in report.get_payload()]
    assert kinds == ["text/plain", "message/global-delivery-status", "message/global-headers"]
    assert "Subject: Grüße" in kit.mailbox(sender).messages[0].raw.decode()


def test_such_a_report_is_not_sent_where_it_cannot_go(kit: MailKit) -> None:
    host = kit.host("mx.far.test", serves="far.test").offers(*ASCII_HOST)
    kit.mailbox(ANNA).answers(permanent("closed"))
    transact(kit, "jürgen@far.test", [path(ANNA, "FAILURE")], LETTERS, smtputf8=True)
    kit.advance(days=6)
    assert host.messages == []
    assert kit.queued == {}


@pytest.mark.parametrize("name", ["a\u2028b", "a\uff20b", "a\uff1cb", "a\u202eb", "a\u200bb", "a\u00a0b"])
def test_ambiguous_letters_are_in_no_address(name: str, kit: MailKit) -> None:

    port = kit.listen("mx")
    with smtplib.SMTP("127.0.0.1", port.port) as client:
        client.ehlo()
        client.send(f"MAIL FROM:<{name}@far.test> SMTPUTF8\r\n".encode())
        assert client.getreply()[0] in (500, 501)
        assert client.mail("x@far.test", ["SMTPUTF8"])[0] == 250
        client.send(f"RCPT TO:<{name}@example.test>\r\n".encode())
        assert client.getreply()[0] in (500, 501)
