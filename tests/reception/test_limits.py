from __future__ import annotations

import pytest

from mailserver.reception import limits
from mailserver.reception.limits import Connections, PerMinute, counted_as


def test_connections_in_all_are_bounded() -> None:
    connections = Connections(2, 0)
    assert connections.accept()
    assert connections.accept()
    assert not connections.accept()
    connections.leave()
    assert connections.accept()
    assert connections.count == 2


def test_connections_of_one_address_are_bounded() -> None:
    connections = Connections(10, 1)
    assert connections.claim("192.0.2.1")
    for _ in range(5):
        assert not connections.claim("192.0.2.1")
    assert connections.claim("192.0.2.2")
    connections.release("192.0.2.1")
    assert connections.claim("192.0.2.1")


def test_a_bound_of_none_for_one_address() -> None:
    connections = Connections(1, 0)
    assert all(connections.claim("192.0.2.1") for _ in range(100))


def test_events_of_a_minute_are_counted_for_each_address() -> None:
    rate = PerMinute(2)
    assert [rate.count("192.0.2.1", 0), rate.count("192.0.2.1", 10), rate.count("192.0.2.1", 59)] == [
        True,
        True,
        False,
    ]
    assert not rate.count("192.0.2.1", 59)
    assert rate.count("192.0.2.2", 59)
    assert rate.count("192.0.2.1", 60)


def test_zero_is_off() -> None:
    rate = PerMinute(0)
    assert all(rate.count("192.0.2.1", 0) for _ in range(1000))


def test_the_number_of_addresses_remembered_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(limits, "ADDRESSES", 3)
    rate = PerMinute(1)
    for number in range(10):
        assert rate.count(f"192.0.2.{number}", 0)
    assert not rate.count("192.0.2.9", 0)
    assert rate.count("192.0.2.0", 0)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("no:address", "no:address"),
    ],
)
def test_who_is_counted(address: str, name: str) -> None:
    assert counted_as(address) == name


def test_all_addresses_of_a_64_are_one_client() -> None:
    rate, connections = PerMinute(1), Connections(10, 1)
    assert rate.count("2001:db8::1", 0)
    assert not rate.count("2001:db8::2", 0)
    assert rate.count("2001:db8:0:1::1", 0)
    assert connections.claim("2001:db8::1")
    assert not connections.claim("2001:db8::2")
    connections.release("2001:db8::1")
    assert connections.claim("2001:db8::2")


def test_what_is_taken_back_was_not() -> None:
    rate = PerMinute(1)
    assert rate.count("192.0.2.1", 0)
    rate.forgive("192.0.2.1", 1)
    assert rate.count("192.0.2.1", 2)
    assert not rate.count("192.0.2.1", 3)
    # In another minute, or of somebody who did nothing, there is nothing to take back.
    rate.forgive("192.0.2.1", 60)
    rate.forgive("192.0.2.2", 60)
    assert [rate.count("192.0.2.2", 61), rate.count("192.0.2.2", 61)] == [True, False]
