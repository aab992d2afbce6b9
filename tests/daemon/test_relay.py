"""Outgoing mail of the real daemon: to next hops that refuse, are down, come back; over MX, smart host and TLS."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from mailserver.net.tls import self_signed
from tests.harness.daemon import DOMAIN, Daemon, free_address, until
from tests.harness.names import Names, Zone
from tests.harness.peer import Peer

pytestmark = pytest.mark.daemon

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
QUICK = "[queue]\nretry = [1]\n"


def route(domain: str, place: str, tls: str = "off", more: str = "") -> str:
    return f'\n[routes."{domain}"]\nhost = "{place}"\ntls = "{tls}"\n{more}\n'


def submit(daemon: Daemon, *recipients: str, subject: str = "hello", body: str = "body\r\n") -> None:
    with daemon.submission() as client:
        client.sendmail(ALICE, recipients, f"From: <{ALICE}>\r\nSubject: {subject}\r\n\r\n{body}")


def states(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["recipient"]: row["state"] for row in rows}


def reasons(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["recipient"]: row["why"] for row in rows}


def only_report(daemon: Daemon) -> EmailMessage:
    """The one letter in alice's Maildir."""
    letters = daemon.wait_letters(1)
    assert len(letters) == 1
    found = message_from_bytes(letters[0].read_bytes(), policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def blocks(report: EmailMessage) -> list[dict[str, str]]:
    """The fields of the delivery status: of the message, then of each recipient (RFC 3464 §2.1)."""
    status = list(report.iter_parts())[1]
    assert status.get_content_type() == "message/delivery-status"
    found = [dict(block.items()) for block in status.get_payload()]  # type: ignore[union-attr]
    return [block for block in found if block]


def stop(daemon: Daemon, how: str) -> None:
    if how == "SIGTERM":
        daemon.stop()
    else:
        daemon.kill()


@pytest.fixture
def names() -> Iterator[Callable[[Zone], Names]]:
    """Call it with a zone for a DNS server; it may not answer yet."""
    with ExitStack() as stack:

        def make(zone: Zone) -> Names:
            made = Names(zone)
            stack.callback(made.close)
            return made

        yield make


def certificate(directory: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for `name` as a file of authorities, and what a peer with it speaks."""
    chain, key = self_signed(name, time.time())
    file, key_file = directory / f"{name}.crt", directory / f"{name}.key"
    file.write_bytes(chain)
    key_file.write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key_file)
    return file, context


# One next hop: refusing, down, slow.


def test_a_refusal_is_reported_to_the_sender(daemons: Callable[..., Daemon], hops: Callable[..., Peer]) -> None:
    hop = hops().up()
    hop.answers["zoe@far.test"] = "550 5.2.1 mailbox closed for ever"
    daemon = daemons(route("far.test", hop.place)).start()
    began = time.time()
    submit(daemon, "zoe@far.test", "yan@far.test", subject="for two")
    # Whoever was not refused has it.
    assert hop.wait()[0].recipients == ("yan@far.test",)

    report = only_report(daemon)
    assert report["Return-Path"] == "<>"
    assert report["From"].addresses[0].addr_spec == "MAILER-DAEMON@mx.mail.test"
    assert report["To"].addresses[0].addr_spec == ALICE
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["MIME-Version"] == "1.0"
    assert abs(parsedate_to_datetime(report["Date"]).timestamp() - began) < 30
    assert re.fullmatch(r"<\w+@mx\.mail\.test>", report["Message-ID"])
    assert report.get_content_type() == "multipart/report"
    assert report["Content-Type"].params["report-type"] == "delivery-status"
    assert report.defects == []

    words, _, header = report.iter_parts()
    assert words.get_content_type() == "text/plain"
    assert "zoe@far.test" in words.get_content()
    assert "mailbox closed for ever" in words.get_content()
    assert "yan@far.test" not in words.get_content()
    assert header.get_content_type() == "text/rfc822-headers"
    assert "Subject: for two\n" in header.get_content()
    assert "body" not in header.get_content()

    message, recipient = blocks(report)
    assert message.pop("Reporting-MTA") == "dns; mx.mail.test"
    assert abs(parsedate_to_datetime(message.pop("Arrival-Date")).timestamp() - began) < 30
    assert message == {}
    assert abs(parsedate_to_datetime(recipient.pop("Last-Attempt-Date")).timestamp() - began) < 30
    assert recipient == {
        "Final-Recipient": "rfc822; zoe@far.test",
        "Action": "failed",
        "Status": "5.2.1",
        "Remote-MTA": f"dns; {hop.address}",
        "Diagnostic-Code": "smtp; 550 5.2.1 mailbox closed for ever",
    }
    until(daemon.queue, lambda rows: not rows)


def test_a_content_that_is_refused(daemons: Callable[..., Daemon], hops: Callable[..., Peer]) -> None:
    hop = hops().up()
    hop.final = "554 5.7.1 we do not want this"
    daemon = daemons(route("far.test", hop.place)).start()
    submit(daemon, "zoe@far.test", "yan@far.test")
    _, *recipients = blocks(only_report(daemon))
    assert [one["Final-Recipient"] for one in recipients] == ["rfc822; zoe@far.test", "rfc822; yan@far.test"]
    assert {one["Status"] for one in recipients} == {"5.7.1"}
    assert hop.contents == 1


def test_a_next_hop_that_is_down_gets_it_later(daemons: Callable[..., Daemon], hops: Callable[..., Peer]) -> None:
    hop = hops()
    daemon = daemons(QUICK + route("far.test", hop.place)).start()
    # Over the content cap: it waits in a file.
    body = "".join(f"{n:>50}\r\n" for n in range(6000))
    before = datetime.now(UTC).replace(microsecond=0)
    submit(daemon, "zoe@far.test", body=body)
    daemon.wait_queue({"zoe@far.test": "deferred"}.__eq__)
    listing = daemon.ctl("queue", "list").stdout
    row = next(line for line in listing.splitlines() if "zoe@far.test" in line)
    assert "deferred" in row
    assert f"4.4.1 {hop.address}" in row
    assert "Connection refused" in row
    due = re.search(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", row)
    assert due
    assert 0 <= (datetime.fromisoformat(due[1] + "+00:00") - before).total_seconds() < 60
    hop.up()
    (taken,) = hop.wait()
    assert taken.content.endswith(b"\n\n" + body.encode().replace(b"\r\n", b"\n"))
    until(daemon.queue, lambda rows: not rows)
    assert daemon.letters() == []


def test_a_refusal_for_now_is_tried_again(daemons: Callable[..., Daemon], hops: Callable[..., Peer]) -> None:
    hop = hops().up()
    hop.answers["zoe@far.test"] = "450 4.2.1 come back later"
    daemon = daemons("[queue]\nretry = [3600]\n" + route("far.test", hop.place)).start()
    submit(daemon, "zoe@far.test")
    rows = daemon.wait_queue({"zoe@far.test": "deferred"}.__eq__)
    assert "450 4.2.1 come back later" in rows[0]["why"]
    hop.answers.clear()
    # Its time has not come; an administrator may say otherwise.
    assert daemon.control("queue retry", queue_ids=[rows[0]["queue id"]])["recipients"] == 1
    assert hop.wait()[0].recipients == ("zoe@far.test",)


def test_a_stop_waits_for_an_attempt_under_way(daemons: Callable[..., Daemon], hops: Callable[..., Peer]) -> None:
    hop = hops().up()
    hop.gate.clear()
    daemon = daemons(QUICK + route("far.test", hop.place)).start()
    submit(daemon, "zoe@far.test", subject="first")
    hop.wait_contents(1)
    assert daemon.process is not None
    daemon.process.terminate()
    daemon.wait_log(r" server\.stopping|Received SIGTERM")
    hop.gate.set()
    daemon.process.wait(10)
    daemon.start()
    submit(daemon, "zoe@far.test", subject="second")
    hop.wait(2)
    subjects = [re.search(rb"Subject: (\w+)", one.content) for one in hop.received]
    assert [found and found[1] for found in subjects] == [b"first", b"second"]
    assert daemon.queue() == [] or until(daemon.queue, lambda rows: not rows) == []
    assert hop.contents == 2


# One message, three recipients.


@pytest.mark.parametrize("how", ["SIGTERM", "kill -9"])
def test_each_recipient_ends_by_itself(
    how: str, daemons: Callable[..., Daemon], hops: Callable[..., Peer]
) -> None:
    down, refusing = hops(), hops().up()
    refusing.answers["rob@refusing.test"] = "550 5.1.1 nobody of that name"
    routes = route("down.test", down.place) + route("refusing.test", refusing.place)
    daemon = daemons("[queue]\nenabled = false\n" + routes).start()
    submit(daemon, BOB, "dan@down.test", "rob@refusing.test")
    queue_id = daemon.queue()[0]["queue id"]
    packed = daemon.control("queue show", queue_id=queue_id)
    assert {one["state"] for one in packed["recipients"]} == {"queued"}
    stop(daemon, how)

    daemon.write_settings(QUICK + routes)
    daemon.start()
    ended = {BOB: "delivered", "dan@down.test": "deferred", "rob@refusing.test": "failed"}
    unpacked = until(
        lambda: daemon.control("queue show", queue_id=queue_id), lambda shown: states(shown["recipients"]) == ended
    )
    assert {**unpacked, "recipients": None} == {**packed, "recipients": None}
    for before, after in zip(packed["recipients"], unpacked["recipients"], strict=True):
        assert (before["recipient"], before["for"]) == (after["recipient"], after["for"])
    stop(daemon, how)

    daemon.start()
    again = daemon.control("queue show", queue_id=queue_id)
    assert states(again["recipients"]) in (ended, {**ended, "dan@down.test": "active"})
    down.up()
    down.wait()
    until(daemon.queue, lambda rows: not rows)

    # Whatever there still was to do would be done before a message that comes after it.
    submit(daemon, BOB, "dan@down.test", subject="the last")
    down.wait(2)
    assert len(daemon.wait_letters(2, "bob")) == 2
    assert down.recipients() == ["dan@down.test", "dan@down.test"]
    assert b"Subject: the last" in down.received[1].content
    assert refusing.contents == 0
    _, recipient = blocks(only_report(daemon))
    assert recipient["Final-Recipient"] == "rfc822; rob@refusing.test"


# Hold.


def test_outgoing_mail_is_held_until_it_is_switched_on(
    daemons: Callable[..., Daemon], hops: Callable[..., Peer]
) -> None:
    smart, near = hops().up(), hops().up()
    relay = f'[relay]\nsmart_host = "{smart.place}"\nsmart_host_tls = "off"\noutgoing = '
    daemon = daemons(relay + '"hold"\n' + route("near.test", near.place)).start()
    submit(daemon, "zoe@far.test", "yan@near.test", BOB)
    # A static route is its owner's word; local mail does not leave.
    assert near.wait()[0].recipients == ("yan@near.test",)
    daemon.wait_letters(1, "bob")
    rows = daemon.wait_queue(lambda found: found.get("zoe@far.test") == "held")
    assert reasons(rows)["zoe@far.test"].startswith("held: 4.3.2 outgoing mail is on hold (relay.outgoing)")
    assert {row["recipient"]: row["next attempt"] for row in rows}["zoe@far.test"] == ""
    daemon.stop()
    assert smart.contents == 0

    daemon.write_settings(relay + '"on"\n' + route("near.test", near.place))
    daemon.start()
    assert smart.wait()[0].recipients == ("zoe@far.test",)
    until(daemon.queue, lambda rows: not rows)
    assert (near.contents, len(daemon.letters("bob"))) == (1, 1)


# Where DNS says.


def test_mx_records(
    daemons: Callable[..., Daemon], hops: Callable[..., Peer], names: Callable[[Zone], Names]
) -> None:
    first, second, plain = hops(), hops().up(), hops().up()
    dns = names(
        {
            "far.test": {"MX": [[20, "second.far.test"], [10, "first.far.test"], [30, "mx.mail.test"]]},
            "first.far.test": {"A": [first.address]},
            "second.far.test": {"A": [second.address]},
            "plain.test": {"A": [plain.address]},
            "null.test": {"MX": [[0, "."]], "A": [plain.address]},
            "ours.test": {"MX": [[10, "mx.mail.test"], [20, "second.far.test"]]},
        }
    )
    daemon = daemons(f'[queue]\nretry = [3600]\n\n[dns]\nservers = ["{dns.place}"]\n\n[relay]\nport = 2525\n')
    dns.wait()
    daemon.start()
    submit(
        daemon, "a@far.test", "b@plain.test", "c@null.test", "d@none.test", "e@ours.test", "f@broken.test"
    )  # fmt: skip
    # The best host is down, the next one takes it; without MX the domain is its own host (RFC 5321 §5.1).
    assert second.wait()[0].recipients == ("a@far.test",)
    assert plain.wait()[0].recipients == ("b@plain.test",)
    (row,) = daemon.wait_queue({"f@broken.test": "deferred"}.__eq__)
    daemon.wait_letters(3)
    told = {}
    for letter in daemon.letters():
        _, *recipients = blocks(message_from_bytes(letter.read_bytes(), policy=policy.default))  # type: ignore[arg-type]
        told |= {one["Final-Recipient"]: one["Status"] for one in recipients}
    assert told == {
        "rfc822; c@null.test": "5.1.10",
        "rfc822; d@none.test": "5.1.2",
        "rfc822; e@ours.test": "5.4.6",
    }
    assert row["why"].startswith(f"4.4.3 broken.test: the DNS server {dns.place} failed")


def test_without_dns_mail_waits_and_says_so(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons("[dns]\nservers = []\n").start()
    submit(daemon, "zoe@far.test")
    (row,) = daemon.wait_queue({"zoe@far.test": "deferred"}.__eq__)
    assert row["why"] == "4.4.3 no DNS servers are configured (dns.servers)"


# TLS.


class Smart:
    """aiosmtpd as a smart host: mail only with a login, login only under TLS."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.address = free_address()
        self.taken: list[tuple[str, list[str], bytes, str]] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.controller = Controller(
            self, hostname=self.address, port=2525, tls_context=context, require_starttls=True,
            auth_required=True, auth_require_tls=True, authenticator=self._login,
        )  # fmt: skip

    def _login(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"open sesame", handled=False)

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:
        self.taken.append((envelope.mail_from, envelope.rcpt_tos, envelope.content, session.host_name))
        return "250 2.0.0 taken"


@pytest.fixture
def smart(tmp_path: Path) -> Iterator[Smart]:
    made = Smart(certificate(tmp_path, "smart.test")[1])
    made.controller.start()
    yield made
    made.controller.stop()


def test_a_smart_host_with_a_login_over_verified_tls(
    daemons: Callable[..., Daemon], names: Callable[[Zone], Names], smart: Smart, tmp_path: Path
) -> None:
    dns = names({"smart.test": {"A": [smart.address]}})
    daemon = daemons(f"""
[dns]
servers = ["{dns.place}"]

[queue]
retry = [3600]

[relay]
smart_host = "smart.test:2525"
smart_host_ca_file = "{tmp_path / "smart.test.crt"}"
smart_host_user = "we"
smart_host_password_file = "smart.password"
helo_name = "we.test"
""")
    password = daemon.instance / "smart.password"
    password.write_text("wrong\n")
    dns.wait()
    daemon.start()
    submit(daemon, "zoe@far.test", "yan@further.test")
    rows = daemon.wait_queue({"zoe@far.test": "deferred", "yan@further.test": "deferred"}.__eq__)
    assert rows[0]["why"].startswith("4.7.8 smart.test said to AUTH: 535 5.7.8 ")
    assert smart.taken == []
    assert smart.logins[0] == (b"we", b"wrong")
    daemon.stop()

    password.write_text("open sesame\n")
    daemon.start()
    daemon.control("queue retry", all=True)
    until(daemon.queue, lambda rows: not rows)
    ((sender, recipients, content, helo),) = smart.taken
    assert (sender, recipients, helo) == (ALICE, ["zoe@far.test", "yan@further.test"], "we.test")
    assert content.endswith(b"Subject: hello\r\n\r\nbody\r\n")


def test_tls_to_next_hops(
    daemons: Callable[..., Daemon], hops: Callable[..., Peer], names: Callable[[Zone], Names], tmp_path: Path
) -> None:
    authority, context = certificate(tmp_path, "good.test")
    good, stranger, other = hops(tls=context).up(), hops(tls=context).up(), hops(tls=context).up()
    broken, clear = hops(broken_tls=True).up(), hops().up()
    dns = names({name: {"A": [hop.address]} for name, hop in (("good.test", good), ("other.test", other))})
    trusting = f'ca_file = "{authority}"'
    daemon = daemons(
        f'[dns]\nservers = ["{dns.place}"]\n\n[queue]\nretry = [3600]\n'
        + route("verified.test", "good.test:2525", "verified", trusting)
        + route("stranger.test", stranger.place, "verified")
        + route("misnamed.test", "other.test:2525", "verified", trusting)
        + route("broken.test", broken.place, "verified", trusting)
        + route("clear.test", clear.place, "verified", trusting)
        + route("maybe.test", stranger.place, "opportunistic")
        + route("maybe-broken.test", broken.place, "opportunistic")
        + route("maybe-clear.test", clear.place, "opportunistic")
    )
    dns.wait()
    daemon.start()
    taken = ("verified.test", "maybe.test", "maybe-broken.test", "maybe-clear.test")
    waiting = ("stranger.test", "misnamed.test", "broken.test", "clear.test")
    submit(daemon, *(f"a@{domain}" for domain in (*taken, *waiting)))
    for hop, recipient, tls in (
        (good, "a@verified.test", True),
        (stranger, "a@maybe.test", True),
        (broken, "a@maybe-broken.test", False),
        (clear, "a@maybe-clear.test", False),
    ):
        (one,) = hop.wait()
        assert (one.recipients, one.tls) == ((recipient,), tls)
    rows = daemon.wait_queue({f"a@{domain}": "deferred" for domain in waiting}.__eq__)
    why = reasons(rows)
    assert re.search(r"4\.7\.5 .*certificate of .* is refused: it is self-signed", why["a@stranger.test"])
    assert re.search(
        r"4\.7\.5 .*certificate of other\.test is refused: it is for good\.test", why["a@misnamed.test"]
    )
    assert re.search(r"4\.7\.5 ", why["a@broken.test"])
    assert re.search(r"4\.7\.4 .*STARTTLS", why["a@clear.test"])
    assert (good.contents, stranger.contents, other.contents, broken.contents, clear.contents) == (1, 1, 0, 1, 1)
