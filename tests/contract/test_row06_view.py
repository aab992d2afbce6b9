"""Row 6: user.protocol is a small view of the session."""

from __future__ import annotations

import pytest

from tests.contract.application import Application
from tests.contract.differences import differs
from tests.contract.servers import CLIENT, FROM, HELLO, PLAIN, TO, Ours, Server, Stock, both


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
