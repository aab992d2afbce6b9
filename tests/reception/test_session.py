"""Sessions over a memory transport: the production core, shell and session, with recording parts around."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from mailserver.interfaces import PoolFull, SpoolFailed, SpoolFull
from mailserver.net.server import ServerProtocol, Surroundings
from mailserver.reception.limits import PerMinute
from mailserver.reception.session import Session
from mailserver.reception.world import Peer, Rates
from mailserver.smtp import sasl
from mailserver.smtp.limits import Profile
from mailserver.smtp.server import ServerCore
from tests.harness.reception import ANNA, PASSWORD, Kit, login_to

MESSAGE = b"Subject: hi\r\n\r\nhello\r\n.\r\n"
TO_ANNA = b"MAIL FROM:<x@far.example>\r\nRCPT TO:<anna@mail.test>\r\nDATA\r\n"


class Wire:
    """One connection from 192.0.2.9."""

    def __init__(self, kit: Kit, submission: bool = False, portal: Any = None) -> None:
        mechanisms = ("PLAIN", "LOGIN") if submission else ()
        profile = Profile(
            "mx.mail.test",
            mechanisms=mechanisms,
            auth_required=submission,
            auth_in_clear=True,
            submission=submission,
        )
        self.transport = StringTransport()
        self.login = login_to(portal or kit.portal, kit.clock, kit.log)
        peer = Peer("192.0.2.9", "mx", submission, "s1")
        self.session = Session(kit.world, peer, self.login, tls=False)
        core = ServerCore(profile, sasl.PASSWORD_MECHANISMS)
        self.protocol = ServerProtocol(core, self.session, Surroundings(kit.clock, kit.log))
        self.protocol.makeConnection(self.transport)
        self.send(b"EHLO client.example\r\n")

    def send(self, octets: bytes) -> list[str]:
        """The replies to it, a line each."""
        self.transport.clear()
        self.protocol.dataReceived(octets)
        return self.said()

    def said(self) -> list[str]:
        said = self.transport.value().decode().splitlines()
        self.transport.clear()
        return said

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionLost()))


def last(replies: list[str]) -> str:
    return replies[-1]


def plain(name: str = ANNA, password: bytes = PASSWORD) -> bytes:
    return b"AUTH PLAIN " + base64.b64encode(b"\0" + name.encode() + b"\0" + password) + b"\r\n"


def test_a_message_is_accepted_with_its_envelope_and_trace() -> None:
    kit = Kit()
    replies = Wire(kit).send(TO_ANNA + MESSAGE)
    envelope, content, facts = kit.intake.accepted[0]
    assert last(replies) == f"250 2.0.0 Accepted as {facts.queue_id}"
    assert str(envelope.reverse_path) == "x@far.example"
    assert (envelope.client_address, envelope.listener, envelope.helo) == ("192.0.2.9", "mx", "client.example")
    assert (envelope.protocol, envelope.identity) == ("ESMTP", None)
    assert [str(one.mailbox) for one in facts.originals] == [ANNA]
    assert content.startswith(b"Received: from client.example ([192.0.2.9])\n\tby mx.mail.test with ESMTP id ")
    assert content.endswith(b"\nSubject: hi\n\nhello\n")
    assert not facts.submitted


def test_nothing_is_said_before_the_commit() -> None:
    kit = Kit()
    commit: Deferred[str] = Deferred()
    kit.intake.answers = iter([commit])
    wire = Wire(kit)
    assert last(wire.send(TO_ANNA + MESSAGE)).startswith("354")
    commit.callback("q1")
    assert wire.said() == ["250 2.0.0 Accepted as q1"]


@pytest.mark.parametrize(
    ("error", "reply"),
    [(SpoolFull("disk"), "452 4.3.1"), (SpoolFailed("fsync"), "421 4.3.0"), (ValueError("bug"), "451 4.3.0")],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_message_that_is_not_stored_is_not_accepted(error: Exception, reply: str, at_once: bool) -> None:
    kit = Kit()
    commit: Deferred[str] = Deferred()
    kit.intake.answers = iter([error if at_once else commit])
    wire = Wire(kit)
    replies = wire.send(TO_ANNA + MESSAGE)
    if not at_once:
        commit.errback(error)
        replies = wire.said()
    assert last(replies).startswith(reply)
    assert "disk" not in str(replies)
    assert kit.contents[0].discarded
    assert len(kit.log.failures) == isinstance(error, ValueError)


def test_the_next_message_of_a_session_stands_by_itself() -> None:
    kit = Kit()
    wire = Wire(kit)
    wire.send(TO_ANNA + MESSAGE)
    replies = wire.send(b"MAIL FROM:<y@far.example>\r\nRCPT TO:<bert@mail.test>\r\nDATA\r\n" + MESSAGE)
    assert last(replies).startswith("250 2.0.0")
    assert [str(one.mailbox) for one in kit.intake.accepted[1][2].originals] == ["bert@mail.test"]


@pytest.mark.parametrize(
    ("commands", "reply"),
    [
        (b"RCPT TO:<nobody@mail.test>\r\n", "550 5.1.1"),
        (b"RCPT TO:<x@far.example>\r\n", "550 5.7.1"),
        (b"RCPT TO:<postmaster>\r\n", "250 2.1.5"),
    ],
)
def test_recipients(commands: bytes, reply: str) -> None:
    wire = Wire(Kit())
    assert last(wire.send(b"MAIL FROM:<x@far.example>\r\n" + commands)).startswith(reply)


def test_submission_needs_a_login_and_an_own_sender() -> None:
    kit = Kit()
    wire = Wire(kit, submission=True)
    assert last(wire.send(b"MAIL FROM:<anna@mail.test>\r\n")).startswith("530 5.7.0")
    assert last(wire.send(plain())).startswith("235 2.7.0")
    assert last(wire.send(b"MAIL FROM:<bert@mail.test>\r\n")).startswith("553 5.7.1")
    replies = wire.send(b"MAIL FROM:<anna@mail.test>\r\nRCPT TO:<x@far.example>\r\nDATA\r\n" + MESSAGE)
    assert last(replies).startswith("250 2.0.0")
    envelope, _, facts = kit.intake.accepted[0]
    assert (envelope.identity, envelope.protocol, facts.submitted) == (ANNA, "ESMTPA", True)


def test_a_bad_login_is_answered_late_and_counted() -> None:
    kit = Kit(auth_failure_delay=2.0, rates=Rates(PerMinute(0), PerMinute(0), PerMinute(1)))
    wire = Wire(kit, submission=True)
    assert wire.send(plain(password=b"no")) == []
    kit.clock.advance(2)
    assert last(wire.said()).startswith("535 5.7.8")
    assert last(wire.send(plain())).startswith("454 4.7.0")
    assert kit.log.named("login.refused")[0]["client"] == "192.0.2.9"


@pytest.mark.parametrize("error", [PoolFull("busy"), ZeroDivisionError()])
def test_a_checker_that_cannot_answer_is_no_login(error: Exception) -> None:
    class Broken:
        async def login(self, *_: Any) -> Any:
            raise error

    wire = Wire(Kit(), submission=True, portal=Broken())
    assert last(wire.send(plain())).startswith("454 4.7.0")
    assert last(wire.send(b"MAIL FROM:<anna@mail.test>\r\n")).startswith("530")


def test_who_leaves_before_the_verdict_has_failed_to_log_in() -> None:
    class Slow:
        def login(self, *_: Any) -> Any:
            return Deferred()

    kit = Kit(rates=Rates(PerMinute(0), PerMinute(0), PerMinute(1)))
    wire = Wire(kit, submission=True, portal=Slow())
    assert wire.send(plain()) == []
    wire.lose()
    assert kit.log.failures == []
    assert last(Wire(kit, submission=True).send(plain())).startswith("454 4.7.0")


def test_no_room_is_said_at_mail() -> None:
    kit = Kit()
    kit.blocked = "the disk is full"
    replies = Wire(kit).send(b"MAIL FROM:<x@far.example>\r\n")
    assert replies == ["452 4.3.1 Insufficient system storage, try again later"]


def test_too_many_in_a_minute() -> None:
    kit = Kit(rates=Rates(PerMinute(1), PerMinute(1), PerMinute(0)))
    wire = Wire(kit)
    assert last(wire.send(TO_ANNA + MESSAGE)).startswith("250")
    assert last(wire.send(b"MAIL FROM:<x@far.example>\r\n")).startswith("450 4.7.1")
    kit.clock.advance(60)
    replies = wire.send(b"MAIL FROM:<>\r\nRCPT TO:<anna@mail.test>\r\nRCPT TO:<bert@mail.test>\r\n")
    assert [reply[:3] for reply in replies] == ["250", "250", "450"]


def test_a_loop_is_refused_and_nothing_kept() -> None:
    kit = Kit(max_hops=3)
    hop = b"Received: from a by b; Tue, 24 Nov 2026 13:00:00 +0000\r\n"
    replies = Wire(kit).send(TO_ANNA + hop * 3 + MESSAGE)
    assert last(replies).startswith("554 5.4.6")
    assert kit.intake.accepted == []
    assert kit.contents[0].discarded


def test_a_connection_lost_in_mid_content_leaves_nothing() -> None:
    kit = Kit()
    wire = Wire(kit)
    wire.send(TO_ANNA + b"Subject: hi\r\n")
    wire.lose()
    assert kit.contents[0].discarded
    assert kit.intake.accepted == []
    assert wire.login.identity is None


def test_a_connection_lost_before_the_commit_does_not_stop_it() -> None:
    kit = Kit()
    commit: Deferred[str] = Deferred()
    kit.intake.answers = iter([commit])
    wire = Wire(kit)
    wire.send(TO_ANNA + MESSAGE)
    wire.lose()
    assert not kit.contents[0].discarded
    commit.callback("q1")
    assert kit.log.named("message.accepted")[0]["queue"] == "q1"


@pytest.mark.parametrize("bad", [b"a\nb\r\n.\r\n", b"a\rb\r\n.\r\n", b"a\0b\r\n.\r\n"])
def test_bad_octets_are_refused_and_nothing_kept(bad: bytes) -> None:
    kit = Kit()
    wire = Wire(kit)
    assert last(wire.send(TO_ANNA + bad)).startswith("550 5.6")
    assert kit.contents[0].discarded
    assert kit.intake.accepted == []
    assert last(wire.send(b"DATA\r\n")).startswith("503")


def test_a_content_that_finds_no_room_in_the_middle_is_452_and_forgotten() -> None:
    kit = Kit()
    wire = Wire(kit)
    wire.send(TO_ANNA)
    kit.contents[0].write = lambda piece: (_ for _ in ()).throw(SpoolFull("disk"))  # type: ignore[method-assign]
    assert last(wire.send(b"one\r\n" + MESSAGE)).startswith("452 4.3.1")
    assert kit.contents[0].discarded
    assert kit.intake.accepted == []


def test_a_content_that_fails_while_it_is_finished_is_refused() -> None:
    kit = Kit()
    wire = Wire(kit)
    wire.send(TO_ANNA)
    finished: Deferred[None] = Deferred()
    kit.contents[0].finish = lambda: finished  # type: ignore[method-assign]
    assert wire.send(MESSAGE) == []
    finished.errback(SpoolFull("disk"))
    assert last(wire.said()).startswith("452 4.3.1")
    assert kit.intake.accepted == []


def test_the_avatar_is_forgotten_at_the_end() -> None:
    kit = Kit()
    wire = Wire(kit)
    wire.send(TO_ANNA + MESSAGE)
    assert wire.login.identity is not None
    wire.send(b"QUIT\r\n")
    wire.lose()
    assert wire.login.identity is None
    assert len(kit.log.named("session.closed")) == 1
