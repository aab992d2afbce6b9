"""Row 9: what applications set on the factory, and on the protocol in a buildProtocol of their own."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.mail.imap4 import PLAINCredentials
from twisted.mail.protocols import ESMTPFactory as StockFactory
from twisted.mail.smtp import ESMTP

from mailserver.reception import ESMTPFactory
from tests.contract.application import Application, Delivery, DeliveryFactory
from tests.contract.differences import differs
from tests.contract.servers import CHALLENGERS, FROM, HELLO, MESSAGE, PLAIN, TO, Ours, Server, Stock, both, codes


@pytest.mark.parametrize("name", [b"mx.other.example", "mx.other.example"])
def test_the_domain_is_octets_or_text(name: bytes | str) -> None:
    for server in both(Application, lambda server: None, domain=name):
        server.factory.domain = name
        server.connect()
        assert "mx.other.example" in server.said()[0]
        server.talk(HELLO, FROM, b"RCPT TO:<postmaster>")
        assert server.app.users[0].dest.domain == b"mx.other.example"


@differs(
    9,
    "keys of `challengers` that are `str` are announced and then never found (or break EHLO)",
    "`bytes` and `str` are both fine",
)
def test_challengers_named_in_text() -> None:
    ours = Ours(Application(), challengers={"PLAIN": PLAINCredentials})
    assert codes(ours.talk(HELLO, PLAIN)) == [250, 235]
    stock = Stock(Application(), challengers={"PLAIN": PLAINCredentials})
    assert 235 not in codes(stock.talk(HELLO, PLAIN))


def test_a_timeout_of_the_factory() -> None:
    ours = Ours(Application(), timeout=30)
    ours.talk(HELLO)
    for _ in range(40):
        ours.clock.advance(1)
    assert codes(ours.said()) == [421]
    assert ours.transport.disconnecting


def test_no_timeout() -> None:
    ours = Ours(Application(), timeout=None)
    ours.talk(HELLO)
    for _ in range(2_000):
        ours.clock.advance(1)
    assert ours.said() == []
    assert not ours.transport.disconnecting


def test_nothing_ticks_without_a_connection() -> None:
    ours = Ours(Application())
    assert len(ours.clock.getDelayedCalls()) == 1
    ours.lose()
    assert ours.clock.getDelayedCalls() == []


class Setting:
    """A subclass whose buildProtocol sets what Twisted's own example sets."""

    app: Application
    attributes: dict[str, Any]

    def buildProtocol(self, addr: Any) -> Any:
        protocol = super().buildProtocol(addr)  # type: ignore[misc]
        protocol.timeout = None
        for name, value in self.attributes.items():
            setattr(protocol, name, value)
        return protocol


class StockSetting(Setting, StockFactory):
    protocol = ESMTP


class OurSetting(Setting, ESMTPFactory):
    protocol = ESMTP


class SettingStock(Stock):
    def make(self, portal: Any) -> Any:
        return self.prepared(StockSetting(None, None))

    def prepared(self, factory: Any) -> Any:
        factory.attributes = self.app.attributes(self.app)  # type: ignore[attr-defined]
        return factory


class SettingOurs(SettingStock):
    def make(self, portal: Any) -> Any:
        factory = OurSetting(reactor=self.clock, clock=self.clock)
        factory.clear_auth = True
        return self.prepared(factory)

    def adjust(self) -> None:
        pass


def talked(attributes: Any, *commands: bytes) -> tuple[Server, Server]:
    def app() -> Application:
        made = Application()
        made.attributes = attributes  # type: ignore[attr-defined]
        return made

    stock, ours = SettingStock(app()), SettingOurs(app())
    for server in (stock, ours):
        server.replies = server.talk(*commands)  # type: ignore[attr-defined]
        server.lose()
    assert ours.app.calls == stock.app.calls
    return stock, ours


def test_a_delivery_set_on_the_protocol_needs_no_login() -> None:
    _, ours = talked(lambda app: {"delivery": Delivery(app)}, *MESSAGE)
    assert ours.app.names()[0] == "validateFrom"
    assert ours.app.names()[-1] == "eomReceived"


def test_a_delivery_factory_set_on_the_protocol() -> None:
    _, ours = talked(lambda app: {"deliveryFactory": DeliveryFactory(app)}, *MESSAGE)
    assert ours.app.names()[:2] == ["getMessageDelivery", "validateFrom"]


def test_portal_host_and_challengers_set_on_the_protocol() -> None:
    _, ours = talked(
        lambda app: {"portal": app.portal(), "host": b"set.example", "challengers": CHALLENGERS},
        HELLO, PLAIN, FROM, TO,
    )  # fmt: skip
    assert [args[0] for args in ours.app.arguments("login")] == ["PLAINCredentials"]
    assert ours.app.users[0].protocol.host == b"set.example"


def test_a_context_set_on_the_protocol() -> None:
    stock, ours = talked(lambda app: {"delivery": Delivery(app), "ctx": object()}, HELLO, b"STARTTLS")
    assert stock.transport.tls
    assert ours.transport.tls
    _, ours = talked(lambda app: {"delivery": Delivery(app)}, HELLO, b"STARTTLS")
    assert not ours.transport.tls


def test_a_login_replaces_a_delivery_that_was_set() -> None:
    _, ours = talked(
        lambda app: {"delivery": Delivery(app), "portal": app.portal(), "challengers": CHALLENGERS},
        HELLO, FROM, b"RSET", PLAIN, FROM,
    )  # fmt: skip
    assert ours.app.names() == ["validateFrom", "login", "requestAvatar", "validateFrom", "logout"]


def test_nobody_to_ask_is_a_refusal_of_the_sender() -> None:
    for server in talked(lambda app: {}, HELLO, FROM, FROM):
        assert codes(server.replies) == [250, 550, 550]  # type: ignore[attr-defined]
