"""From a destination to hosts, with DNS as a table."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from mailserver.message.outcome import Klass, Outcome, Scope
from mailserver.net.client import Peer
from mailserver.net.resolver import LookupTransient, NameNotFound
from mailserver.smtp.status import Status
from mailserver.transport.hosts import MAX_ADDRESSES, HostFinder, HostRules

GONE, BROKEN = "gone", "broken"


class Zone:
    """A resolver whose table holds records, or GONE (NXDOMAIN), or BROKEN (no answer). Absent is GONE."""

    def __init__(self, **records: Any) -> None:
        self.records = {tuple(key.rsplit("__", 1)): value for key, value in records.items()}
        self.asked: list[tuple[str, str]] = []

    async def query(self, name: str, kind: str) -> Sequence[Any]:
        self.asked.append((name, kind))
        key = name.removesuffix(".example").replace(".", "_")
        known = any(known_name == key for known_name, _ in self.records)
        found = self.records.get((key, kind), () if known else GONE)
        if found == GONE:
            raise NameNotFound(f"{name} does not exist")
        if found == BROKEN:
            raise LookupTransient(f"{name}: silence")
        assert not isinstance(found, str)
        return list(found)


def find(destination: str, zone: Zone, rules: HostRules | None = None, seed: int = 1) -> Any:
    finder = HostFinder(zone, rules or HostRules("me.example"), Random(seed))  # type: ignore[arg-type]  # a table
    found: list[Any] = []
    Deferred.fromCoroutine(finder.find(destination)).addCallback(found.append)
    return found[0]


def hosts(found: Any) -> list[str]:
    assert not isinstance(found, Outcome), found
    return [peer.host for peer in found]


def addresses(found: Any) -> list[str]:
    assert not isinstance(found, Outcome), found
    return [peer.address for peer in found]


def verdict(found: Any) -> tuple[Klass, Scope, Status]:
    assert isinstance(found, Outcome), found
    return found.klass, found.scope, found.status


@pytest.mark.parametrize(
    ("destination", "peer"),
    [
        ("[192.0.2.1]:2525", Peer("192.0.2.1", "192.0.2.1", 2525)),
        ("[192.0.2.1]", Peer("192.0.2.1", "192.0.2.1", 25)),
        ("[2001:db8::1]:2525", Peer("2001:db8::1", "2001:db8::1", 2525)),
        ("[IPv6:2001:db8::1]", Peer("2001:db8::1", "2001:db8::1", 25)),
    ],
)
def test_an_address_needs_no_dns(destination: str, peer: Peer) -> None:
    zone = Zone()
    assert find(destination, zone) == [peer]
    assert zone.asked == []


def test_a_named_host_has_no_mx() -> None:
    zone = Zone(relay__A=["192.0.2.1"], relay__MX=[(10, "elsewhere.example")])
    assert find("[relay.example]:587", zone) == [Peer("relay.example", "192.0.2.1", 587)]
    assert ("relay.example", "MX") not in zone.asked


@pytest.mark.parametrize("zone", [Zone(), Zone(relay__TXT=["x"]), Zone(relay__A=BROKEN)])
def test_a_named_host_without_address_returns_no_mail(zone: Zone) -> None:
    assert verdict(find("[relay.example]:587", zone)) == (Klass.TRANSIENT, Scope.DESTINATION, Status(4, 4, 3))


def test_mx_in_order() -> None:
    zone = Zone(
        b__MX=[(20, "two.example"), (10, "one.example."), (30, "Three.example")],
        one__A=["192.0.2.1"],
        two__A=["192.0.2.2"],
        three__A=["192.0.2.3"],
    )
    assert hosts(find("b.example", zone)) == ["one.example", "two.example", "three.example"]
    assert find("b.example", zone, HostRules("me.example", port=2525))[0].port == 2525


def test_equal_preferences_are_shuffled() -> None:
    names = [f"h{n}" for n in range(5)]
    zone = Zone(
        b__MX=[(10, f"{name}.example") for name in names], **{f"{name}__A": ["192.0.2.1"] for name in names}
    )
    orders = {tuple(hosts(find("b.example", zone, seed=seed))) for seed in range(20)}
    assert len(orders) > 5
    assert {frozenset(order) for order in orders} == {frozenset(f"{name}.example" for name in names)}


def test_the_domain_itself_where_it_has_no_mx() -> None:
    assert find("b.example", Zone(b__A=["192.0.2.1"])) == [Peer("b.example", "192.0.2.1", 25)]


def test_no_mx_and_no_address() -> None:
    assert verdict(find("b.example", Zone(b__TXT=["x"]))) == (Klass.PERMANENT, Scope.DESTINATION, Status(5, 1, 2))


def test_no_such_domain() -> None:
    assert verdict(find("b.example", Zone())) == (Klass.PERMANENT, Scope.DESTINATION, Status(5, 1, 2))


@pytest.mark.parametrize("root", ["", "."])
def test_null_mx(root: str) -> None:
    outcome = find("b.example", Zone(b__MX=[(0, root)], b__A=["192.0.2.1"]))
    assert verdict(outcome) == (Klass.PERMANENT, Scope.DESTINATION, Status(5, 1, 10))


@pytest.mark.parametrize(
    "zone",
    [
        Zone(b__MX=BROKEN),
        Zone(b__A=BROKEN),
        Zone(b__MX=[(10, "one.example"), (20, "two.example")], one__A=BROKEN, two__TXT=["x"]),
    ],
)
def test_no_answer_is_transient(zone: Zone) -> None:
    assert verdict(find("b.example", zone)) == (Klass.TRANSIENT, Scope.DESTINATION, Status(4, 4, 3))


def test_no_host_with_an_address() -> None:
    zone = Zone(b__MX=[(10, "one.example"), (20, "two.example")], two__TXT=["x"])
    assert verdict(find("b.example", zone)) == (Klass.PERMANENT, Scope.DESTINATION, Status(5, 4, 4))


def test_a_host_that_is_unknown_is_passed_over() -> None:
    zone = Zone(
        b__MX=[(10, "gone.example"), (15, "broken.example"), (20, "two.example")],
        broken__A=BROKEN,
        two__A=["192.0.2.2"],
    )
    assert hosts(find("b.example", zone)) == ["two.example"]


def test_one_family_that_answers_is_enough() -> None:
    assert addresses(find("b.example", Zone(b__A=["192.0.2.1"], b__AAAA=BROKEN))) == ["192.0.2.1"]


OURS = {"one__A": ["192.0.2.1"], "two__A": ["192.0.2.2"], "me__A": ["192.0.2.9"]}


def test_from_our_own_place_on_hosts_are_dropped() -> None:
    zone = Zone(b__MX=[(10, "one.example"), (20, "ME.example"), (20, "two.example"), (30, "two.example")], **OURS)
    assert hosts(find("b.example", zone)) == ["one.example"]


def test_our_own_place_is_the_best() -> None:
    zone = Zone(b__MX=[(10, "me.example"), (20, "two.example")], **OURS)
    assert verdict(find("b.example", zone)) == (Klass.PERMANENT, Scope.DESTINATION, Status(5, 4, 6))


FOUR, SIX = ["192.0.2.1", "192.0.2.2"], ["2001:db8::1", "2001:db8::2"]


@pytest.mark.parametrize(
    ("preference", "bound", "expected"),
    [
        ("any", "", [SIX[0], FOUR[0], SIX[1], FOUR[1]]),
        ("ipv4", "", FOUR + SIX),
        ("ipv6", "", SIX + FOUR),
        ("any", "192.0.2.9", FOUR),
        ("ipv4", "2001:db8::9", SIX),
    ],
)
def test_families(preference: str, bound: str, expected: list[str]) -> None:
    rules = HostRules("me.example", preference=preference, bind_address=bound)
    assert addresses(find("b.example", Zone(b__A=FOUR, b__AAAA=SIX), rules)) == expected


def test_bounds() -> None:
    many = [f"192.0.2.{n}" for n in range(1, 60)]
    assert len(find("b.example", Zone(b__A=many))) == MAX_ADDRESSES
    assert len(find("[b.example]:25", Zone(b__A=many))) == MAX_ADDRESSES
    zone = Zone(b__MX=[(n, f"h{n}.example") for n in range(50)])
    assert isinstance(find("b.example", zone), Outcome)
    assert len({name for name, kind in zone.asked if kind == "AAAA"}) == 10


def test_an_mx_that_is_an_address() -> None:
    assert addresses(find("b.example", Zone(b__MX=[(10, "192.0.2.7")]))) == ["192.0.2.7"]
