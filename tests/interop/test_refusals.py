"""What the real daemon refuses, and in which words a client's program can rely on: code and enhanced status."""

from __future__ import annotations

import base64
import smtplib
import socket
from collections.abc import Callable, Iterator
from email import message_from_bytes

import pytest

from tests.harness.daemon import DOMAIN, PASSWORD, Daemon, free_address
from tests.harness.peer import Peer

pytestmark = pytest.mark.daemon

ALICE = f"alice@{DOMAIN}"
LIMIT = 20_000


@pytest.fixture(scope="module")
def near(lasting_hops: Callable[..., Peer]) -> Peer:
    return lasting_hops().up()


@pytest.fixture(scope="module")
def trusted() -> str:
    """The one client address that may relay without a login."""
    return free_address()


@pytest.fixture(scope="module")
def daemon(lasting_daemons: Callable[..., Daemon], near: Peer, trusted: str) -> Daemon:
    made = lasting_daemons()
    made.write_settings(f"""
[listeners.few]
role = "mx"
listen = ["{made.address}:2526"]
max_connections_per_ip = 2

[reception]
max_recipients = 3
max_message_size = {LIMIT}
auth_failure_delay = 0.05

[relay]
networks = ["{trusted}/32"]

[routes."near.test"]
host = "{near.place}"
tls = "off"
""")
    made.start()
    made.control("alias add", address=f"team@{DOMAIN}", targets=[ALICE, "zoe@near.test"])
    return made


@pytest.fixture
def mx(daemon: Daemon) -> Iterator[smtplib.SMTP]:
    with daemon.mx() as client:
        client.ehlo()
        yield client


@pytest.fixture
def submission(daemon: Daemon) -> Iterator[smtplib.SMTP]:
    """Port 2587 under TLS, nobody logged in."""
    with smtplib.SMTP(daemon.address, 2587, timeout=20) as client:
        client.starttls(context=daemon.client_tls())
        client.ehlo()
        yield client


def said(answer: tuple[int, bytes]) -> str:
    """Code and enhanced status."""
    code, text = answer
    return f"{code} {text.split()[0].decode()}"


def auth_plain(client: smtplib.SMTP, name: str, password: str) -> tuple[int, bytes]:
    return client.docmd("AUTH", "PLAIN " + base64.b64encode(f"\0{name}\0{password}".encode()).decode())


def only_this_arrives(daemon: Daemon, client: smtplib.SMTP, before: int) -> None:
    """A good message over the same session arrives, and it is the only one since there were `before`."""
    client.sendmail("zoe@far.test", [ALICE], "Subject: the good one\r\n\r\nbody\r\n")
    letters = daemon.wait_letters(before + 1)
    assert len(letters) == before + 1
    assert b"Subject: the good one" in letters[-1].read_bytes()


def test_an_unknown_user(mx: smtplib.SMTP) -> None:
    mx.mail("zoe@far.test")
    assert said(mx.rcpt(f"nobody@{DOMAIN}")) == "550 5.1.1"
    assert said(mx.rcpt(ALICE)) == "250 2.1.5"


def test_relaying_for_a_stranger_on_the_mx_port(mx: smtplib.SMTP) -> None:
    mx.mail(ALICE)
    assert said(mx.rcpt("zoe@near.test")) == "550 5.7.1"
    assert said(mx.docmd("DATA")) == "554 5.5.1"


@pytest.mark.parametrize("name", [ALICE, f"nobody@{DOMAIN}", "alice"])
@pytest.mark.parametrize(
    "password", ["wrong", "", "x" * 73, PASSWORD + "x" * 5000], ids=["wrong", "empty", "73", "5000"]
)
def test_a_wrong_password(name: str, password: str, submission: smtplib.SMTP) -> None:
    assert said(auth_plain(submission, name, password)) == "535 5.7.8"
    assert said(submission.docmd("MAIL", f"FROM:<{ALICE}>")) == "530 5.7.0"
    assert said(auth_plain(submission, ALICE, PASSWORD)) == "235 2.7.0"


def test_login_after_a_wrong_password(submission: smtplib.SMTP) -> None:
    assert submission.docmd("AUTH", "LOGIN")[0] == 334
    assert submission.docmd(base64.b64encode(ALICE.encode()).decode())[0] == 334
    assert said(submission.docmd(base64.b64encode(b"wrong").decode())) == "535 5.7.8"


@pytest.mark.parametrize("port", [2587, 2465])
def test_mail_without_a_login_on_the_submission_ports(port: int, daemon: Daemon) -> None:
    client = (
        smtplib.SMTP(daemon.address, port, timeout=20)
        if port == 2587
        else smtplib.SMTP_SSL(daemon.address, port, context=daemon.client_tls(), timeout=20)
    )
    with client:
        client.ehlo()
        assert said(client.docmd("MAIL", f"FROM:<{ALICE}>")) == "530 5.7.0"


def test_a_login_in_clear(daemon: Daemon) -> None:
    with smtplib.SMTP(daemon.address, 2587, timeout=20) as client:
        client.ehlo()
        assert not client.has_extn("auth")
        assert said(auth_plain(client, ALICE, PASSWORD)) == "538 5.7.11"


def test_no_login_on_the_mx_port(daemon: Daemon, mx: smtplib.SMTP) -> None:
    mx.starttls(context=daemon.client_tls())
    mx.ehlo()
    assert not mx.has_extn("auth")
    assert said(auth_plain(mx, ALICE, PASSWORD)) == "502 5.5.1"


@pytest.mark.parametrize("sender", [f"bob@{DOMAIN}", f"nobody@{DOMAIN}", "zoe@far.test"])
def test_a_sender_that_is_not_the_accounts(sender: str, submission: smtplib.SMTP) -> None:
    auth_plain(submission, ALICE, PASSWORD)
    assert said(submission.docmd("MAIL", f"FROM:<{sender}>")) == "553 5.7.1"


@pytest.mark.parametrize("sender", [ALICE, f"Alice@{DOMAIN}", f"alice+x@{DOMAIN}", f"team@{DOMAIN}", ""])
def test_a_sender_that_is_the_accounts(sender: str, submission: smtplib.SMTP) -> None:
    auth_plain(submission, ALICE, PASSWORD)
    assert said(submission.docmd("MAIL", f"FROM:<{sender}>")) == "250 2.1.0"


def test_too_many_recipients(daemon: Daemon, mx: smtplib.SMTP) -> None:
    before = len(daemon.letters())
    mx.mail("zoe@far.test")
    assert [said(mx.rcpt(ALICE)) for _ in range(4)] == ["250 2.1.5"] * 3 + ["452 4.5.3"]
    assert said(mx.data("Subject: three times\r\n\r\n")) == "250 2.0.0"
    # One mailbox, one letter, however often it was named.
    assert len(daemon.wait_letters(before + 1)) == before + 1


def test_a_message_that_is_announced_as_too_large(mx: smtplib.SMTP) -> None:
    assert mx.esmtp_features["size"] == str(LIMIT)
    assert said(mx.docmd("MAIL", f"FROM:<zoe@far.test> SIZE={LIMIT + 1}")) == "552 5.3.4"
    assert said(mx.docmd("MAIL", f"FROM:<zoe@far.test> SIZE={LIMIT}")) == "250 2.1.0"


def test_a_message_that_is_too_large(daemon: Daemon, mx: smtplib.SMTP) -> None:
    before = len(daemon.letters())
    mx.mail("zoe@far.test")
    mx.rcpt(ALICE)
    assert said(mx.data("Subject: large\r\n\r\n" + "x" * 70 + "\r\n" * LIMIT)) == "552 5.3.4"
    only_this_arrives(daemon, mx, before)


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: x\r\n\r\none\ntwo\r\n.\r\n",
        b"Subject: x\n\r\nbody\r\n.\r\n",
        b"Subject: x\r\n\r\none\rtwo\r\n.\r\n",
        # Smuggling: what others take for the end, and what would follow it.
        b"Subject: x\r\n\r\nbody\n.\nMAIL FROM:<a@b.test>\r\nRCPT TO:<alice@mail.test>\r\nDATA\r\n.\r\n",
        b"Subject: x\r\n\r\nbody\n.\r\nMAIL FROM:<a@b.test>\r\n.\r\n",
        b"Subject: x\r\n\r\nbody\r\n.\nMAIL FROM:<a@b.test>\r\n.\r\n",
        b"Subject: x\r\n\r\nbody\r\n.\rMAIL FROM:<a@b.test>\r\n.\r\n",
    ],
)
def test_a_bare_line_end(content: bytes, daemon: Daemon, mx: smtplib.SMTP) -> None:
    before = len(daemon.letters())
    mx.mail("zoe@far.test")
    mx.rcpt(ALICE)
    assert mx.docmd("DATA")[0] == 354
    mx.send(content)
    assert said(mx.getreply()) == "550 5.6.11"
    # One answer and no other: the next one is to NOOP.
    assert said(mx.noop()) == "250 2.0.0"
    only_this_arrives(daemon, mx, before)


def test_a_command_with_a_bare_line_end(mx: smtplib.SMTP) -> None:
    mx.send(b"NOOP\n")
    assert said(mx.getreply()) == "500 5.5.2"


def test_a_loop(daemon: Daemon, mx: smtplib.SMTP) -> None:
    before = len(daemon.letters())
    mx.mail("zoe@far.test")
    mx.rcpt(ALICE)
    hops = "Received: from a.test by b.test; Tue, 24 Nov 2026 13:00:00 +0000\r\n" * 50
    assert said(mx.data(hops + "Subject: round\r\n\r\n")) == "554 5.4.6"
    only_this_arrives(daemon, mx, before)


def test_too_many_connections_from_one_address(daemon: Daemon) -> None:
    def greeting(source: str) -> tuple[socket.socket, bytes]:
        connection = socket.create_connection((daemon.address, 2526), 10, (source, 0))
        return connection, connection.makefile("rb").readline()

    one, other = free_address(), free_address()
    opened = [greeting(one), greeting(one)]
    assert [line[:4] for _, line in opened] == [b"220 ", b"220 "]
    third, line = greeting(one)
    assert line.startswith(b"421 4.7.0 ")
    assert third.recv(1) == b""
    opened.append(greeting(other))
    assert opened[-1][1].startswith(b"220 ")
    # A place that was given back can be taken again.
    leaver = opened.pop(0)[0]
    leaver.sendall(b"QUIT\r\n")
    while leaver.recv(100):
        pass
    opened.append(greeting(one))
    assert opened[-1][1].startswith(b"220 ")
    for connection, _ in [*opened, (third, b""), (leaver, b"")]:
        connection.close()


@pytest.mark.parametrize("name", [f"postmaster@{DOMAIN}", f"abuse@{DOMAIN}", f"HostMaster@{DOMAIN}", "postmaster"])
def test_the_names_that_every_domain_has(name: str, daemon: Daemon, mx: smtplib.SMTP) -> None:
    before = len(daemon.letters())
    mx.mail("zoe@far.test")
    assert said(mx.docmd("RCPT", f"TO:<{name}>")) == "250 2.1.5"
    mx.data("Subject: complaint\r\n\r\n")
    assert message_from_bytes(daemon.wait_letters(before + 1)[-1].read_bytes())["Delivered-To"] == ALICE


def test_an_alias_for_an_account_and_another_host(daemon: Daemon, near: Peer, mx: smtplib.SMTP) -> None:
    before, taken = len(daemon.letters()), len(near.received)
    mx.sendmail("zoe@far.test", [f"team@{DOMAIN}"], "Subject: for all\r\n\r\nbody\r\n")
    letter = daemon.wait_letters(before + 1)[-1].read_bytes()
    relayed = near.wait(taken + 1)[-1]
    assert relayed.recipients == ("zoe@near.test",)
    assert relayed.sender == "zoe@far.test"
    assert b"Return-Path" not in relayed.content
    assert letter.endswith(b"Subject: for all\n\nbody\n")
    assert relayed.content.endswith(b"Subject: for all\n\nbody\n")


def test_only_the_named_networks_may_relay(daemon: Daemon, near: Peer, trusted: str) -> None:
    taken = len(near.received)
    with smtplib.SMTP(daemon.address, 2525, source_address=(trusted, 0), timeout=20) as client:
        client.sendmail("zoe@far.test", ["zoe@near.test"], "Subject: from our network\r\n\r\n")
    assert near.wait(taken + 1)[-1].sender == "zoe@far.test"
    with smtplib.SMTP(daemon.address, 2525, source_address=(free_address(), 0), timeout=20) as client:
        client.ehlo()
        client.mail("zoe@far.test")
        assert said(client.rcpt("zoe@near.test")) == "550 5.7.1"
