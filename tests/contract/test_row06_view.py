"""Row 6: user.protocol is a small view of the session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IProtocolFactory
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from zope.interface import implementer

from mailserver.reception.factory import ReceptionFactory
from mailserver.settings.listener import Listener
from mailserver.settings.model import Settings
from tests.contract.application import Application
from tests.contract.differences import differs
from tests.contract.servers import CLIENT, FROM, HELLO, PLAIN, TO, MemoryTransport, Ours, Server, Stock, both
from tests.harness.reception import Kit


def viewed(server: Server) -> dict[str, object]:
    protocol = server.app.users[-1].protocol
    return {
        "peer": protocol.transport.getPeer(),
        "host": protocol.transport.getHost(),
        "factory": protocol.factory is server.factory,
        "portal": protocol.portal is server.factory.portal,
        "name": protocol.host,
        "delivery": type(protocol.delivery).__name__,
        "authenticated": protocol.authenticated,
        "startedTLS": protocol.startedTLS,
    }


@pytest.mark.parametrize("commands", [(), (PLAIN,), (b"STARTTLS", HELLO), (b"STARTTLS", HELLO, PLAIN)])
@pytest.mark.parametrize("factory", [False, True])
def test_what_it_offers(commands: tuple[bytes, ...], factory: bool) -> None:
    stock, ours = both(
        lambda: Application(avatar_is_factory=factory),
        lambda server: server.talk(HELLO, *commands, FROM, TO),
        context=object(),
    )
    assert viewed(ours) == viewed(stock)
    assert viewed(ours)["peer"] == CLIENT
    assert viewed(ours)["authenticated"] is (PLAIN in commands)


def test_the_delivery_is_that_of_the_transaction() -> None:
    ours = Ours(Application(avatar_is_factory=True))
    ours.talk(HELLO, FROM, TO)
    first = ours.app.users[-1].protocol.delivery
    ours.talk(b"RSET", FROM, TO)
    assert ours.app.users[-1].protocol.delivery is not first


def test_one_view_for_each_session() -> None:
    ours = Ours(Application())
    ours.talk(HELLO, FROM, TO)
    ours.app.users[0].protocol.note = "mine"
    ours.talk(b"RSET", FROM, TO)
    assert ours.app.users[1].protocol.note == "mine"


@differs(
    6,
    "`user.protocol` is the protocol itself, and `transport.getPeerCertificate` is missing without TLS",
    "it is a view that cannot write to the client; `getPeerCertificate()` is None without TLS",
)
def test_it_is_not_the_engine() -> None:
    stock, ours = Stock(Application()), Ours(Application())
    for server in (stock, ours):
        server.talk(HELLO, FROM, TO)
    assert stock.app.users[0].protocol is stock.protocol
    assert not hasattr(stock.app.users[0].protocol.transport, "getPeerCertificate")
    view = ours.app.users[0].protocol
    assert view.transport.getPeerCertificate() is None
    assert not hasattr(view.transport, "write")
    assert not hasattr(view, "sendCode")


def behind_a_proxy(app: Application, **believed: object) -> Any:
    """Our listener, which believes the host that connects."""
    listener = Listener(role="mx", listen=["127.0.0.1:2525"], **believed)
    settings = Settings(instance=Path("none"), host_name="mx.here.example", listeners=[listener])
    return ReceptionFactory(settings, listener, Kit().world, app.portal())


def said_through(app: Application, factory: Any, *lines: bytes) -> tuple[Any, Any, Any]:
    """Who the application is told that the client is: by the view, and by validateFrom."""
    transport = MemoryTransport()
    transport.protocol = factory.buildProtocol(CLIENT)
    transport.protocol.makeConnection(transport)
    for line in (*lines, HELLO, FROM, TO):
        transport.protocol.dataReceived(line + b"\r\n")
    seen = app.users[-1].protocol.transport
    return seen.getPeer(), seen.getHost(), app.arguments("validateFrom")[-1][0]


def test_behind_a_proxy_the_peer_is_the_stated_client() -> None:
    header = b"PROXY TCP4 198.51.100.9 203.0.113.1 4321 25"
    peer, host = IPv4Address("TCP", "198.51.100.9", 4321), IPv4Address("TCP", "203.0.113.1", 25)
    expected = peer, host, (b"client.example", b"198.51.100.9")
    stock = Stock(Application())
    assert said_through(stock.app, HAProxyWrappingFactory(Quiet(stock.factory)), header) == expected
    app = Application()
    assert said_through(app, behind_a_proxy(app, proxy_from=["192.0.2.7"]), header) == expected
    app = Application()
    xclient = b"XCLIENT ADDR=198.51.100.9 PORT=4321 DESTADDR=203.0.113.1 DESTPORT=25"
    assert said_through(app, behind_a_proxy(app, xclient_from=["192.0.2.7"]), xclient) == expected


@implementer(IProtocolFactory)
class Quiet:
    """The stock factory, whose protocols would leave a time-out behind in the reactor."""

    def __init__(self, factory: Any) -> None:
        self.factory = factory
        self.doStart, self.doStop = factory.doStart, factory.doStop

    def buildProtocol(self, address: Any) -> Any:
        protocol = self.factory.buildProtocol(address)
        protocol.timeout = None
        return protocol
