from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from mailserver.reception import refusals
from mailserver.reception.factory import ReceptionFactory, plain_address, profile_of
from mailserver.reception.limits import counted_as
from mailserver.settings.model import Limits, Listener, Reception, Settings
from tests.harness.reception import Kit

CLIENT = IPv4Address("TCP", "192.0.2.9", 1234)


def made(kit: Kit, listener: Listener | None = None, **sections: object) -> ReceptionFactory:
    listener = listener or Listener(role="mx", listen=["127.0.0.1:2525"])
    settings = Settings(instance=Path("none"), host_name="mx.mail.test", listeners=[listener], **sections)
    return ReceptionFactory(settings, listener, kit.world, kit.portal)


def connected(factory: ReceptionFactory, address: object = CLIENT) -> tuple[object, StringTransport]:
    transport = StringTransport()
    protocol = factory.buildProtocol(address)
    protocol.makeConnection(transport)
    return protocol, transport


def test_a_session_is_greeted_and_gives_its_place_back() -> None:
    factory = made(Kit())
    protocol, transport = connected(factory)
    assert transport.value() == b"220 mx.mail.test ESMTP\r\n"
    assert factory.connections.count == 1
    protocol.connectionLost(Failure(ConnectionError()))
    assert factory.connections.count == 0


def test_one_connection_too_many_is_421_and_closed() -> None:
    listener = Listener(role="mx", listen=["127.0.0.1:2525"], max_connections_per_ip=1)
    factory = made(Kit(), listener)
    connected(factory)
    _, transport = connected(factory)
    assert transport.value() == refusals.TOO_MANY_CONNECTIONS.wire
    assert transport.disconnecting
    assert connected(factory, IPv4Address("TCP", "192.0.2.10", 1))[1].value().startswith(b"220")
    assert factory.connections.count == 2


def test_too_many_connections_in_a_minute() -> None:
    factory = made(Kit(), limits=Limits(connections_per_minute=1))
    connected(factory)
    assert connected(factory)[1].value().startswith(b"421")


def test_a_silent_client_is_told_and_cut_off() -> None:
    kit = Kit()
    listener = Listener(role="mx", listen=["127.0.0.1:2525"], idle_timeout=10)
    factory = made(kit, listener)
    _, transport = connected(factory)
    kit.clock.advance(9)
    factory.tick()
    assert not transport.disconnecting
    kit.clock.advance(2)
    transport.clear()
    factory.tick()
    assert transport.value().startswith(b"421 4.4.2")
    assert transport.disconnecting


def test_at_stop_idle_sessions_are_told_and_busy_ones_end_first() -> None:
    kit = Kit()
    factory = made(kit)
    idle, idle_transport = connected(factory)
    busy, busy_transport = connected(factory)
    busy.dataReceived(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<anna@mail.test>\r\nDATA\r\nSubject: x\r\n")
    done: list[None] = []
    factory.drained().addCallback(done.append)
    factory.hang_up(refusals.STOPPING)
    assert b"421 4.3.2" in idle_transport.value()
    assert b"421" not in busy_transport.value()
    busy.dataReceived(b"\r\nbody\r\n.\r\n")
    assert busy_transport.value().endswith(b"\r\n" + refusals.STOPPING.wire)
    assert len(kit.intake.accepted) == 1
    idle.connectionLost(Failure(ConnectionError()))
    assert done == []
    busy.connectionLost(Failure(ConnectionError()))
    assert done == [None]


def test_only_submission_offers_a_login_and_only_under_tls() -> None:
    listener = Listener(role="submission", listen=["127.0.0.1:2587"], tls="starttls")
    settings = Settings(instance=Path("none"), host_name="mx.mail.test", reception=Reception(max_recipients=7))
    portal = Kit().portal
    profile = profile_of(settings, listener, portal)
    assert b"AUTH" not in profile.hello(tls=False).wire
    assert b"AUTH PLAIN LOGIN" in profile.hello(tls=True).wire
    assert profile.limits.max_recipients == 7
    mx = profile_of(settings, Listener(role="mx", listen=["127.0.0.1:1"]), portal)
    assert b"AUTH" not in mx.hello(tls=True).wire


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("::ffff:192.0.2.9", "192.0.2.9"),
        ("::ffff:c000:209", "192.0.2.9"),
        ("192.0.2.9", "192.0.2.9"),
        ("2001:db8::1", "2001:db8::/64"),
    ],
)
def test_addresses_are_counted_in_one_form(host: str, plain: str) -> None:
    assert counted_as(plain_address(host)) == plain
    factory = made(Kit())
    connected(factory, IPv6Address("TCP", host, 1))
    assert factory.connections._by_address == {plain: 1}
