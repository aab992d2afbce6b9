"""The same application behind a stock factory and behind ours, over memory wires."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import ITLSTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.mail.imap4 import LOGINCredentials, PLAINCredentials
from twisted.mail.protocols import ESMTPFactory as StockFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.interfaces import IClock
from mailserver.reception import ESMTPFactory
from tests.contract.application import PASSWORD, USER, Application

CHALLENGERS = {b"PLAIN": PLAINCredentials, b"LOGIN": LOGINCredentials}
CLIENT = IPv4Address("TCP", "192.0.2.7", 4000)
HELLO = b"EHLO client.example"
FROM, TO, TO_BERT = b"MAIL FROM:<x@far.example>", b"RCPT TO:<anna@here.example>", b"RCPT TO:<bert@here.example>"
CONTENT = (b"Subject: hi", b"", b"hello", b".")
MESSAGE = (HELLO, FROM, TO, b"DATA", *CONTENT)
PLAIN = b"AUTH PLAIN " + base64.b64encode(b"\0" + USER + b"\0" + PASSWORD)
BAD_PLAIN = b"AUTH PLAIN " + base64.b64encode(b"\0" + USER + b"\0wrong")


@implementer(ITLSTransport)
class MemoryTransport(StringTransport):
    """A wire on which STARTTLS changes nothing but a note."""

    def __init__(self) -> None:
        super().__init__(peerAddress=CLIENT)
        self.tls = False

    def startTLS(self, context: Any, normal: bool = True) -> None:
        self.tls = True


@implementer(IClock)
class TurnedClock(Clock):
    def wall(self) -> float:
        return self.seconds()

    def monotonic(self) -> float:
        return self.seconds()


class Server:
    """One connection to an application. ``kind`` is ``stock`` or ``ours``."""

    kind = ""

    def __init__(self, app: Application, **attributes: Any) -> None:
        self.app = app
        self.clock = TurnedClock()
        self.events: list[dict[str, Any]] = []
        factory = self.factory = self.make(app.portal())
        factory.domain = b"mx.here.example"
        factory.challengers = CHALLENGERS
        for name, value in attributes.items():
            setattr(factory, name, value)
        self.connect()

    def make(self, portal: Any) -> Any:
        raise NotImplementedError

    def connect(self) -> None:
        self.transport = MemoryTransport()
        self.protocol = self.factory.buildProtocol(CLIENT)
        self.adjust()
        self.protocol.makeConnection(self.transport)

    def adjust(self) -> None:
        """Before the connection is made."""

    def send(self, octets: bytes) -> list[str]:
        """All at once; the replies, a line each. What the stock server raises closes the connection, as it does
        under a real transport."""
        self.transport.clear()
        globalLogPublisher.addObserver(self.events.append)
        try:
            self.protocol.dataReceived(octets)
        except Exception:
            self.lose()
        finally:
            globalLogPublisher.removeObserver(self.events.append)
        return self.said()

    def talk(self, *commands: bytes) -> list[str]:
        """One after the other, each with time to be answered; the last line of each reply."""
        said = []
        for command in commands:
            lines = self.send(command + b"\r\n")
            self.clock.advance(1)
            lines += self.said()
            said += lines[-1:]
        return said

    def said(self) -> list[str]:
        said = self.transport.value().decode().splitlines()
        self.transport.clear()
        return said

    def lose(self) -> None:
        if self.transport.connected:
            self.transport.connected = False
            self.protocol.connectionLost(Failure(ConnectionError()))

    @property
    def culprits(self) -> list[str]:
        """Whom the log names."""
        return [event["culprit"] for event in self.events if "culprit" in event]


class Stock(Server):
    kind = "stock"

    def make(self, portal: Any) -> Any:
        return StockFactory(None, portal)

    def adjust(self) -> None:
        # Its time-out would stay behind in the reactor.
        self.protocol.timeout = None


class Ours(Server):
    kind = "ours"

    def make(self, portal: Any) -> Any:
        factory = ESMTPFactory(portal, reactor=self.clock, clock=self.clock)
        # What the stock one always does.
        factory.clear_auth = True
        return factory


def both(app: Callable[[], Application], dialogue: Callable[[Server], Any], **attributes: Any) -> list[Any]:
    """The dialogue with one application behind each: the stock server, then ours."""
    servers = [kind(app(), **attributes) for kind in (Stock, Ours)]
    for server in servers:
        dialogue(server)
    return servers


def same(app: Callable[[], Application], *commands: bytes, lose: bool = False) -> Application:
    """Both applications recorded the same calls; answers the one behind ours."""

    def dialogue(server: Server) -> None:
        server.talk(*commands)
        if lose:
            server.lose()

    stock, ours = both(app, dialogue)
    assert ours.app.calls == stock.app.calls
    assert stock.app.calls
    return ours.app


def codes(replies: Sequence[str]) -> list[int]:
    return [int(reply[:3]) for reply in replies]
