"""Peers that never come to an end: lines without one, handshakes that stand still, replies that nobody reads.

Memory stays flat, nothing is waited for beyond its deadline, and the session is gone afterwards.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.protocol import ClientCreator, Protocol
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from mailserver.net.server import MAX_BUFFERED, MAX_UNSENT
from mailserver.net.tls import self_signed, server_context
from mailserver.reception.factory import HEADER_TIME, ReceptionFactory
from mailserver.settings.listener import Certificate, Listener
from mailserver.settings.model import Reception, Settings
from tests.harness.reception import Kit

# What Twisted reads from a socket at once.
_READ = 65_536
HELLO_OF_512 = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 32 + b"\0" * 400


def made(tls: str = "none", **more: Any) -> tuple[Kit, ReceptionFactory]:
    """A listener with no bound on commands: what is bounded here is memory and time."""
    kit = Kit()
    listener = Listener(role="mx", listen=["127.0.0.1:2525"], tls=tls, idle_timeout=30, **more)
    certificate = Certificate(name="default", chain="chain.pem", key="key.pem")
    settings = Settings(
        instance=Path("none"), host_name="mx.mail.test", listeners=[listener], certificates=[certificate],
        reception=Reception(junk_limit=0, error_limit=0),
    )  # fmt: skip
    return kit, ReceptionFactory(settings, listener, kit.world, kit.portal)


def connected(factory: ReceptionFactory) -> tuple[StringTransport, Any]:
    transport = StringTransport()
    transport.startTLS = lambda context: None
    transport.protocol = factory.buildProtocol(transport.getPeer())
    transport.protocol.makeConnection(transport)
    return transport, transport.protocol


ENVELOPE = b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<anna@mail.test>\r\n"
WITHOUT_END = {
    "a command": (b"", b"x"),
    "a command with LF": (b"", b"x\n"),
    "a content line": (ENVELOPE + b"DATA\r\n", b"x"),
    "a refused content": (ENVELOPE + b"DATA\r\n\0\r\n", b"x\r\n"),
    "a BDAT line": (ENVELOPE + b"BDAT ", b"1"),
    "NUL": (b"", b"\0"),
    "CR": (b"", b"\r"),
}


@pytest.mark.parametrize("name", WITHOUT_END)
def test_what_has_no_end_is_ended(name: str) -> None:
    start, more = WITHOUT_END[name]
    kit, factory = made()
    transport, protocol = connected(factory)
    protocol.dataReceived(start)
    piece = more * (_READ // len(more))
    held = 0
    for _ in range(2000):
        protocol.dataReceived(piece)
        held = max(held, protocol.core.buffered)
        if transport.disconnecting:
            break
    assert transport.disconnecting
    assert held <= 2 * _READ
    assert transport.value().splitlines()[-1][:3] in (b"421", b"500", b"552")
    assert kit.intake.accepted == []
    assert len(transport.value()) < 10_000


def test_a_client_that_says_a_little_now_and_then_is_not_waited_for() -> None:
    """An octet is no progress in a command, however often one comes."""
    kit, factory = made()
    transport, protocol = connected(factory)
    protocol.dataReceived(b"EHLO c\r\n")
    for _ in range(40):
        kit.clock.advance(1)
        factory.tick()
        protocol.dataReceived(b"N")
    assert transport.disconnecting
    assert b"421 4.4.2" in transport.value()


class Quiet(Protocol):
    """A client that only connects."""

    transport: Any

    def __init__(self) -> None:
        self.closed = False
        self.received = 0

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.closed = True


async def until(condition: Any) -> None:
    """Turns of the reactor, until it holds."""
    while not condition():
        await deferLater(reactor, 0)


class OverSockets(TestCase):
    async def connect(self, factory: ReceptionFactory) -> Quiet:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        client = await ClientCreator(reactor, Quiet).connectTCP("127.0.0.1", port.getHost().port)
        await until(lambda: factory.connections.count)
        return client

    async def test_a_handshake_that_stands_still(self) -> None:
        kit, factory = made("implicit")
        chain, key = Path(self.mktemp()), Path(self.mktemp())
        for file, octets in zip((chain, key), self_signed("localhost", 1_700_000_000.0), strict=True):
            file.write_bytes(octets)
        factory.context = server_context(chain, key)
        client = await self.connect(factory)
        for octet in HELLO_OF_512[:60]:
            client.transport.write(bytes([octet]))
            kit.clock.advance(1)
            factory.tick()
            await deferLater(reactor, 0)
        await until(lambda: client.closed and not factory.connections.count)
        assert kit.log.named("session.closed")[0]["reason"] == "timed out: what we sent was not taken"
        assert kit.log.failures == []

    async def test_a_header_that_stands_still(self) -> None:
        kit, factory = made(proxy_from=["127.0.0.1"])
        client = await self.connect(factory)
        for octet in b"PROXY UNKNOWN x x"[: HEADER_TIME + 1]:
            client.transport.write(bytes([octet]))
            kit.clock.advance(1)
            factory.tick()
            await deferLater(reactor, 0)
        await until(lambda: client.closed and not factory.connections.count)
        assert client.received == 0
        assert kit.log.named("proxy.refused")[0]["reason"] == "it did not come in time"

    async def test_replies_that_nobody_reads(self) -> None:
        kit, factory = made()
        client = await self.connect(factory)
        await until(lambda: client.received)
        [session] = factory._sessions
        server, wire = session.protocol, session.protocol.transport
        client.transport.pauseProducing()
        wire.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        client.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        held: list[int] = []

        async def turn() -> None:
            """More commands, as far as the kernel takes them."""
            if not client.transport.dataBuffer and not client.transport._tempDataLen:
                client.transport.write(b"EHLO c.example\r\n" * 4096)
            held.append(server.core.buffered + len(wire.dataBuffer) + wire._tempDataLen)
            await deferLater(reactor, 0)

        while not (server._unread and server._paused):
            await turn()
        for _ in range(200):
            await turn()
        # The kernel's own buffers are full, and we read no more.
        assert held[-100:] == [held[-1]] * 100
        assert max(held) < MAX_BUFFERED + 2 * MAX_UNSENT + 3 * _READ
        assert client.transport.dataBuffer or client.transport._tempDataLen
        # And it is not waited for without end.
        kit.clock.advance(31)
        factory.tick()
        await until(lambda: not factory.connections.count)
        assert kit.log.failures == []
        client.transport.abortConnection()
        await until(lambda: client.closed)
