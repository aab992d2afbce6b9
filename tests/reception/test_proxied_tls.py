"""The PROXY header before a TLS handshake, over sockets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientCreator, Protocol
from twisted.internet.ssl import ClientContextFactory
from twisted.trial.unittest import TestCase

from mailserver.net.tls import self_signed, server_context
from mailserver.reception.factory import ReceptionFactory
from mailserver.settings.listener import Certificate, Listener
from mailserver.settings.model import Settings
from tests.harness.reception import Kit

HEADERS = (
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 25\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x0f\xa0\0\x19",
)
MESSAGE = b"Subject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n"
COMMANDS = b"EHLO c.example\r\nMAIL FROM:<x@far.example>\r\nRCPT TO:<anna@mail.test>\r\nDATA\r\n" + MESSAGE


class Client(Protocol):
    """Says it all, once it is greeted, and reads to the end."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.closed: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        greeted, self.received = self.received.startswith(b"220 "), self.received + data
        if not greeted and self.received.startswith(b"220 "):
            self.transport.write(COMMANDS)

    def connectionLost(self, reason: Any = None) -> None:
        self.closed.callback(None)


class BeforeTls(TestCase):
    async def through(self, header: bytes, tls: str) -> Kit:
        kit = Kit()
        listener = Listener(role="mx", listen=["127.0.0.1:2525"], tls=tls, proxy_from=["127.0.0.0/8"])
        certificate = Certificate(name="default", chain="chain.pem", key="key.pem")
        settings = Settings(
            instance=Path("none"), host_name="mx.mail.test", listeners=[listener], certificates=[certificate]
        )
        factory = ReceptionFactory(settings, listener, kit.world, kit.portal)
        chain, key = Path(self.mktemp()), Path(self.mktemp())
        for file, octets in zip((chain, key), self_signed("localhost", 1_700_000_000.0), strict=True):
            file.write_bytes(octets)
        factory.context = server_context(chain, key)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        client = await ClientCreator(reactor, Client).connectTCP("127.0.0.1", port.getHost().port)
        client.transport.write(header)
        if tls == "implicit":
            # In the same segment: the end of the header has to be found without the help of a pause.
            client.transport.startTLS(ClientContextFactory())
        await client.closed
        await factory.drained()
        assert b"221 " in client.received
        assert kit.log.failures == []
        return kit

    async def test_the_header_comes_in_clear_and_tls_behind_it(self) -> None:
        for header in HEADERS:
            kit = await self.through(header, "implicit")
            [(envelope, content, _)] = kit.intake.accepted
            assert envelope.client_address == "192.0.2.7"
            assert b"from c.example ([192.0.2.7])\n\tby mx.mail.test with ESMTPS id " in content
            assert kit.log.named("client.early") == [], "a ClientHello is no early talk"

    async def test_without_tls(self) -> None:
        for header in HEADERS:
            kit = await self.through(header, "none")
            [(envelope, _, _)] = kit.intake.accepted
            assert envelope.client_address == "192.0.2.7"
