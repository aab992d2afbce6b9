"""Connections in memory behave as Twisted's do: order, ends, back-pressure, time-outs, TLS."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import (
    CannotListenError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from mailserver.testing.certificates import shared_certificates
from mailserver.testing.connection import BUFFER
from mailserver.testing.reactor import MemoryReactor

PLACE = ("192.0.2.1", 25)


class End(Protocol):
    transport: Any

    def __init__(self) -> None:
        self.came = b""
        self.lost: list[type[BaseException]] = []
        self.calls: list[str] = []

    def dataReceived(self, data: bytes) -> None:
        self.came += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.append(type(reason.value))

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


@implementer(IHalfCloseableProtocol)
class HalfEnd(End):
    def readConnectionLost(self) -> None:
        self.calls.append("read lost")

    def writeConnectionLost(self) -> None:
        self.calls.append("write lost")


class Pair:
    """A client and a server, connected through an endpoint."""

    def __init__(self, server: End) -> None:
        self.reactor = MemoryReactor()
        self.client, self.server = End(), server
        self.port = self.reactor.listenTCP(PLACE[1], Factory.forProtocol(lambda: server), interface=PLACE[0])
        endpoint = TCP4ClientEndpoint(self.reactor, *PLACE, bindAddress=("192.0.2.9", 0))
        endpoint.connect(Factory.forProtocol(lambda: self.client))
        self.reactor.settle()


@pytest.fixture
def pair() -> Pair:
    return Pair(End())


def test_octets_both_ways_in_order_and_not_at_once(pair: Pair) -> None:
    pair.client.transport.write(b"a")
    pair.client.transport.writeSequence([b"b", b"c"])
    pair.server.transport.write(b"x")
    assert pair.server.came == b""
    pair.reactor.settle()
    assert (pair.server.came, pair.client.came) == (b"abc", b"x")
    assert (pair.server.transport.getPeer().host, pair.client.transport.getPeer().port) == ("192.0.2.9", 25)


def test_what_was_written_arrives_before_the_end(pair: Pair) -> None:
    pair.client.transport.write(b"last words")
    pair.client.transport.loseConnection()
    pair.client.transport.write(b"too late")
    pair.reactor.settle()
    assert (pair.server.came, pair.server.lost, pair.client.lost) == (
        b"last words", [ConnectionDone], [ConnectionDone],
    )  # fmt: skip


def test_an_abort_loses_what_is_under_way(pair: Pair) -> None:
    pair.server.transport.pauseProducing()
    pair.client.transport.write(b"lost")
    pair.client.transport.abortConnection()
    pair.reactor.settle()
    assert (pair.server.came, pair.server.lost, pair.client.lost) == (b"", [ConnectionLost], [ConnectionAborted])


def test_whoever_can_still_write_hears_of_the_other_half_only() -> None:
    pair = Pair(HalfEnd())
    pair.client.transport.loseConnection()
    pair.reactor.settle()
    assert (pair.server.calls, pair.server.lost) == (["read lost"], [])
    pair.server.transport.loseConnection()
    pair.reactor.settle()
    assert pair.server.lost == [ConnectionDone]


def test_a_producer_pauses_while_nobody_reads(pair: Pair) -> None:
    pair.client.transport.registerProducer(pair.client, True)
    pair.server.transport.pauseProducing()
    pair.client.transport.write(b"x" * (BUFFER + 1))
    pair.reactor.settle()
    assert (pair.client.calls, pair.server.came) == (["pause"], b"")
    pair.server.transport.resumeProducing()
    pair.reactor.settle()
    assert (pair.client.calls, len(pair.server.came)) == (["pause", "resume"], BUFFER + 1)


def test_a_close_waits_for_the_producer(pair: Pair) -> None:
    pair.client.transport.registerProducer(pair.client, True)
    pair.client.transport.loseConnection()
    pair.client.transport.write(b"still")
    pair.reactor.settle()
    assert (pair.server.came, pair.client.lost) == (b"still", [])
    pair.client.transport.unregisterProducer()
    pair.reactor.settle()
    assert pair.client.lost == [ConnectionDone]


def test_tls(pair: Pair) -> None:
    certificates = shared_certificates()
    creator = certificates.clients.creator("verified", "mx.kit.test", str(certificates.ca_file))
    raw: list[bytes] = []
    send = pair.client.transport.send
    pair.client.transport.send = lambda data: (raw.append(data), send(data))
    pair.server.transport.startTLS(certificates.context("mx.kit.test"))
    pair.client.transport.startTLS(creator)
    pair.client.transport.write(b"secret words")
    pair.reactor.settle()
    assert pair.server.came == b"secret words"
    assert b"secret words" not in b"".join(raw)
    assert pair.client.transport.getPeerCertificate() is not None
    pair.client.transport.loseConnection()
    pair.reactor.settle()
    assert (pair.server.lost, pair.client.lost) == ([ConnectionDone], [ConnectionDone])


def failure_of(reactor: MemoryReactor, timeout: float = 30) -> list[type[BaseException]]:
    failures: list[Any] = []
    connecting = TCP4ClientEndpoint(reactor, *PLACE, timeout=timeout).connect(Factory.forProtocol(End))
    connecting.addErrback(failures.append)
    reactor.settle()
    while not failures and reactor.next_call() < 100:
        reactor.pass_time(reactor.next_call())
    return [failure.type for failure in failures]


def test_nobody_listens(pair: Pair) -> None:
    pair.port.stopListening()
    assert failure_of(pair.reactor) == [ConnectionRefusedError]


def test_nobody_answers(pair: Pair) -> None:
    pair.reactor.silence(PLACE[0])
    assert failure_of(pair.reactor, timeout=7) == [ConnectTimeout]
    assert pair.reactor.seconds() == 7


def test_an_attempt_that_is_given_up(pair: Pair) -> None:
    pair.reactor.silence(PLACE[0])
    connecting = TCP4ClientEndpoint(pair.reactor, *PLACE).connect(Factory.forProtocol(End))
    connecting.addErrback(lambda failure: None)
    connecting.cancel()
    assert pair.reactor.getDelayedCalls() == []


def test_one_listens_at_a_place(pair: Pair) -> None:
    with pytest.raises(CannotListenError):
        pair.reactor.listenTCP(PLACE[1], Factory.forProtocol(End), interface=PLACE[0])
    free = pair.reactor.listenTCP(0, Factory.forProtocol(End), interface=PLACE[0])
    assert free.getHost().port > 1024


def test_what_a_protocol_raises_is_raised_in_the_test(pair: Pair) -> None:
    def broken(data: bytes) -> None:
        raise RuntimeError("a bug")

    pair.server.dataReceived = broken  # type: ignore[method-assign]
    pair.client.transport.write(b"x")
    with pytest.raises(RuntimeError, match="a bug"):
        pair.reactor.settle()


def test_calls_without_end_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailserver.testing.reactor._MOST_CALLS", 1000)
    reactor = MemoryReactor()

    def again() -> None:
        reactor.callLater(0, again)

    again()
    with pytest.raises(RuntimeError, match="without end"):
        reactor.settle()
