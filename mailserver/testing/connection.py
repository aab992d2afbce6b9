"""One end of a connection in memory: Twisted's TCP transport as far as our protocols use it.

What one end writes, the other receives in a later turn, so that nothing is re-entered and order is kept. An end
that does not read makes its peer's producer pause. TLS is the real thing: Twisted's TLS protocol between two
ends, with OpenSSL in memory.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, ISSLTransport, ITCPTransport
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

# What may be under way before a producer is asked to pause.
BUFFER = 65_536


class Turns(Protocol):
    """The reactor, as far as a connection needs it."""

    def callFromThread(self, function: Any, *args: Any) -> None:
        """Later, in order."""


@implementer(ITCPTransport, IConsumer)
class Connection:
    """The end that `protocol` holds; `client` says which side it is in TLS."""

    peer: Connection

    def __init__(self, reactor: Turns, protocol: Any, here: Any, there: Any, client: bool) -> None:
        self.protocol = protocol
        self.connected = True
        self.disconnecting = False
        self._reactor = reactor
        self._here, self._there = here, there
        self._client = client
        self._incoming: list[bytes] = []
        self._expected = False
        self._reading = True
        self._eof = False
        self._producer: Any = None
        self._streaming = False
        self._waits = False
        self._tls: TLSMemoryBIOProtocol | None = None

    def join(self, peer: Connection) -> None:
        """The two ends know each other from now on."""
        self.peer, peer.peer = peer, self

    def begin(self) -> None:
        """The protocol hears of its connection."""
        self.protocol.makeConnection(self)

    # ITransport.

    def write(self, data: bytes) -> None:
        """Send."""
        if self._tls is not None:
            self._tls.write(data)
        else:
            self.send(data)

    def writeSequence(self, pieces: Any) -> None:
        """Send all of it."""
        self.write(b"".join(pieces))

    def loseConnection(self, *_: object) -> None:
        """End it when all is sent and no producer is left."""
        if self._tls is not None:
            self._tls.loseConnection()
        else:
            self.close()

    def abortConnection(self) -> None:
        """End it now."""
        if self._tls is not None:
            self._tls.abortConnection()
        else:
            self.abort()

    def getPeer(self) -> Any:
        """The other address."""
        return self._there

    def getHost(self) -> Any:
        """Ours."""
        return self._here

    def getPeerCertificate(self) -> Any:
        """The peer's certificate under TLS, or None."""
        return self._tls.getPeerCertificate() if self._tls is not None else None

    def setTcpNoDelay(self, enabled: bool) -> None:
        """There is no delay."""

    def getTcpNoDelay(self) -> bool:
        """There is none."""
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing dies in silence here."""

    def getTcpKeepAlive(self) -> bool:
        """Not needed."""
        return False

    def loseWriteConnection(self) -> None:
        """We never close one side alone."""
        self.loseConnection()

    def startTLS(self, context: Any, normal: bool = True) -> bool:
        """From now on the protocol talks through TLS. `context` is a context factory or connection creator."""
        producer, streaming = self._producer, self._streaming
        if producer is not None:
            self.unregisterProducer()
        factory = TLSMemoryBIOFactory(context, self._client is normal, None, clock=self._reactor)  # type: ignore[arg-type]
        tls = TLSMemoryBIOProtocol(factory, self.protocol, False)
        self.protocol = self._tls = tls
        directlyProvides(self, providedBy(self), ISSLTransport)
        tls.makeConnection(_Clear(self))
        if producer is not None:
            tls.registerProducer(producer, streaming)
        return True

    # IConsumer, IPushProducer.

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """`producer` pauses while the peer does not read."""
        if self._tls is not None:
            self._tls.registerProducer(producer, streaming)
        else:
            self.produce(producer, streaming)

    def unregisterProducer(self) -> None:
        """It has sent all it has."""
        if self._tls is not None:
            self._tls.unregisterProducer()
        else:
            self.produced()

    def pauseProducing(self) -> None:
        """Stop reading."""
        self._reading = False

    def resumeProducing(self) -> None:
        """Read on."""
        self._reading = True
        self._expect()

    def stopProducing(self) -> None:
        """Twisted's word for closing."""
        self.loseConnection()

    # Below TLS.

    def send(self, data: bytes) -> None:
        """Octets for the peer."""
        if not self.connected or (self.disconnecting and self._producer is None) or not data:
            return
        peer = self.peer
        peer._incoming.append(data)
        peer._expect()
        if self._streaming and not self._waits and sum(map(len, peer._incoming)) > BUFFER:
            self._waits = True
            self._producer.pauseProducing()

    def produce(self, producer: Any, streaming: bool) -> None:
        """See `registerProducer`."""
        assert self._producer is None, "there is a producer already"
        self._producer, self._streaming, self._waits = producer, streaming, False
        if not self.connected:
            producer.stopProducing()
        elif not streaming:
            producer.resumeProducing()

    def produced(self) -> None:
        """See `unregisterProducer`."""
        self._producer, self._streaming, self._waits = None, False, False
        if self.disconnecting:
            self._finish()

    def close(self) -> None:
        """See `loseConnection`."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            if self._producer is None:
                self._finish()

    def _finish(self) -> None:
        self.peer._eof = True
        self.peer._expect()
        self._reactor.callFromThread(self._lost, ConnectionDone())

    def abort(self) -> None:
        """See `abortConnection`."""
        self.disconnecting = True
        self._incoming.clear()
        self._reactor.callFromThread(self._lost, ConnectionAborted())
        self._reactor.callFromThread(self.peer._lost, ConnectionLost())

    def _lost(self, why: Exception) -> None:
        if self.connected:
            self.connected, self.disconnecting = False, True
            self.protocol.connectionLost(Failure(why))

    def _expect(self) -> None:
        if not self._expected and self.connected:
            self._expected = True
            self._reactor.callFromThread(self._receive)

    def _receive(self) -> None:
        self._expected = False
        if not self._reading or not self.connected:
            return
        pieces, self._incoming = self._incoming, []
        if pieces and not self.disconnecting:
            self.protocol.dataReceived(b"".join(pieces))
        self.peer._drained()
        if self._eof and not self._incoming and self._reading:
            self._end_of_input()

    def _drained(self) -> None:
        if self._producer is not None and (self._waits or not self._streaming) and self.connected:
            self._waits = False
            self._producer.resumeProducing()

    def _end_of_input(self) -> None:
        self._eof = False
        if IHalfCloseableProtocol.providedBy(self.protocol) and not self.disconnecting:
            self.protocol.readConnectionLost()
        else:
            self._lost(ConnectionDone())


class _Clear:
    """What the TLS protocol holds: the connection below itself."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.write = connection.send
        self.loseConnection = connection.close
        self.abortConnection = connection.abort
        self.registerProducer = connection.produce
        self.unregisterProducer = connection.produced

    def writeSequence(self, pieces: Any) -> None:
        """Send all of it."""
        self.write(b"".join(pieces))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)
