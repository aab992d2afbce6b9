"""A real loopback port in front of the kit, for applications that speak SMTP themselves."""

from __future__ import annotations

import smtplib
import ssl
import threading

import pytest

from mailserver.message import State
from mailserver.settings.model import Limits, Reception
from mailserver.testing import LoopbackPort, MailKit

ANNA, BOB = "anna@example.test", "bob@remote.test"
LETTER = "From: anna@example.test\r\nTo: bob@remote.test\r\nSubject: from smtplib\r\n\r\n.hello\r\n"


def send(port: LoopbackPort, *recipients: str) -> dict[str, tuple[int, bytes]]:
    with smtplib.SMTP(port.host, port.port, timeout=20) as smtp:
        return smtp.sendmail(ANNA, recipients or [BOB], LETTER)


def test_an_application_that_blocks(mailkit: MailKit) -> None:
    host = mailkit.host("mx.remote.test", serves="remote.test")
    port = mailkit.listen()
    assert send(port) == {}
    message = mailkit.wait_for(to=BOB, subject="smtplib")
    assert message.text == ".hello\n"
    assert host.messages == [message]


def test_an_application_in_another_thread(mailkit: MailKit) -> None:
    mailkit.account(ANNA)
    port = mailkit.listen()
    sending = threading.Thread(target=send, args=(port, ANNA))
    sending.start()
    assert mailkit.wait_for(to=ANNA).where == ANNA
    sending.join()


def test_chosen_errors(mailkit: MailKit) -> None:
    mailkit.host("mx.remote.test", serves="remote.test")
    port = (
        mailkit.listen().answers("RCPT", "451 4.3.0 try later", "250 ok").answers(".", "552 5.2.2 full", "250 ok")
    )
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        send(port)
    assert refused.value.recipients == {BOB: (451, b"4.3.0 try later")}
    with pytest.raises(smtplib.SMTPDataError) as error:
        send(port)
    assert (error.value.smtp_code, error.value.smtp_error) == (552, b"5.2.2 full")
    assert mailkit.messages == []
    assert "content.refused" in mailkit.log  # the server has thrown away what it had of it
    send(port)
    assert len(mailkit.messages) == 1


@pytest.mark.parametrize(("act", "command"), [("resets", "."), ("closes", "RCPT"), ("resets", "GREETING")])
def test_a_connection_that_ends(mailkit: MailKit, act: str, command: str) -> None:
    mailkit.host("mx.remote.test", serves="remote.test")
    port = mailkit.listen()
    getattr(port, act)(command)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
        send(port)
    assert send(port) == {}


def test_silence(mailkit: MailKit) -> None:
    port = mailkit.listen().silent("DATA")
    with smtplib.SMTP(port.host, port.port, timeout=0.2) as smtp:
        smtp.ehlo()
        smtp.mail(ANNA)
        smtp.rcpt(BOB)
        with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
            smtp.docmd("DATA")


def test_only_replies_can_be_chosen(mailkit: MailKit) -> None:
    with pytest.raises(ValueError, match="no octets"):
        mailkit.listen().answers("RCPT", b"what?\r\n")  # type: ignore[arg-type]


def test_rate_limits_are_the_real_ones(mailkit: MailKit) -> None:
    mailkit.configure(limits=Limits(messages_per_minute=1))
    mailkit.host("mx.remote.test", serves="remote.test")
    port = mailkit.listen()
    send(port)
    with pytest.raises(smtplib.SMTPSenderRefused) as refused:
        send(port)
    assert refused.value.smtp_code == 450
    mailkit.advance(minutes=1)
    send(port)


def test_submission_with_tls_and_a_login(mailkit: MailKit) -> None:
    mailkit.account(ANNA, password="pw")
    mailkit.host("mx.remote.test", serves="remote.test")
    port = mailkit.listen("submission")
    context = ssl.create_default_context(cafile=str(mailkit.certificates.ca_file))
    with smtplib.SMTP("localhost", port.port, timeout=20) as smtp:
        smtp.starttls(context=context)
        with pytest.raises(smtplib.SMTPAuthenticationError):
            smtp.login(ANNA, "wrong")
        smtp.login(ANNA, "pw")
        smtp.sendmail(ANNA, [BOB], LETTER)
    assert mailkit.wait_for(to=BOB).sender == ANNA


def test_the_virtual_clock_follows(mailkit: MailKit) -> None:
    mailkit.configure(reception=Reception(auth_failure_delay=0.1))
    port = mailkit.listen("submissions")
    context = ssl.create_default_context(cafile=str(mailkit.certificates.ca_file))
    before = mailkit.clock.wall()
    with smtplib.SMTP_SSL("localhost", port.port, timeout=20, context=context) as smtp:
        smtp.ehlo()
        assert smtp.docmd("AUTH PLAIN", "AGEAYg==")[0] == 535
    assert 0.1 <= mailkit.clock.wall() - before < 20


def test_implicit_tls(mailkit: MailKit) -> None:
    mailkit.account(ANNA, password="pw")
    port = mailkit.listen("submissions")
    context = ssl.create_default_context(cafile=str(mailkit.certificates.ca_file))
    with smtplib.SMTP_SSL("localhost", port.port, timeout=20, context=context) as smtp:
        smtp.login(ANNA, "pw")
        smtp.sendmail(ANNA, [ANNA], LETTER)
    assert mailkit.wait_for(to=ANNA)


def test_a_large_message(mailkit: MailKit) -> None:
    mailkit.account(ANNA)
    port = mailkit.listen()
    text = LETTER + "0123456789abcde\r\n" * 200_000
    with smtplib.SMTP(port.host, port.port, timeout=20) as smtp:
        smtp.sendmail(ANNA, [ANNA], text)
    assert mailkit.mailbox(ANNA).messages[0].raw.endswith(text[1000:].encode())


def test_the_queue_goes_on_when_the_clock_is_turned(mailkit: MailKit) -> None:
    host = mailkit.host("mx.remote.test", serves="remote.test").answers("RCPT", "450 later", "250 ok")
    send(mailkit.listen())
    assert [(to, state) for (_, to), state in mailkit.queued.items()] == [(BOB, State.DEFERRED)]
    mailkit.advance(minutes=2)
    assert (len(host.messages), mailkit.queued) == (1, {})


def test_several_ports_and_their_end(mailkit: MailKit) -> None:
    before = threading.active_count()
    ports = [mailkit.listen(), mailkit.listen()]
    assert ports[0].port != ports[1].port
    with smtplib.SMTP(ports[0].host, ports[0].port, timeout=20) as smtp:
        mailkit.stop()
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            smtp.noop()
        smtp.close()
    assert threading.active_count() == before
    with pytest.raises(ConnectionRefusedError):
        smtplib.SMTP(ports[1].host, ports[1].port, timeout=20)


def test_what_fails_behind_a_port_fails_the_test(mailkit: MailKit) -> None:
    port = mailkit.listen()

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    mailkit.server.listeners.doors[0].factory.buildProtocol = broken  # type: ignore[method-assign,assignment]
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        smtplib.SMTP(port.host, port.port, timeout=20)
    with pytest.raises(RuntimeError, match="a bug"):
        mailkit.wait_for(to=BOB)
    with pytest.raises(RuntimeError, match="a bug"):
        mailkit.stop()
