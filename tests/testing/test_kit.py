"""The kit: production reception, queue and transports, and a world that a test turns."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from mailserver.message import State
from mailserver.message.outcome import permanent, transient
from mailserver.settings import SettingsError
from mailserver.settings.model import Limits, Queue, Reception, Relay, StaticRoute
from mailserver.testing import Act, MailKit
from mailserver.transport import FunctionTransport

ANNA, BOB = "anna@example.test", "bob@remote.test"
HI = b"Subject: hi\r\n\r\nhi\r\n"


@pytest.fixture
def kit(mailkit: MailKit) -> MailKit:
    """With one account."""
    mailkit.account(ANNA, password="pw")
    return mailkit


def attempts(kit: MailKit, queue_id: str) -> int:
    return kit.fate(queue_id)[BOB].attempts


# Sending.


def test_mail_waits_for_a_sleeping_host(kit: MailKit) -> None:
    host = kit.host("mx.remote.test", serves="remote.test").answers("RCPT", "450 4.2.1 later", "250 2.1.5 ok")
    reply = kit.submit(ANNA, [BOB], HI)
    assert reply.code == 250
    fate = kit.fate(reply.queue_id)[BOB]
    assert (fate.state, str(fate.status), fate.remote_reply, fate.attempts) == (
        State.DEFERRED, "4.2.1", "450 4.2.1 later", 1,
    )  # fmt: skip
    kit.advance(hours=1)
    (message,) = host.messages
    assert (message.sender, message.recipients, message.subject, message.text) == (ANNA, [BOB], "hi", "hi\n")
    assert message.at == kit.clock.wall() - 3600 + 60
    assert message.parsed["Received"]
    assert message.raw.endswith(b"\r\n\r\nhi\r\n")
    assert kit.fate(reply.queue_id)[BOB].state is State.RELAYED


def test_a_wrong_password(kit: MailKit) -> None:
    reply = kit.submit(ANNA, [BOB], HI, login=(ANNA, "wrong"))
    assert (reply.code, reply.queue_id) == (535, "")
    assert reply.refused == {BOB: f"535 {reply.text}"}


def test_whoever_has_no_account(kit: MailKit) -> None:
    assert kit.submit("eve@example.test", [ANNA], HI).code == 535


def test_a_sender_that_is_not_ones_own(kit: MailKit) -> None:
    kit.account("ben@example.test")
    assert kit.submit("ben@example.test", [ANNA], HI, login=(ANNA, "pw")).code == 553


def test_some_recipients_are_refused(kit: MailKit) -> None:
    kit.host("mx.remote.test", serves="remote.test")
    reply = kit.submit(ANNA, ["nobody@example.test", BOB], HI)
    assert reply.code == 250
    assert list(reply.refused) == ["nobody@example.test"]
    assert reply.refused["nobody@example.test"].startswith("550 5.1.1")


def test_mail_from_elsewhere(kit: MailKit) -> None:
    reply = kit.receive(BOB, [ANNA], HI, client="203.0.113.9")
    assert reply.code == 250
    (message,) = kit.mailbox(ANNA).messages
    assert (message.sender, message.recipients, message.where) == (BOB, [ANNA], ANNA)
    assert b"203.0.113.9" in message.raw
    assert kit.receive(BOB, ["carl@remote.test"], HI).code == 550
    assert kit.receive("", [ANNA], HI).code == 250
    assert kit.mailbox(ANNA).messages[-1].sender == ""


def test_an_alias(kit: MailKit) -> None:
    kit.alias("team@example.test", ANNA, BOB)
    host = kit.host("mx.remote.test", serves="remote.test")
    reply = kit.receive(BOB, ["team@example.test"], HI)
    assert (len(kit.mailbox(ANNA).messages), len(host.messages)) == (1, 1)
    assert kit.fate(reply.queue_id)["team@example.test"].state is State.RELAYED


def test_an_alias_of_which_one_is_waiting(kit: MailKit) -> None:
    kit.alias("team@example.test", ANNA, BOB)
    kit.host("mx.remote.test", serves="remote.test").down()
    reply = kit.receive(BOB, ["team@example.test"], HI)
    assert kit.fate(reply.queue_id)["team@example.test"].state is State.DEFERRED


def test_the_fate_of_whoever_was_not_tried(kit: MailKit) -> None:
    kit.configure(queue=Queue(enabled=False))
    reply = kit.submit(ANNA, [BOB], HI)
    fate = kit.fate(reply.queue_id)[BOB]
    assert (fate.state, str(fate.status), fate.attempts) == (State.QUEUED, "4.0.0", 0)
    with pytest.raises(KeyError):
        kit.fate("unknown")


# Days.


def test_five_days_without_an_answer(kit: MailKit) -> None:
    host = kit.host("mx.remote.test", serves="remote.test").unreachable()
    reply = kit.submit(ANNA, [BOB], HI)
    kit.advance(days=4)
    assert kit.fate(reply.queue_id)[BOB].state is State.DEFERRED
    kit.advance(days=1, minutes=1)
    assert kit.fate(reply.queue_id)[BOB].state is State.EXPIRED
    late, failed = kit.mailbox(ANNA).messages
    assert late.at < failed.at
    assert [one.parsed.get_content_type() for one in (late, failed)] == ["multipart/report"] * 2
    assert [one.sender for one in (late, failed)] == ["", ""]
    assert host.connections == 0


def test_the_schedule_is_kept_to_the_second(kit: MailKit) -> None:
    kit.configure(queue=Queue(retry=[60, 300, 3600], delay_notice=0))
    kit.host("mx.remote.test", serves="remote.test").answers("MAIL", "451 4.3.0 later")
    queue_id = kit.submit(ANNA, [BOB], HI).queue_id
    seen = [attempts(kit, queue_id)]
    for seconds in (59, 1, 299, 1, 3599, 1):
        kit.advance(seconds=seconds)
        seen.append(attempts(kit, queue_id))
    assert seen == [1, 1, 2, 2, 3, 3, 4]


# Hosts that misbehave.


@pytest.mark.parametrize("command", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", ".", "QUIT"])
@pytest.mark.parametrize("act", ["resets", "closes", "silent"])
def test_no_answer_at_some_point_is_followed_by_another_attempt(kit: MailKit, command: str, act: str) -> None:
    host = kit.host("mx.remote.test", serves="remote.test")
    getattr(host, act)(command)
    queue_id = kit.submit(ANNA, [BOB], HI).queue_id
    kit.advance(hours=1)
    assert kit.fate(queue_id)[BOB].state is State.RELAYED
    assert len(host.messages) == 1


def test_another_host_is_tried_for_what_is_the_first_ones_trouble(kit: MailKit) -> None:
    first = kit.host("mx1.remote.test", serves="remote.test").answers("GREETING", "421 4.3.2 full")
    second = kit.host("mx2.remote.test", serves="remote.test")
    kit.submit(ANNA, [BOB], HI)
    assert (first.connections, len(second.messages)) == (1, 1)


def test_one_recipient_of_two_is_refused(kit: MailKit) -> None:
    host = kit.host("mx.remote.test", serves="remote.test").answers("RCPT", "550 5.1.1 who?", "250 ok")
    queue_id = kit.submit(ANNA, ["eve@remote.test", BOB], HI).queue_id
    states = {address: fate.state for address, fate in kit.fate(queue_id).items()}
    assert states == {"eve@remote.test": State.FAILED, BOB: State.RELAYED}
    assert host.messages[0].recipients == [BOB]
    assert "who?" in kit.mailbox(ANNA).messages[0].raw.decode()


def test_octets_that_are_no_reply(kit: MailKit) -> None:
    kit.host("mx.remote.test", serves="remote.test").answers("MAIL", b"what?\r\n")
    queue_id = kit.submit(ANNA, [BOB], HI).queue_id
    assert kit.fate(queue_id)[BOB].state is State.DEFERRED


def test_steps_of_all_kinds_in_one_script(kit: MailKit) -> None:
    host = kit.host("mx.remote.test", serves="remote.test")
    host.answers(".", Act.RESET, "451 4.3.0 disk full", "250 2.0.0 at last")
    kit.submit(ANNA, [BOB], HI)
    kit.advance(hours=2)
    assert (len(host.messages), host.transcript.count("DATA")) == (1, 3)


def test_a_script_says_what_is_wrong_with_it(kit: MailKit) -> None:
    host = kit.host("mx.remote.test")
    with pytest.raises(ValueError, match="'45O later' is no reply"):
        host.answers("RCPT", "45O later")
    with pytest.raises(ValueError, match="'RCTP' is no command; there are GREETING"):
        host.answers("RCTP", "450 later")


def test_a_host_that_is_up_again(kit: MailKit) -> None:
    host = kit.host("mx.remote.test", serves="remote.test").down()
    queue_id = kit.submit(ANNA, [BOB], HI).queue_id
    kit.advance(hours=1)
    assert kit.fate(queue_id)[BOB].state is State.DEFERRED
    host.up()
    kit.advance(hours=1)
    assert len(host.messages) == 1


def test_a_large_content_with_dots(kit: MailKit) -> None:
    host = kit.host("mx.remote.test", serves="remote.test")
    body = b".\r\n..\r\n.x\r\n" + b"0123456789abcdef\r\n" * 40_000
    kit.submit(ANNA, [BOB], b"Subject: large\r\n\r\n" + body)
    assert host.messages[0].raw.endswith(b"\r\n\r\n" + body)


# TLS.


def test_tls_where_it_is_offered(kit: MailKit) -> None:
    host = kit.host("mx.remote.test", serves="remote.test").tls("self-signed")
    kit.submit(ANNA, [BOB], HI)
    assert host.messages[0].tls


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ("valid", ""),
        ("expired", "it has expired"),
        ("other-name", "it is for other.invalid"),
        ("self-signed", "self-signed"),
    ],
)
def test_tls_that_is_verified(kit: MailKit, certificate: str, words: str) -> None:
    ca_file = str(kit.certificates.ca_file)
    route = StaticRoute(domain="remote.test", host="mx.remote.test:25", tls="verified", ca_file=ca_file)
    kit.configure(routes=[route])
    host = kit.host("mx.remote.test").tls(certificate)
    queue_id = kit.submit(ANNA, [BOB], HI).queue_id
    if words:
        assert kit.fate(queue_id)[BOB].state is State.DEFERRED
        assert words in kit.log
        assert host.messages == []
    else:
        assert host.messages[0].tls


def test_an_unknown_kind_of_certificate(kit: MailKit) -> None:
    with pytest.raises(ValueError, match="no kind of certificate; there are valid, expired"):
        kit.host("mx.remote.test").tls("good")


def test_a_smart_host_with_a_login(kit: MailKit, tmp_path: Any) -> None:
    secret = tmp_path / "password"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    kit.configure(
        relay=Relay(
            smart_host="smart.test:587", smart_host_user="us", smart_host_password_file=str(secret),
            smart_host_ca_file=str(kit.certificates.ca_file),
        )
    )  # fmt: skip
    host = kit.host("smart.test", port=587).tls().offers("AUTH PLAIN", "8BITMIME", "SIZE")
    kit.submit(ANNA, [BOB], HI)
    assert (host.logins, len(host.messages)) == ([("us", "open sesame")], 1)


# DNS.


def test_dns(kit: MailKit) -> None:
    kit.host("mx.remote.test", serves="remote.test")
    kit.dns.fails("remote.test")
    queue_id = kit.submit(ANNA, [BOB, "x@null.test", "x@nowhere.test"], HI).queue_id
    kit.dns.mx("null.test", "")
    fates = kit.fate(queue_id)
    assert {address: str(fate.status) for address, fate in fates.items()} == {
        BOB: "4.4.3", "x@null.test": "5.1.2", "x@nowhere.test": "5.1.2",
    }  # fmt: skip
    kit.dns.works("remote.test")
    kit.advance(minutes=2)
    assert kit.fate(queue_id)[BOB].state is State.RELAYED
    assert ("remote.test", "MX") in kit.dns.queries
    assert str(kit.fate(kit.submit(ANNA, ["x@null.test"], HI).queue_id)["x@null.test"].status) == "5.1.10"
    kit.dns.forget("remote.test")
    assert str(kit.fate(kit.submit(ANNA, [BOB], HI).queue_id)[BOB].status) == "5.1.2"


# Settings, accounts, the spool.


def test_limits_are_the_real_ones(kit: MailKit) -> None:
    kit.configure(limits=Limits(messages_per_minute=2))
    codes = [kit.receive(BOB, [ANNA], HI).code for _ in range(3)]
    assert codes == [250, 250, 450]
    kit.advance(minutes=1)
    assert kit.receive(BOB, [ANNA], HI).code == 250


def test_settings_come_before_and_are_checked(kit: MailKit) -> None:
    kit.configure(reception=Reception(max_message_size=100))
    reply = kit.submit(ANNA, [BOB], b"x" * 200)
    assert (reply.code, reply.text) == (0, "the message has 200 octets, the host takes 100")
    with pytest.raises(RuntimeError, match="runs already"):
        kit.configure(queue=Queue())
    with pytest.raises(SettingsError, match="retry"):
        MailKit().configure(queue=Queue(retry=[])).server  # noqa: B018


def test_a_mailbox_over_quota(kit: MailKit) -> None:
    mailbox = kit.mailbox(ANNA).answers(transient("over quota"))
    queue_id = kit.receive(BOB, [ANNA], HI).queue_id
    assert kit.fate(queue_id)[ANNA].state is State.DEFERRED
    mailbox.answers(None)
    kit.advance(minutes=2)
    assert len(mailbox.messages) == 1
    mailbox.answers(permanent("closed"))
    assert kit.fate(kit.receive(BOB, [ANNA], HI).queue_id)[ANNA].state is State.FAILED


def test_a_spool_that_is_full(kit: MailKit) -> None:
    kit.server.spool.full = "no room"
    assert kit.receive(BOB, [ANNA], HI).code == 452
    kit.server.spool.full = None
    assert kit.receive(BOB, [ANNA], HI).code == 250


def test_an_applications_own_transport(kit: MailKit) -> None:
    got: list[Any] = []
    kit.configure(transports={"local": FunctionTransport(got.append)})
    kit.receive(BOB, [ANNA], HI)
    assert [str(mail.recipient) for mail in got] == [ANNA]


def test_the_outbox_of_the_server(kit: MailKit) -> None:
    host = kit.host("mx.remote.test", serves="remote.test").answers("RCPT", "450 later", "250 ok")
    outbox = kit.server.outbox
    sent = kit.wait(outbox.send(HI, sender=ANNA, recipients=[BOB], key="order-42"))
    kit.advance(hours=1)
    fates = kit.wait(outbox.fates(sent.queue_id))
    assert (fates[BOB].state, len(host.messages)) == (State.RELAYED, 1)
    assert kit.fate(sent.queue_id)[BOB] == fates[BOB]


# Waiting for mail.


def test_wait_for(kit: MailKit) -> None:
    kit.host("mx.remote.test", serves="remote.test").answers("RCPT", "450 later", "450 later", "250 ok")
    kit.submit(ANNA, [BOB], b"Subject: your order 42\r\n\r\n")
    before = kit.clock.wall()
    message = kit.wait_for(to="BOB@remote.test", subject="order 42")
    assert message.at == kit.clock.wall() == before + 360
    assert kit.wait_for(sender=ANNA) is message


def test_wait_for_what_does_not_come(kit: MailKit) -> None:
    kit.receive(BOB, [ANNA], HI)
    with pytest.raises(
        AssertionError, match=rf"no message to='{BOB}'.*\n  at {ANNA}: {BOB} to \['{ANNA}'\], 'hi'"
    ):
        kit.wait_for(to=BOB, seconds=60)


def test_an_awaitable_that_never_comes(kit: MailKit) -> None:
    from twisted.internet.defer import Deferred

    with pytest.raises(TimeoutError, match="3600 seconds"):
        kit.wait(Deferred())


# What a kit is not.


def test_no_thread_and_no_socket(kit: MailKit, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a kit without a port opens no socket and starts no thread")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(threading.Thread, "start", forbidden)
    monkeypatch.setattr("time.sleep", forbidden)
    host = kit.host("mx.remote.test", serves="remote.test").tls()
    kit.submit(ANNA, [BOB], HI)
    kit.advance(days=1)
    kit.stop()
    assert len(host.messages) == 1


def test_two_kits_know_nothing_of_each_other(kit: MailKit) -> None:
    other = MailKit()
    other.account(ANNA)
    kit.receive(BOB, [ANNA], HI)
    assert (len(kit.messages), other.messages) == (1, [])
    other.stop()


def test_what_a_host_is_told_in_the_end(kit: MailKit) -> None:
    host = kit.host("mx.remote.test", serves="remote.test")
    kit.submit(ANNA, [BOB], HI)
    assert "QUIT" not in host.transcript
    kit.stop()
    assert host.transcript[-1] == "QUIT"
    assert "server.stopped" in kit.log
