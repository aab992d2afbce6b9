"""Outgoing sessions over a memory reactor with a clock of its own, and TLS over real loopback sockets."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor, ssl
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionDone, ConnectionRefusedError, DNSLookupError, UnknownHostError
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.protocols.basic import LineReceiver
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import Klass, Outcome, Scope
from mailserver.message.route import Attempt, Route
from mailserver.net.asked import transaction_of
from mailserver.net.client import AT_ONCE, ClientSession, Connector, Peer
from mailserver.net.tls import ClientContexts, certificate_pin, self_signed, server_context
from mailserver.net.wire import LINGER
from mailserver.smtp.address import Mailbox
from mailserver.smtp.plan import SessionPlan
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Phase
from mailserver.threads import inline

PEER = Peer("mx.b.example", "192.0.2.1", 25)
CLEAR = SessionPlan("me.example.org", tls="off")


def attempt(content: Content, *names: str) -> Attempt:
    boxes = [Mailbox.parse(f"{name}@b.example") for name in names or ("anna",)]
    recipients = tuple(Recipient(n, box, (Original(box),)) for n, box in enumerate(boxes))
    return Attempt(
        "q1", Envelope(Mailbox.parse("me@example.org")), recipients, content, Route("smtp", "b.example"), 0.0
    )


class Transport(StringTransport):
    """A transport that knows whether it was ended, and how."""

    aborted = False
    lost: Callable[[], object]

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True
        self.lost()


class FromDisk(Content):
    """A content that says it is in a file, in pieces of its own choosing; an exception among them is raised."""

    def __init__(self, *given: bytes | Exception) -> None:
        super().__init__()
        self.file = "content/x"
        self._given = given

    def pieces(self) -> Any:
        for piece in self._given:
            if isinstance(piece, Exception):
                raise piece
            yield piece


class Net:
    """The far end of every connection that the code under test opens."""

    def __init__(self, **settings: Any) -> None:
        self.reactor = MemoryReactorClock()
        self.connector = Connector(self.reactor, inline, ClientContexts(), **settings)

    def accept(self) -> Any:
        """Let the newest connection come about; answers the protocol's end of it."""
        factory = self.reactor.tcpClients[-1][2]
        protocol = factory.buildProtocol(None)
        self.transport = Transport()
        self.transport.lost = lambda: self.reactor.callLater(0, self.loses)
        protocol.makeConnection(self.transport)
        self.far = protocol
        return protocol

    def says(self, *replies: bytes) -> None:
        for reply in replies:
            self.far.dataReceived(reply)

    def heard(self) -> bytes:
        data = self.transport.value()
        self.transport.clear()
        return data

    def fill(self) -> None:
        """From now on each write is as much as the peer takes, until it says to go on."""
        write = self.transport.write

        def full(data: bytes) -> None:
            write(data)
            if self.transport.producer is not None:
                self.transport.producer.pauseProducing()

        self.transport.write = full  # type: ignore[method-assign]

    def loses(self) -> None:
        self.far.connectionLost(Failure(ConnectionDone()))

    def session(self, ehlo: bytes = b"250-b\r\n250 PIPELINING\r\n") -> ClientSession:
        result = Result(self.connector.connect(PEER, CLEAR))
        self.accept()
        self.says(b"220 hi\r\n", ehlo)
        assert self.heard() == b"EHLO me.example.org\r\n"
        return result.value


class Result:
    """What a coroutine came to."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.values: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(self.values.append)

    @property
    def value(self) -> Any:
        (value,) = self.values
        if isinstance(value, Failure):
            value.raiseException()
        return value

    @property
    def outcomes(self) -> list[Outcome]:
        return list(self.value.values())


def test_connects_as_told() -> None:
    net = Net(connect_timeout=7, bind_address="192.0.2.9")
    Result(net.connector.connect(PEER, CLEAR))
    host, port, _, seconds, bind = net.reactor.tcpClients[0]
    assert (host, port, seconds, bind) == ("192.0.2.1", 25, 7, ("192.0.2.9", 0))


def test_refused_connection() -> None:
    net = Net()
    result = Result(net.connector.connect(PEER, CLEAR))
    factory = net.reactor.tcpClients[0][2]
    factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
    assert (result.value.klass, result.value.scope, result.value.status) == (
        Klass.TRANSIENT,
        Scope.HOST,
        Status(4, 4, 1),
    )
    assert "mx.b.example[192.0.2.1]:25" in result.value.text


def test_one_message_then_another_on_the_same_connection() -> None:
    net = Net()
    session = net.session()
    assert net.transport.no_delay
    for number in (1, 2):
        result = Result(session.send(attempt(Content.of(b"Subject: x\r\n\r\n.\r\n"))))
        assert net.heard() == b"MAIL FROM:<me@example.org>\r\nRCPT TO:<anna@b.example>\r\nDATA\r\n"
        net.says(b"250 m\r\n250 r\r\n354 go\r\n")
        assert net.heard() == b"Subject: x\r\n\r\n..\r\n.\r\n"
        net.says(b"250 2.0.0 kept\r\n")
        assert [outcome.klass for outcome in result.outcomes] == [Klass.SUCCESS]
        assert result.outcomes[0].remote_mta == "mx.b.example"
        assert session.sent == number
        assert session.usable


def test_each_recipient_has_its_outcome() -> None:
    net = Net()
    result = Result(net.session().send(attempt(Content.of(b"x\r\n"), "anna", "bob", "carl")))
    net.says(b"250 m\r\n250 r\r\n550 5.1.1 no\r\n450 4.2.1 later\r\n354 go\r\n", b"250 kept\r\n")
    assert [(outcome.klass, outcome.scope) for outcome in result.outcomes] == [
        (Klass.SUCCESS, Scope.RECIPIENT),
        (Klass.PERMANENT, Scope.RECIPIENT),
        (Klass.TRANSIENT, Scope.RECIPIENT),
    ]


@pytest.mark.parametrize("kind", [Content.of, FromDisk])
def test_8bitmime_is_needed_only_by_octets_that_are_not_ascii(kind: Any) -> None:
    net = Net()
    session = net.session()
    declared = attempt(kind(b"x\n"))
    declared = replace(declared, envelope=replace(declared.envelope, body="8BITMIME"))
    result = Result(session.send(declared))
    assert net.heard().startswith(b"MAIL FROM:<me@example.org>\r\n")
    net.says(b"250 m\r\n250 r\r\n354 go\r\n", b"250 kept\r\n")
    assert result.outcomes[0].klass is Klass.SUCCESS
    result = Result(session.send(replace(declared, content=kind("ä\n".encode()))))
    assert (result.outcomes[0].klass, result.outcomes[0].status) == (Klass.PERMANENT, Status(5, 6, 3))
    broken = FromDisk(OSError("bad sector"))
    result = Result(session.send(replace(declared, content=broken)))
    assert (result.outcomes[0].klass, result.outcomes[0].status) == (Klass.TRANSIENT, Status(4, 3, 0))
    assert session.usable


ESMTP = b"250-b\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
CHUNKING = ESMTP + b"250 CHUNKING\r\n"
TAKEN = b"250 m\r\n250 r\r\n250 2.0.0 kept\r\n"


@pytest.mark.parametrize("kind", [Content.of, FromDisk])
def test_octets_above_127_need_8bitmime_whatever_was_declared(kind: Any) -> None:
    net = Net()
    session = net.session()
    for declared in (None, "7BIT"):
        mail = attempt(kind("ä\n".encode()))
        mail = replace(mail, envelope=replace(mail.envelope, body=declared))
        result = Result(session.send(mail))
        assert (result.outcomes[0].klass, result.outcomes[0].status) == (Klass.PERMANENT, Status(5, 6, 3))
    assert net.heard() == b""
    session = net.session(ESMTP + b"250 SIZE\r\n")
    Result(session.send(attempt(kind("ä\n".encode()))))
    assert b" BODY=8BITMIME" in net.heard()


def test_any_octets_go_anywhere_when_told_to() -> None:
    net = Net()
    result = Result(net.connector.connect(PEER, replace(CLEAR, any_octets=True)))
    net.accept()
    net.says(b"220 hi\r\n", b"250 b\r\n")
    net.heard()
    Result(result.value.send(attempt(Content.of("ä\n".encode()))))
    assert net.heard() == b"MAIL FROM:<me@example.org>\r\n"


@pytest.mark.parametrize("kind", [Content.of, FromDisk])
@pytest.mark.parametrize(
    ("content", "needed"),
    [("Subject: x\n\nü\n", False), ("Subject: ü\n\nx\n", True), ("Subject: x\n\nx\n", False)],
)
def test_smtputf8_is_needed_by_a_header_outside_of_ascii(kind: Any, content: str, needed: bool) -> None:
    net = Net()
    mail = attempt(kind(content.encode()))
    if isinstance(mail.content, FromDisk):
        mail.content._pieces = [content.encode()]
    mail = replace(mail, envelope=replace(mail.envelope, smtputf8=True))
    result = Result(net.session(ESMTP + b"250 SIZE\r\n").send(mail))
    if needed:
        assert result.outcomes[0].status == Status(5, 6, 7)
    else:
        assert b"SMTPUTF8" not in net.heard()


def test_a_small_message_goes_in_one_flight() -> None:
    net = Net()
    session = net.session(CHUNKING)
    content = Content.of(b"Subject: x\r\n\r\n.\r\n")
    content.head = b"Received: here\n"
    result = Result(session.send(attempt(content)))
    assert net.heard() == (
        b"MAIL FROM:<me@example.org>\r\nRCPT TO:<anna@b.example>\r\nBDAT 33 LAST\r\n"
        b"Received: here\r\nSubject: x\r\n\r\n.\r\n"
    )
    net.says(TAKEN)
    assert [outcome.klass for outcome in result.outcomes] == [Klass.SUCCESS]
    assert session.usable


def test_the_second_message_of_a_session_goes_step_by_step_and_the_others_fly() -> None:
    net = Net()
    session = net.session(CHUNKING)
    verbs = []
    for _ in range(4):
        Result(session.send(attempt(Content.of(b"x\n"))))
        verbs.append(b"BDAT" in net.heard())
        net.says(
            TAKEN if verbs[-1] else b"250 m\r\n250 r\r\n354 go\r\n", *(() if verbs[-1] else (b"250 kept\r\n",))
        )
    assert verbs == [True, False, True, True]


def test_a_second_attempt_goes_step_by_step() -> None:
    net = Net()
    Result(net.session(CHUNKING).send(replace(attempt(Content.of(b"x\n")), again=True)))
    assert net.heard().endswith(b"DATA\r\n")


@pytest.mark.parametrize("content", [Content.of(b"x" * 70_000 + b"\n"), FromDisk(b"x\n")])
def test_what_is_large_or_on_disk_goes_step_by_step(content: Content) -> None:
    net = Net()
    Result(net.session(CHUNKING).send(attempt(content)))
    assert net.heard().endswith(b"DATA\r\n")


def test_a_flight_that_is_lost_is_uncertain() -> None:
    net = Net()
    result = Result(net.session(CHUNKING).send(attempt(Content.of(b"x\n"))))
    net.loses()
    assert result.outcomes[0].uncertain


def test_bdat_is_offered_and_not_known() -> None:
    net = Net()
    result = Result(net.session(CHUNKING).send(attempt(Content.of(b"x\n"))))
    net.says(b"250 m\r\n250 r\r\n502 what?\r\n")
    (outcome,) = result.outcomes
    assert (outcome.klass, outcome.scope, outcome.uncertain) == (Klass.TRANSIENT, Scope.HOST, False)
    assert outcome.about_host
    assert net.transport.aborted


def test_as_many_messages_as_the_host_takes() -> None:
    net = Net()
    session = net.session(b"250-b\r\n250-PIPELINING\r\n250 LIMITS MAILMAX=2\r\n")
    for left in (True, False):
        Result(session.send(attempt(Content.of(b"x\n"))))
        net.says(b"250 m\r\n250 r\r\n354 go\r\n", b"250 kept\r\n")
        assert session.usable is left
    net.heard()
    session.quit()
    assert net.heard() == b"QUIT\r\n"


@pytest.mark.parametrize(
    ("limits", "room"),
    [
        (b"", 5),
        (b"RCPTMAX=3", 3),
        (b"RCPTMAX=30", 5),
        (b"RCPTDOMAINMAX=1", 2),
        (b"RCPTDOMAINMAX=2", 4),
        (b"RCPTDOMAINMAX=3", 5),
        (b"RCPTMAX=1 RCPTDOMAINMAX=2", 1),
        (b"RCPTMAX=0 RCPTDOMAINMAX=x", 5),
    ],
)
def test_room_for_recipients(limits: bytes, room: int) -> None:
    session = Net().session(b"250-b\r\n250 LIMITS " + limits + b"\r\n")
    names = ("a@one", "b@one", "c@two", "d@one", "e@three")
    assert session.room([box(f"{name}.example") for name in names]) == room


def test_domains_are_counted_over_the_whole_session() -> None:
    net = Net()
    session = net.session(b"250-b\r\n250-PIPELINING\r\n250 LIMITS RCPTDOMAINMAX=1\r\n")
    Result(session.send(attempt(Content.of(b"x\n"))))
    net.says(b"250 m\r\n250 r\r\n354 go\r\n", b"250 kept\r\n")
    assert session.room([box("x@b.example"), box("x@other.example")]) == 1
    assert session.room([box("x@other.example")]) == 0


def test_lmtp_answers_are_about_one_recipient_each() -> None:
    net = Net()
    result = Result(net.connector.connect(PEER, replace(CLEAR, lmtp=True)))
    net.accept()
    net.says(b"220 hi\r\n", b"250-b\r\n250 PIPELINING\r\n")
    assert net.heard() == b"LHLO me.example.org\r\n"
    sent = Result(result.value.send(attempt(Content.of(b"x\n"), "anna", "bob", "carl")))
    net.says(b"250 m\r\n250 r\r\n250 r\r\n250 r\r\n354 go\r\n", b"250 kept\r\n", b"552 5.2.2 full\r\n")
    net.loses()
    assert [(one.klass, one.scope, one.uncertain) for one in sent.outcomes] == [
        (Klass.SUCCESS, Scope.RECIPIENT, False),
        (Klass.PERMANENT, Scope.RECIPIENT, False),
        (Klass.TRANSIENT, Scope.HOST, True),
    ]


def test_a_socket_of_this_machine() -> None:
    net = Net()
    peer = Peer("localhost", "unix:/run/lmtp", 0)
    Result(net.connector.connect(peer, CLEAR))
    assert net.reactor.unixClients[0][0] == "/run/lmtp"
    assert str(peer) == "unix:/run/lmtp"


def test_the_duty_to_report_goes_with_the_message_where_dsn_is_offered() -> None:
    for offers, passed in ((CHUNKING, False), (ESMTP + b"250-DSN\r\n250 CHUNKING\r\n", True)):
        net = Net()
        result = Result(net.session(offers).send(attempt(Content.of(b"x\n"))))
        net.says(TAKEN)
        assert result.outcomes[0].dsn_passed is passed


def test_lost_after_the_final_dot() -> None:
    net = Net()
    session = net.session()
    result = Result(session.send(attempt(Content.of(b"x\r\n"))))
    net.says(b"250 m\r\n250 r\r\n354 go\r\n")
    net.loses()
    assert result.outcomes[0].uncertain
    assert result.outcomes[0].status == Status(4, 4, 2)
    assert not session.usable


def test_a_message_over_a_session_that_is_gone() -> None:
    net = Net()
    session = net.session()
    net.loses()
    result = Result(session.send(attempt(Content.of(b"x\r\n"), "anna", "bob")))
    assert [(outcome.klass, outcome.scope) for outcome in result.outcomes] == [(Klass.TRANSIENT, Scope.HOST)] * 2
    assert session.sent == 0


@pytest.mark.parametrize(
    ("replies", "seconds", "what"),
    [
        ((), 300, "the connection"),
        ((b"220 hi\r\n",), 300, "EHLO"),
        ((b"220 hi\r\n", b"250-half a reply\r\n"), 300, "EHLO"),
    ],
)
def test_a_silent_host_before_the_message(replies: Sequence[bytes], seconds: float, what: str) -> None:
    net = Net()
    result = Result(net.connector.connect(PEER, CLEAR))
    net.accept()
    net.says(*replies)
    net.reactor.advance(seconds - 1)
    assert not result.values
    net.reactor.pump([2, 0])
    assert what in result.value.text
    assert result.value.status == Status(4, 4, 2)
    assert net.transport.aborted


@pytest.mark.parametrize(("replies", "seconds"), [((), 300), ((b"250 m\r\n250 r\r\n",), 120)])
def test_a_silent_host_within_a_message(replies: Sequence[bytes], seconds: float) -> None:
    net = Net()
    result = Result(net.session().send(attempt(Content.of(b"x\r\n"))))
    net.says(*replies)
    net.reactor.advance(seconds - 1)
    assert not result.values
    net.reactor.advance(2)
    assert result.outcomes[0].klass is Klass.TRANSIENT
    assert not result.outcomes[0].uncertain


def test_a_silent_host_after_the_message() -> None:
    net = Net()
    result = Result(net.session().send(attempt(Content.of(b"x\r\n"))))
    net.says(b"250 m\r\n250 r\r\n354 go\r\n")
    net.reactor.advance(599)
    assert not result.values
    net.reactor.advance(2)
    assert result.outcomes[0].uncertain


def test_octets_without_a_reply_do_not_extend_the_wait() -> None:
    net = Net()
    result = Result(net.connector.connect(PEER, CLEAR))
    net.accept()
    for _ in range(4):
        net.reactor.advance(100)
        if not net.transport.aborted:
            net.says(b"2")
    assert result.value.status == Status(4, 4, 2)


def test_an_idle_session_has_no_deadline() -> None:
    net = Net()
    net.session()
    assert net.reactor.getDelayedCalls() == []


def test_a_content_from_disk_waits_for_the_peer() -> None:
    net = Net()
    result = Result(net.session().send(attempt(FromDisk(b"one\n", b".two\n", b"three\n"))))
    net.transport.clear()
    net.far.dataReceived(b"250 m\r\n250 r\r\n")
    net.fill()
    net.says(b"354 go\r\n")
    assert net.heard() == b"one\r\n"
    net.transport.producer.resumeProducing()
    assert net.heard() == b"..two\r\n"
    net.transport.producer.resumeProducing()
    assert net.heard() == b"three\r\n"
    net.transport.producer.resumeProducing()
    assert net.heard() == b".\r\n"
    assert net.transport.producer is None
    net.says(b"250 kept\r\n")
    assert result.outcomes[0].klass is Klass.SUCCESS


def test_a_large_content_in_memory_waits_too() -> None:
    net = Net()
    content = Content()
    for _ in range(3):
        content.write(b"x" * (AT_ONCE // 2) + b"\n")
    Result(net.session().send(attempt(content)))
    net.fill()
    net.heard()
    net.says(b"250 m\r\n250 r\r\n354 go\r\n")
    assert len(net.heard()) == AT_ONCE // 2 + 2


def test_a_peer_that_stops_reading_runs_out_of_time() -> None:
    net = Net()
    result = Result(net.session().send(attempt(FromDisk(b"one\n", b"two\n"))))
    net.fill()
    net.says(b"250 m\r\n250 r\r\n354 go\r\n")
    net.reactor.advance(179)
    assert not result.values
    net.reactor.advance(2)
    assert "the content within 180 s" in result.outcomes[0].text
    assert not result.outcomes[0].uncertain
    assert net.transport.aborted


def test_refused_while_the_content_is_on_its_way() -> None:
    net = Net()
    result = Result(net.session().send(attempt(FromDisk(b"one\n", b"two\n"))))
    net.fill()
    net.says(b"250 m\r\n250 r\r\n354 go\r\n", b"552 5.3.4 too big\r\n")
    assert (result.outcomes[0].klass, result.outcomes[0].status) == (Klass.PERMANENT, Status(5, 3, 4))
    assert net.transport.producer is None


def test_a_content_that_cannot_be_read_never_gets_its_dot() -> None:
    net = Net()
    session = net.session(b"250-b\r\n250-8BITMIME\r\n250 PIPELINING\r\n")
    result = Result(session.send(attempt(FromDisk(b"one\n", OSError("bad sector")), "anna", "bob")))
    net.heard()
    net.says(b"250 m\r\n250 r\r\n550 5.1.1 no\r\n354 go\r\n")
    assert net.heard() == b"one\r\n"
    assert net.transport.aborted
    ours, refused = result.outcomes
    assert (ours.klass, ours.scope, ours.status) == (Klass.TRANSIENT, Scope.MESSAGE, Status(4, 3, 0))
    assert "bad sector" in ours.text
    assert refused.klass is Klass.PERMANENT


def test_asked_for_content_and_closed_at_once() -> None:
    net = Net()
    result = Result(net.session().send(attempt(Content.of(b"x\r\n"))))
    net.says(b"250 m\r\n250 r\r\n354 go\r\n421 or rather not\r\n")
    assert result.outcomes[0].remote_reply == "421 or rather not"


def test_cancelled_while_it_connects() -> None:
    net = Net()
    result = Deferred.fromCoroutine(net.connector.connect(PEER, CLEAR))
    failed: list[Failure] = []
    result.addErrback(failed.append)
    net.accept()
    result.cancel()
    assert net.transport.aborted
    net.reactor.advance(0)
    assert failed[0].check(CancelledError)
    assert net.reactor.getDelayedCalls() == []


@pytest.mark.parametrize("replies", [(), (b"250 m\r\n250 r\r\n354 go\r\n",)])
def test_cancelled_within_a_message(replies: Sequence[bytes]) -> None:
    net = Net()
    session = net.session()
    result = Deferred.fromCoroutine(session.send(attempt(Content.of(b"x\r\n"))))
    failed: list[Failure] = []
    result.addErrback(failed.append)
    net.says(*replies)
    result.cancel()
    assert net.transport.aborted
    assert not session.usable
    net.reactor.advance(0)
    assert failed[0].check(CancelledError)


def test_cancelled_while_the_peer_does_not_read() -> None:
    net = Net()
    result = Deferred.fromCoroutine(net.session().send(attempt(FromDisk(b"one\n", b"two\n"))))
    failed: list[Failure] = []
    result.addErrback(failed.append)
    net.fill()
    net.says(b"250 m\r\n250 r\r\n354 go\r\n")
    result.cancel()
    assert net.transport.aborted
    assert net.transport.producer is None
    net.reactor.advance(0)
    assert failed[0].check(CancelledError)


class Failing:
    """An endpoint whose connections fail with `error`."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def connect(self, factory: Any) -> Deferred[Any]:
        return fail(self.error)


@pytest.mark.parametrize(
    ("error", "phase", "status"),
    [
        (DNSLookupError("no results"), Phase.LOOKUP, Status(4, 4, 3)),
        (UnknownHostError("which?"), Phase.LOOKUP, Status(4, 4, 3)),
        (ConnectionRefusedError(), Phase.CONNECT, Status(4, 4, 1)),
        (RuntimeError("a proxy of somebody's"), Phase.CONNECT, Status(4, 4, 1)),
    ],
)
def test_an_endpoint_that_fails(error: Exception, phase: Phase, status: Status) -> None:
    result = Result(Net().connector.connect(Peer("smtp.example", "", 0, Failing(error)), CLEAR))
    assert (result.value.phase, result.value.status) == (phase, status)
    assert str(error) in result.value.text


def test_a_transport_without_nagle() -> None:
    net = Net()
    Result(net.connector.connect(PEER, CLEAR))
    protocol = net.reactor.tcpClients[-1][2].buildProtocol(None)
    protocol.makeConnection(StringTransport())
    protocol.dataReceived(b"220 hi\r\n")
    assert protocol.transport.value() == b"EHLO me.example.org\r\n"
    protocol.dataReceived(b"421 bye\r\n")


def test_quit() -> None:
    net = Net()
    session = net.session()
    gone: list[None] = []
    session.quit().addCallback(gone.append)
    assert net.heard() == b"QUIT\r\n"
    net.says(b"221 bye\r\n")
    assert net.transport.disconnecting
    assert not net.transport.aborted
    assert gone == []
    net.loses()
    assert gone == [None]
    assert net.reactor.getDelayedCalls() == []


def test_quit_to_a_host_that_does_not_answer() -> None:
    net = Net()
    net.session().quit()
    net.reactor.advance(LINGER + 1)
    assert net.transport.disconnecting
    net.reactor.advance(LINGER + 1)
    assert net.transport.aborted


def test_a_host_that_does_not_close_is_cut() -> None:
    net = Net()
    result = Result(net.connector.connect(PEER, CLEAR))
    net.accept()
    net.says(b"554 no\r\n")
    assert net.transport.disconnecting
    assert not result.values
    net.reactor.advance(LINGER + 1)
    assert net.transport.aborted
    net.reactor.advance(0)
    assert result.value.klass is Klass.PERMANENT


def box(name: str, *asked: tuple[frozenset[str] | None, str | None]) -> Recipient:
    mailbox = Mailbox.parse(name)
    return Recipient(0, mailbox, tuple(Original(mailbox, notify, orcpt) for notify, orcpt in asked))


NEVER, FAILURE, SUCCESS = frozenset({"NEVER"}), frozenset({"FAILURE"}), frozenset({"SUCCESS"})


@pytest.mark.parametrize(
    ("asked", "notify", "orcpt"),
    [
        ((), None, None),
        (((None, None),), None, None),
        (((NEVER, "rfc822;a@b"),), NEVER, "rfc822;a@b"),
        (((NEVER, None), (NEVER, None)), NEVER, None),
        (((NEVER, "rfc822;a@b"), (FAILURE, "rfc822;c@d")), FAILURE, "rfc822;a@b"),
        (((SUCCESS, None), (FAILURE, None)), SUCCESS | FAILURE, None),
        (((SUCCESS, None), (None, None)), SUCCESS | FAILURE | frozenset({"DELAY"}), None),
    ],
)
def test_what_is_asked_of_the_next_host(asked: Any, notify: Any, orcpt: str | None) -> None:
    mail = attempt(Content.of(b"x\r\n"))
    recipient = box("x@b.example", *asked)
    (path,) = transaction_of(
        Attempt(mail.queue_id, mail.envelope, (recipient,), mail.content, mail.route, 0.0)
    ).recipients
    assert (path.notify, path.orcpt) == (notify, orcpt)


def test_the_route_may_bring_its_own_reverse_path() -> None:
    mail = attempt(Content.of(b"x\r\n"))
    forwarded = Route("smtp", "b.example", reverse_path=Mailbox("", None))
    again = Attempt(mail.queue_id, mail.envelope, mail.recipients, mail.content, forwarded, 0.0)
    assert transaction_of(again).reverse_path == Mailbox("", None)
    assert transaction_of(mail).reverse_path == mail.envelope.reverse_path


class TlsHost(LineReceiver):
    """A host with STARTTLS. ``factory.behind`` is said in clear behind the 220."""

    factory: Any

    def connectionMade(self) -> None:
        self.secure = False
        self.factory.open.append(self)
        self.sendLine(b"220 hi")

    def lineReceived(self, line: bytes) -> None:
        self.factory.heard.append((self.secure, line))
        if line == b"STARTTLS":
            self.transport.write(b"220 go\r\n" + self.factory.behind)
            if self.factory.broken:
                self.setRawMode()
            else:
                self.secure = True
                self.transport.startTLS(self.factory.context)
        elif line == b"QUIT":
            self.sendLine(b"221 bye")
            self.transport.loseConnection()
        else:
            self.sendLine(b"250-b\r\n250 AUTH PLAIN" if self.secure else b"250-b\r\n250 STARTTLS")

    def rawDataReceived(self, data: bytes) -> None:
        self.transport.write(b"what is this?\r\n")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.open.remove(self)
        if not self.factory.open and self.factory.empty:
            self.factory.empty.callback(None)


class TlsTests(TestCase):
    """Real sockets, real certificates."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(dir=self.mktemp_parent()))
        certificate, key = self_signed("mx.b.example", time.time())
        self.chain, self.key = self.directory / "chain.pem", self.directory / "key.pem"
        self.chain.write_bytes(certificate)
        self.key.write_bytes(key)
        self.factory: Any = Factory.forProtocol(TlsHost)
        self.factory.noisy = False
        self.factory.context = server_context(self.chain, self.key)
        self.factory.heard, self.factory.open, self.factory.empty = [], [], None
        self.factory.behind, self.factory.broken = b"", False
        self.port: Any = reactor.listenTCP(0, self.factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.connector = Connector(reactor, inline, ClientContexts())

    def mktemp_parent(self) -> str:
        parent = self.mktemp()
        Path(parent).mkdir(parents=True)
        return parent

    async def tearDown(self) -> None:
        await self.port.stopListening()
        if self.factory.open:
            self.factory.empty = Deferred()
            for one in set(self.factory.open):  # a session that a failed test has left
                one.transport.abortConnection()
            await self.factory.empty

    async def connect(self, host: str, mode: str, ca_file: str = "") -> ClientSession | Outcome:
        peer = Peer(host, "127.0.0.1", self.port.getHost().port)
        return await self.connector.connect(peer, SessionPlan("me", mode), ca_file)

    async def good(self, host: str, mode: str, ca_file: str = "") -> None:
        session = await self.connect(host, mode, ca_file)
        assert isinstance(session, ClientSession), session
        await session.quit()

    async def test_verified(self) -> None:
        await self.good("mx.b.example", "verified", str(self.chain))
        clear, secure = [(False, b"EHLO me"), (False, b"STARTTLS")], [(True, b"EHLO me"), (True, b"QUIT")]
        assert self.factory.heard == clear + secure

    async def test_verified_by_address(self) -> None:
        await self.good("127.0.0.1", "verified", str(self.chain))

    async def test_verified_and_the_name_is_another(self) -> None:
        outcome = await self.connect("other.example", "verified", str(self.chain))
        assert isinstance(outcome, Outcome)
        assert (outcome.klass, outcome.scope, outcome.status) == (Klass.TRANSIENT, Scope.HOST, Status(4, 7, 5))
        assert "it is for mx.b.example, localhost" in outcome.text
        assert self.factory.heard == [(False, b"EHLO me"), (False, b"STARTTLS")]

    async def test_verified_and_the_authority_is_unknown(self) -> None:
        outcome = await self.connect("mx.b.example", "verified")
        assert isinstance(outcome, Outcome)
        assert outcome.status == Status(4, 7, 5)
        assert "self-signed" in outcome.text

    async def test_offered_is_verified_where_it_is_offered(self) -> None:
        await self.good("mx.b.example", "offered", str(self.chain))
        assert (True, b"EHLO me") in self.factory.heard
        outcome = await self.connect("mx.b.example", "offered")
        assert isinstance(outcome, Outcome)
        assert "self-signed" in outcome.text

    async def pinned(self, pin: str, **more: Any) -> ClientSession | Outcome:
        peer = Peer("other.example", "127.0.0.1", self.port.getHost().port)
        return await self.connector.connect(peer, SessionPlan("me", "pinned", pins=frozenset({pin}), **more))

    async def test_pinned(self) -> None:
        session = await self.pinned(certificate_pin(self.chain.read_bytes()))
        assert isinstance(session, ClientSession), session
        await session.quit()
        assert (True, b"EHLO me") in self.factory.heard

    async def test_pinned_and_it_is_another(self) -> None:
        outcome = await self.pinned("0" * 64)
        assert isinstance(outcome, Outcome)
        assert (outcome.status, outcome.phase) == (Status(4, 7, 5), Phase.TLS)
        assert certificate_pin(self.chain.read_bytes()) in outcome.text
        assert (True, b"EHLO me") not in self.factory.heard

    async def test_tls_from_the_first_octet(self) -> None:
        self.port.factory = TLSMemoryBIOFactory(self.factory.context, False, self.factory)
        session = await self.pinned(certificate_pin(self.chain.read_bytes()), implicit_tls=True)
        assert isinstance(session, ClientSession), session
        await session.quit()
        assert self.factory.heard == [(False, b"EHLO me"), (False, b"QUIT")]

    async def test_tls_that_the_endpoint_brings(self) -> None:
        self.port.factory = TLSMemoryBIOFactory(self.factory.context, False, self.factory)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        trust = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(self.chain.read_bytes())])
        wrapped = wrapClientTLS(ssl.optionsForClientTLS("mx.b.example", trust), endpoint)
        peer = Peer("mx.b.example", "", 0, wrapped)
        session = await self.connector.connect(peer, SessionPlan("me", "verified"))
        assert isinstance(session, ClientSession), session
        await session.quit()
        outcome = await self.connector.connect(peer, SessionPlan("me", "pinned", pins=frozenset({"0" * 64})))
        assert isinstance(outcome, Outcome)
        assert "not pinned" in outcome.text

    async def test_verified_and_no_file_of_authorities(self) -> None:
        outcome = await self.connect("mx.b.example", "verified", str(self.directory / "absent.pem"))
        assert isinstance(outcome, Outcome)
        assert "does not exist" in outcome.text
        assert self.factory.heard == []

    async def test_opportunistic_takes_any_certificate(self) -> None:
        await self.good("other.example", "opportunistic")
        assert (True, b"EHLO me") in self.factory.heard

    async def test_opportunistic_and_a_broken_handshake(self) -> None:
        self.factory.broken = True
        await self.good("mx.b.example", "opportunistic")
        first, second = [(False, b"EHLO me"), (False, b"STARTTLS")], [(False, b"EHLO me"), (False, b"QUIT")]
        assert self.factory.heard == first + second

    async def test_verified_and_a_broken_handshake(self) -> None:
        self.factory.broken = True
        outcome = await self.connect("mx.b.example", "verified", str(self.chain))
        assert isinstance(outcome, Outcome)
        assert outcome.status == Status(4, 7, 5)

    async def test_off(self) -> None:
        await self.good("mx.b.example", "off")
        assert self.factory.heard == [(False, b"EHLO me"), (False, b"QUIT")]

    async def test_replies_injected_behind_starttls(self) -> None:
        """CVE-2011-0411: in clear behind the 220, to be read as if they came over TLS."""
        self.factory.behind = b"250-b\r\n250 AUTH PLAIN\r\n"
        for mode in ("opportunistic", "verified"):
            outcome = await self.connect("mx.b.example", mode, str(self.chain))
            assert isinstance(outcome, Outcome)
            assert "in clear behind" in outcome.text
        assert (True, b"EHLO me") not in self.factory.heard
