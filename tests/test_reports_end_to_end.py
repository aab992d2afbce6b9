"""DSN from the client's parameters to the report in the sender's mailbox, through the whole server (RFC 3461).

Reports are parsed back with the standard library and compared field by field.
"""

from __future__ import annotations

from email import message_from_bytes
from typing import Any

import pytest

from mailserver.message import State
from mailserver.message.outcome import permanent
from mailserver.settings.model import Queue
from mailserver.smtp.status import Status
from mailserver.testing import MailKit
from tests.harness.transactions import MESSAGE, path, transact

ANNA, BOB, CARL = "anna@example.test", "bob@remote.test", "carl@example.test"
NO_DSN = ("PIPELINING", "SIZE 26214400", "8BITMIME", "ENHANCEDSTATUSCODES")


@pytest.fixture
def kit(mailkit: MailKit) -> MailKit:
    """Two accounts."""
    mailkit.account(ANNA, password="pw")
    mailkit.account(CARL, password="pw")
    return mailkit


def reports(kit: MailKit, address: str = ANNA) -> list[Any]:
    """What came to `address` from nobody, parsed."""
    return [message_from_bytes(one.raw) for one in kit.mailbox(address).messages if one.sender == ""]


def blocks(report: Any) -> list[dict[str, str]]:
    status = report.get_payload(1)
    assert status.get_content_type() == "message/delivery-status"
    return [dict(block.items()) for block in status.get_payload() if block.items()]


def only(kit: MailKit) -> tuple[dict[str, str], dict[str, str]]:
    """The block of the message and that of the recipient, of the only report."""
    (report,) = reports(kit)
    assert report.get_content_type() == "multipart/report"
    assert report["Auto-Submitted"] == "auto-replied"
    of_message, of_recipient = blocks(report)
    return of_message, of_recipient


@pytest.mark.parametrize("login", [True, False])
def test_a_local_delivery_is_reported_as_delivered(login: bool, kit: MailKit) -> None:
    to = path(CARL, "SUCCESS,FAILURE", "rfc822;Carl+x@example.test")
    answer = transact(kit, ANNA, [to], login=login, ret="FULL", envid="QQ+=314159")
    kit.advance(seconds=2)
    of_message, of_recipient = only(kit)
    assert of_message.pop("Arrival-Date").startswith("Mon, 05 Jan 2026 12:00:0")
    from_host = {} if login else {"Received-From-MTA": "dns; client.kit.test ([192.0.2.7])"}
    assert of_message == {"Original-Envelope-Id": "QQ+=314159", "Reporting-MTA": "dns; mx.kit.test", **from_host}
    assert of_recipient.pop("Last-Attempt-Date").startswith("Mon, 05 Jan 2026 12:00:0")
    assert of_recipient == {
        "Original-Recipient": "rfc822;Carl+x@example.test",
        "Final-Recipient": f"rfc822; {CARL}",
        "Action": "delivered",
        "Status": "2.0.0",
    }
    # RFC 3461 §4.3: of a success only the header comes back, whatever RET says.
    assert reports(kit)[0].get_payload(2).get_content_type() == "text/rfc822-headers"
    assert kit.fate(answer.queue_id)[CARL].state is State.DELIVERED


@pytest.mark.parametrize("notify", [None, "FAILURE", "DELAY,FAILURE", "NEVER"])
def test_a_success_is_not_reported_unasked(notify: str | None, kit: MailKit) -> None:
    transact(kit, ANNA, [path(CARL, notify)])
    kit.advance(seconds=2)
    assert len(kit.mailbox(CARL).messages) == 1
    assert reports(kit) == []


def test_a_host_without_dsn_makes_us_report_relayed(kit: MailKit) -> None:
    host = kit.host("mx.remote.test", serves="remote.test").offers(*NO_DSN).answers(".", "250 2.0.0 queued as 7")
    transact(kit, ANNA, [path(BOB, "SUCCESS")], login=True, ret="FULL", envid="e1")
    kit.advance(seconds=2)
    assert host.transcript[1:3] == [f"MAIL FROM:<{ANNA}> SIZE={len(host.messages[0].raw)}", f"RCPT TO:<{BOB}>"]
    _, of_recipient = only(kit)
    of_recipient.pop("Last-Attempt-Date")
    assert of_recipient == {
        "Final-Recipient": f"rfc822; {BOB}",
        "Action": "relayed",
        "Status": "2.0.0",
        "Remote-MTA": "dns; mx.remote.test",
        "Diagnostic-Code": "smtp; 250 2.0.0 queued as 7",
    }


def test_a_host_with_dsn_takes_the_duty_and_the_parameters(kit: MailKit) -> None:
    host = kit.host("mx.remote.test", serves="remote.test")
    orcpt = "rfc822;Bob+x@else.test"
    transact(kit, ANNA, [path(BOB, "SUCCESS,DELAY", orcpt)], login=True, ret="FULL", envid="QQ+=1")
    kit.advance(seconds=2)
    mail, rcpt = host.transcript[1:3]
    assert mail.endswith(" RET=FULL ENVID=QQ+2B+3D1")
    assert rcpt == f"RCPT TO:<{BOB}> NOTIFY=DELAY,SUCCESS ORCPT=rfc822;Bob+2Bx@else.test"
    assert reports(kit) == []


def test_no_orcpt_is_made_up_on_the_way(kit: MailKit) -> None:
    host = kit.host("mx.remote.test", serves="remote.test")
    transact(kit, ANNA, [path(BOB, "SUCCESS")], login=True)
    kit.advance(seconds=2)
    assert host.transcript[2] == f"RCPT TO:<{BOB}> NOTIFY=SUCCESS"


def test_a_name_that_the_sender_would_not_know_again_goes_with_his_own(kit: MailKit) -> None:
    host = kit.host("mx.remote.test", serves="remote.test")
    kit.alias("sales@example.test", BOB)
    transact(kit, ANNA, [path("sales@example.test", "SUCCESS")], login=True)
    kit.advance(seconds=2)
    # RFC 3461 §5.2.7.2: one address behind it, so all is passed on and nothing is reported here.
    assert host.transcript[2] == f"RCPT TO:<{BOB}> NOTIFY=SUCCESS ORCPT=rfc822;sales@example.test"
    assert reports(kit) == []


def test_an_alias_for_several_is_reported_as_expanded(kit: MailKit) -> None:
    host = kit.host("mx.remote.test", serves="remote.test")
    kit.alias("team@example.test", CARL, BOB)
    answer = transact(kit, ANNA, [path("team@example.test", "SUCCESS,FAILURE")], login=True, envid="e2")
    kit.advance(seconds=2)
    _, of_recipient = only(kit)
    assert of_recipient == {
        "Final-Recipient": "rfc822; team@example.test",
        "Action": "expanded",
        "Status": "2.0.0",
    }
    assert len(kit.mailbox(CARL).messages) == 1
    assert host.transcript[2] == f"RCPT TO:<{BOB}> NOTIFY=FAILURE ORCPT=rfc822;team@example.test"
    assert kit.fate(answer.queue_id)["team@example.test"].state is State.RELAYED


def test_a_failure_behind_an_alias_is_told_under_its_name(kit: MailKit) -> None:
    kit.alias("team@example.test", CARL, BOB)
    kit.host("mx.remote.test", serves="remote.test").answers("RCPT", "550 5.1.1 nobody here")
    transact(kit, ANNA, [path("team@example.test", "SUCCESS,FAILURE")], login=True)
    kit.advance(seconds=2)
    actions = {blocks(report)[1]["Action"]: blocks(report)[1] for report in reports(kit)}
    assert sorted(actions) == ["expanded", "failed"]
    assert {one["Final-Recipient"] for one in actions.values()} == {"rfc822; team@example.test"}
    assert BOB not in str(reports(kit)[1].get_payload(1))


@pytest.mark.parametrize(
    ("notify", "told"), [(None, True), ("FAILURE", True), ("SUCCESS,DELAY", False), ("NEVER", False)]
)
def test_a_failure_is_reported_as_asked(notify: str | None, told: bool, kit: MailKit) -> None:
    kit.mailbox(CARL).answers(permanent("no more mail here", Status(5, 2, 1)))
    transact(kit, ANNA, [path(CARL, notify)], envid="e3")
    kit.advance(seconds=2)
    assert len(reports(kit)) == told
    if told:
        of_message, of_recipient = only(kit)
        assert of_message["Original-Envelope-Id"] == "e3"
        assert (of_recipient["Action"], of_recipient["Status"]) == ("failed", "5.2.1")


@pytest.mark.parametrize(("notify", "told"), [(None, True), ("DELAY", True), ("FAILURE", False), ("NEVER", False)])
def test_a_delay_is_reported_once_as_asked(notify: str | None, told: bool, kit: MailKit) -> None:
    kit.configure(queue=Queue(delay_notice=3600, retry=[600]))
    kit.host("mx.remote.test", serves="remote.test").answers("RCPT", "451 4.2.1 try later")
    transact(kit, ANNA, [path(BOB, notify)], login=True)
    kit.advance(hours=5)
    assert len(reports(kit)) == told
    if told:
        _, of_recipient = only(kit)
        assert of_recipient["Action"] == "delayed"
        assert of_recipient["Will-Retry-Until"].startswith("Sat, 10 Jan 2026 12:00:0")
        assert of_recipient["Diagnostic-Code"] == "smtp; 451 4.2.1 try later"


def test_what_expires_says_how_long_it_was_tried(kit: MailKit) -> None:
    kit.host("mx.remote.test", serves="remote.test").answers("RCPT", "451 4.2.1 try later")
    transact(kit, ANNA, [path(BOB, "FAILURE")], login=True)
    kit.advance(days=6)
    _, of_recipient = only(kit)
    assert (of_recipient["Action"], of_recipient["Status"]) == ("failed", "4.2.1")
    text = reports(kit)[0].get_payload(0).get_payload()
    assert "It was tried for 5 days, and is not tried any more. At last:" in text
    assert "mx.remote.test said: 451 4.2.1 try later" in text


def test_each_recipient_has_what_he_was_sent_with(kit: MailKit) -> None:
    kit.host("mx.remote.test", serves="remote.test").offers(*NO_DSN).answers(
        "RCPT", "250 2.1.5 ok", "550 5.1.1 no", "550 5.1.1 no"
    )
    paths = [
        path(f"{n}@remote.test", notify) for n, notify in (("a", "SUCCESS"), ("b", "FAILURE"), ("c", "NEVER"))
    ]
    transact(kit, ANNA, paths, login=True)
    kit.advance(seconds=2)
    told = [(block["Final-Recipient"], block["Action"]) for one in reports(kit) for block in blocks(one)[1:]]
    assert sorted(told) == [("rfc822; a@remote.test", "relayed"), ("rfc822; b@remote.test", "failed")]


@pytest.mark.parametrize("notify", ["SUCCESS,FAILURE,DELAY", None])
def test_nobody_is_told_of_a_message_from_nobody(notify: str | None, kit: MailKit) -> None:
    kit.mailbox(CARL).answers(permanent("closed"))
    kit.alias("team@example.test", CARL, ANNA)
    transact(kit, "", [path(CARL, notify), path("team@example.test", notify)])
    kit.advance(seconds=2)
    assert [one.subject for one in kit.messages] == ["hi"]
    assert kit.queued == {}


def test_a_report_that_fails_is_the_last_word(kit: MailKit) -> None:
    kit.mailbox(CARL).answers(permanent("closed"))
    kit.mailbox(ANNA).answers(permanent("closed, too"))
    transact(kit, ANNA, [path(CARL, "FAILURE")])
    kit.advance(days=6)
    assert kit.messages == []
    assert kit.queued == {}


# RET.


@pytest.mark.parametrize(("ret", "whole"), [("FULL", True), ("HDRS", False), (None, False)])
def test_ret_says_what_comes_back(ret: str | None, whole: bool, kit: MailKit) -> None:
    kit.mailbox(CARL).answers(permanent("closed"))
    transact(kit, ANNA, [path(CARL, "FAILURE")], ret=ret)
    kit.advance(seconds=2)
    quoted = reports(kit)[0].get_payload(2)
    if whole:
        assert quoted.get_content_type() == "message/rfc822"
        assert quoted.get_payload(0).get_payload() == "hello\r\n"
    else:
        assert quoted.get_content_type() == "text/rfc822-headers"
        assert "Subject: hi" in quoted.get_payload()
        assert "hello" not in quoted.get_payload()


def test_a_whole_message_with_8_bit_text_comes_back_octet_by_octet(kit: MailKit) -> None:
    kit.mailbox(CARL).answers(permanent("closed"))
    content = MESSAGE + "größer und kleiner, \u760d\n".encode()
    transact(kit, ANNA, [path(CARL, "FAILURE")], content, ret="FULL", body="8BITMIME")
    kit.advance(seconds=2)
    (report,) = [one.raw for one in kit.mailbox(ANNA).messages]
    assert content.replace(b"\n", b"\r\n") in report
    assert b"\r\nContent-Transfer-Encoding: 8bit\r\n" in report


# The names that strangers choose.

STRANGE = ["\u010a", "\u760d", "ü", "日本"]


@pytest.mark.parametrize("letters", STRANGE)
def test_letters_in_addresses_stay_what_they_are(letters: str, kit: MailKit) -> None:
    kit.host("mx.remote.test", serves="remote.test").answers("RCPT", "550 5.1.1 no")
    name = f"a{letters}b@remote.test"
    transact(kit, ANNA, [path(name, "FAILURE", f"utf-8;{letters}@else.test")], login=True, smtputf8=True)
    kit.advance(seconds=2)
    raw = kit.mailbox(ANNA).messages[0].raw
    assert raw.isascii()
    _, of_recipient = only(kit)
    coded = "".join(f"\\x{{{ord(c):X}}}" for c in letters)
    assert of_recipient["Final-Recipient"] == rf"utf-8; a{coded}b@remote.test"
    assert of_recipient["Original-Recipient"] == rf"utf-8;{coded}@else.test"
    text = reports(kit)[0].get_payload(0).get_payload(decode=True).decode()
    assert f"<{name}>" in text


def test_the_log_has_one_line_for_an_event_whatever_the_names(kit: MailKit) -> None:
    kit.host("mx.remote.test", serves="remote.test").answers(
        "RCPT", b"550 5.1.1 no\xe2\x80\xa8\x1b[2J \xc4\x8a\r\n"
    )
    transact(kit, ANNA, [path("a\u010ab@remote.test", "FAILURE")], login=True, smtputf8=True)
    kit.advance(seconds=2)
    assert all(line.isprintable() for line in kit.log.splitlines())
    (of_recipient,) = [line for line in kit.log.split("\n") if "message.failed" in line]
    assert "550 5.1.1 no" in of_recipient
    assert reports(kit)[0].get_payload(1).as_string().isprintable() is False  # it has line ends, and nothing else
    assert all(line.isprintable() for line in reports(kit)[0].get_payload(1).as_string().splitlines())
