"""Sending at once, over real sockets: same octets, same order, nothing lost where the kernel is slow."""

from __future__ import annotations

import hashlib

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from mailserver.net import atonce


class Speaker(Protocol):
    def connectionMade(self) -> None:
        digest = hashlib.sha256()
        for number in range(3000):
            piece = b"%06d " % number * (1 + number % 97)
            digest.update(piece)
            atonce.send(self.transport, piece)
        self.factory.digest = digest.hexdigest()
        self.transport.loseConnection()


class Hearer(Protocol):
    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.done: Deferred[str] = Deferred()

    def connectionMade(self) -> None:
        # A slow reader: the kernel's buffer fills, and the rest has to be queued.
        self.transport.pauseProducing()
        reactor.callLater(0.05, self.transport.resumeProducing)

    def dataReceived(self, data: bytes) -> None:
        self.digest.update(data)

    def connectionLost(self, reason: object = None) -> None:
        self.done.callback(self.digest.hexdigest())


class OverSockets(TestCase):
    timeout = 20

    async def test_octets_arrive_whole_and_in_order(self) -> None:
        factory = Factory.forProtocol(Speaker)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        hearer = Hearer()
        client = Factory()
        client.buildProtocol = lambda address: hearer
        from twisted.internet.endpoints import TCP4ClientEndpoint

        await TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port).connect(client)
        heard = await hearer.done
        await port.stopListening()
        assert heard == factory.digest


def test_any_other_transport_gets_write() -> None:
    transport = StringTransport()
    atonce.send(transport, b"220 hi\r\n")
    assert transport.value() == b"220 hi\r\n"
