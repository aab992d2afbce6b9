"""Clients behind a proxy: whom a PROXY header or XCLIENT names is the client, to every limit and every rule."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.interfaces import ICheck
from mailserver.message.context import CheckContext
from mailserver.message.verdict import CONTINUE, Stage, Verdict, reject
from mailserver.reception import refusals
from mailserver.reception.factory import HEADER_TIME, ReceptionFactory
from mailserver.reception.limits import PerMinute
from mailserver.reception.pipeline import Pipeline
from mailserver.reception.world import Rates
from mailserver.settings.listener import Certificate, Listener
from mailserver.settings.model import Limits, Reception, Settings
from mailserver.smtp import replies
from mailserver.smtp.status import Status
from tests.harness.reception import ANNA, PASSWORD, Kit

PROXY = IPv4Address("TCP", "10.0.0.1", 33333)
STRANGER = IPv4Address("TCP", "192.0.2.200", 1234)
HERE = IPv4Address("TCP", "10.0.0.2", 2525)
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 25\r\n"
V2_LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
TO_ANNA = b"MAIL FROM:<x@far.example>\r\nRCPT TO:<anna@mail.test>\r\nDATA\r\n"
TEXT = b"Subject: x\r\n\r\n.\r\n"


class Door:
    """A listener that believes 10.0.0.0/24, in one way or in both."""

    def __init__(self, kit: Kit | None = None, *, role: str = "mx", believes: str = "both", **more: Any) -> None:
        self.kit = kit or Kit()
        networks = ["10.0.0.0/24"]
        believed = {name: networks for name in ("proxy_from", "xclient_from") if believes in (name, "both")}
        sections = {name: more.pop(name) for name in ("limits", "reception") if name in more}
        listener = Listener(role=role, listen=["127.0.0.1:2525"], **{**believed, **more})
        certificate = Certificate(name="default", chain="chain.pem", key="key.pem")
        settings = Settings(
            instance=Path("none"), host_name="mx.mail.test", listeners=[listener], certificates=[certificate],
            **sections,
        )  # fmt: skip
        self.factory = ReceptionFactory(settings, listener, self.kit.world, self.kit.portal)

    def connect(self, address: Any = PROXY) -> Wire:
        return Wire(self, address)

    @property
    def log(self) -> Any:
        return self.kit.log


class Wire:
    def __init__(self, door: Door, address: Any) -> None:
        self.transport = StringTransport(HERE, address)
        self.transport.startTLS = lambda context: None
        self.transport.protocol = door.factory.buildProtocol(address)
        self.transport.protocol.makeConnection(self.transport)

    def say(self, octets: bytes) -> list[str]:
        """The last lines of the replies to it."""
        self.transport.clear()
        self.transport.protocol.dataReceived(octets)
        return [line for line in self.transport.value().decode().splitlines() if line[3:4] == " "]

    def lose(self) -> None:
        self.transport.protocol.connectionLost(Failure(ConnectionError()))


def codes(said: list[str]) -> list[int]:
    return [int(line[:3]) for line in said]


def checked(check: Any, **changes: Any) -> Kit:
    kit = Kit(**changes)
    kit.world = replace(kit.world, checks=Pipeline([check], kit.clock, kit.log, 60))
    return kit


@implementer(ICheck)
class Seen:
    """A check that keeps what it was shown."""

    name = "seen"
    stages = frozenset({Stage.CONNECT, Stage.HELLO, Stage.MAIL})

    def __init__(self) -> None:
        self.contexts: list[CheckContext] = []

    def check(self, stage: Stage, context: CheckContext) -> Verdict:
        self.contexts.append(context)
        return CONTINUE


# PROXY.


def test_nothing_is_said_before_the_header() -> None:
    wire = Door().connect()
    assert wire.transport.value() == b""
    assert wire.say(V1[:10]) == []
    assert wire.say(V1[10:]) == ["220 mx.mail.test ESMTP"]


@pytest.mark.parametrize("cut", range(1, len(V1) + 14))
def test_a_header_cut_anywhere(cut: int) -> None:
    door = Door()
    wire = door.connect()
    octets = V1 + b"EHLO c.example\r\n"
    assert codes(wire.say(octets[:cut]) + wire.say(octets[cut:])) == [220, 250]
    assert door.log.named("session.opened")[0]["client"] == "192.0.2.7"


def test_the_stated_client_is_the_client() -> None:
    seen = Seen()
    kit = checked(seen, trusted={"10.0.0.1"})
    door = Door(kit)
    wire = door.connect()
    wire.say(V1 + b"EHLO c.example\r\n")
    # The proxy's own network may relay, the client may not.
    assert codes(wire.say(b"MAIL FROM:<x@far.example>\r\nRCPT TO:<a@elsewhere.example>\r\nRSET\r\n")) == [
        250,
        550,
        250,
    ]
    assert codes(wire.say(TO_ANNA + TEXT)) == [250, 250, 354, 250]
    envelope, content, _ = kit.intake.accepted[0]
    assert envelope.client_address == "192.0.2.7"
    assert b"([192.0.2.7])" in content
    assert {context.client_address for context in seen.contexts} == {"192.0.2.7"}
    assert kit.log.named("recipient.refused")[0]["client"] == "192.0.2.7"
    assert door.log.named("session.opened")[0]["via"] == "10.0.0.1"


def test_the_network_that_may_relay_is_the_clients() -> None:
    door = Door(Kit(trusted={"192.0.2.7"}))
    wire = door.connect()
    wire.say(V1 + b"EHLO c.example\r\n")
    assert codes(wire.say(b"MAIL FROM:<x@far.example>\r\nRCPT TO:<a@elsewhere.example>\r\n")) == [250, 250]


def test_connections_are_counted_for_the_client_and_in_all() -> None:
    door = Door(max_connections=3, max_connections_per_ip=1)
    first, second, third = door.connect(), door.connect(), door.connect()
    assert door.factory.connections.count == 3
    # They have a place each and nobody's yet.
    assert door.connect().transport.value() == refusals.TOO_MANY_CONNECTIONS.wire
    assert codes(first.say(V1)) == [220]
    assert codes(second.say(V1)) == [421]
    assert second.transport.disconnecting
    assert codes(third.say(V1.replace(b"2.7", b"2.8"))) == [220]
    assert door.factory.connections.count == 2
    second.lose()
    first.lose()
    third.lose()
    assert (door.factory.connections.count, door.factory.connections._by_address) == (0, {})


def test_connections_of_a_minute_are_the_clients() -> None:
    door = Door(limits=Limits(connections_per_minute=1), believes="proxy_from")
    assert [codes(door.connect().say(V1.replace(b"2.7", b"2.%d" % n))) for n in (7, 8, 7)] == [[220], [220], [421]]


def test_the_rates_are_the_clients() -> None:
    door = Door(Kit(rates=Rates(PerMinute(1), PerMinute(0), PerMinute(0))))
    for number, code in ((7, 250), (8, 250), (7, 450)):
        wire = door.connect()
        wire.say(V1.replace(b"2.7", b"2.%d" % number) + b"EHLO c\r\n")
        assert codes(wire.say(b"MAIL FROM:<x@far.example>\r\n")) == [code]


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", V2_LOCAL])
def test_a_proxy_that_speaks_for_itself(header: bytes) -> None:
    door = Door()
    wire = door.connect()
    assert codes(wire.say(header + b"EHLO c\r\n")) == [220, 250]
    assert door.log.named("session.opened")[0]["client"] == "10.0.0.1"
    assert "via" not in door.log.named("session.opened")[0]


@pytest.mark.parametrize(("stated", "client"), [("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8::7", "2001:db8::7")])
def test_addresses_of_both_families(stated: str, client: str) -> None:
    door = Door()
    door.connect(IPv6Address("TCP", "::ffff:10.0.0.1", 1)).say(
        f"PROXY TCP6 {stated} 2001:db8::1 4000 25\r\n".encode()
    )
    assert door.log.named("session.opened")[0]["client"] == client


@pytest.mark.parametrize(
    "octets", [b"EHLO c\r\n", b"PROXY TCP4 nobody\r\n", b"PROXY " + b"x" * 999, b"\x16\x03\x01"]
)
def test_without_a_header_a_proxy_is_cut_without_a_word(octets: bytes) -> None:
    door = Door()
    wire = door.connect()
    assert wire.say(octets) == []
    assert wire.transport.value() == b""
    assert wire.transport.disconnected
    wire.lose()
    assert door.factory.connections.count == 0
    assert door.log.named("proxy.refused")[0]["client"] == "10.0.0.1"
    assert door.log.named("session.opened") == []


def test_a_header_that_does_not_come() -> None:
    door = Door()
    wire = door.connect()
    wire.say(b"PROXY ")
    door.kit.clock.advance(HEADER_TIME - 1)
    door.factory.tick()
    assert not wire.transport.disconnected
    door.kit.clock.advance(1)
    door.factory.tick()
    assert wire.transport.disconnected
    assert wire.transport.value() == b""


def test_at_a_stop_who_has_said_nothing_is_not_waited_for() -> None:
    door = Door()
    wire = door.connect()
    done: list[None] = []
    door.factory.drained().addCallback(done.append)
    assert done == []
    door.factory.hang_up(refusals.STOPPING)
    assert wire.transport.disconnected
    wire.lose()
    assert done == [None]
    assert door.log.named("proxy.refused") == []


def test_from_anybody_else_a_header_is_no_command_and_the_end() -> None:
    door = Door()
    wire = door.connect(STRANGER)
    assert wire.say(V1 + b"EHLO c\r\n" + TO_ANNA) == [str(replies.UNKNOWN_COMMAND)]
    assert wire.transport.disconnecting
    wire.lose()
    assert door.log.named("session.opened")[0]["client"] == "192.0.2.200"
    assert "proxy_from" in door.log.named("session.closed")[0]["reason"]


# XCLIENT.

XCLIENT = b"XCLIENT ADDR=192.0.2.7 PORT=4000 NAME=c.example HELO=c.example PROTO=ESMTP\r\n"


def xclient(**more: Any) -> Door:
    return Door(believes="xclient_from", **more)


def test_it_is_offered_to_whom_is_believed_alone() -> None:
    door = xclient()
    wire = door.connect()
    wire.say(b"EHLO c\r\n")
    assert b"XCLIENT ADDR NAME PORT PROTO HELO DESTADDR DESTPORT\r\n" in wire.transport.value()
    other = door.connect(STRANGER)
    other.say(b"EHLO c\r\n")
    assert b"XCLIENT" not in other.transport.value()
    assert other.say(XCLIENT + b"NOOP\r\n") == [str(replies.NOT_IMPLEMENTED), str(replies.OK)]
    assert door.log.named("client.stated") == []


def test_the_session_begins_again_with_another_client() -> None:
    seen = Seen()
    kit = checked(seen, trusted={"10.0.0.1"})
    wire = xclient(kit=kit).connect()
    assert wire.say(b"EHLO proxy.example\r\n" + XCLIENT)[1:] == ["220 mx.mail.test ESMTP"]
    assert wire.say(b"MAIL FROM:<x@far.example>\r\n") == [str(replies.HELLO_FIRST)]
    wire.say(b"EHLO c.example\r\n")
    assert codes(wire.say(b"MAIL FROM:<x@far.example>\r\nRCPT TO:<a@elsewhere.example>\r\nRSET\r\n")) == [
        250,
        550,
        250,
    ]
    assert codes(wire.say(TO_ANNA + TEXT)) == [250, 250, 354, 250]
    envelope, content, _ = kit.intake.accepted[0]
    assert (envelope.client_address, envelope.helo) == ("192.0.2.7", "c.example")
    assert b"from c.example ([192.0.2.7])" in content
    assert [context.client_address for context in seen.contexts] == ["10.0.0.1"] * 2 + ["192.0.2.7"] * 4
    assert seen.contexts[2].helo == ""
    [stated] = kit.log.named("client.stated")
    assert (stated["client"], stated["by"], stated["name"]) == ("192.0.2.7", "10.0.0.1", "c.example")


def test_a_transaction_is_not_changed_hands() -> None:
    wire = xclient().connect()
    wire.say(b"EHLO c\r\n")
    said = wire.say(b"MAIL FROM:<x@far.example>\r\n" + XCLIENT + b"RCPT TO:<anna@mail.test>\r\n" + XCLIENT)
    assert codes(said) == [250, 503, 250, 503]
    assert codes(wire.say(b"DATA\r\n" + XCLIENT + b".\r\n")) == [354, 250]


def test_who_speaks_for_many_is_not_counted_as_one_of_them() -> None:
    door = xclient(max_connections_per_ip=1, limits=Limits(connections_per_minute=2))
    first, second, third = door.connect(), door.connect(), door.connect()
    assert door.factory.connections.count == 3
    assert codes(first.say(XCLIENT)) == [220]
    assert codes(second.say(XCLIENT)) == [421]
    assert second.transport.disconnecting
    assert codes(third.say(XCLIENT.replace(b"2.7", b"2.8"))) == [220]
    assert door.factory.connections._by_address == {"192.0.2.7": 1, "192.0.2.8": 1}
    # Once more, and the first place is free again.
    assert codes(third.say(XCLIENT.replace(b"2.7", b"2.9"))) == [220]
    assert door.factory.connections._by_address == {"192.0.2.7": 1, "192.0.2.9": 1}
    for wire in (first, second, third):
        wire.lose()
    assert (door.factory.connections.count, door.factory.connections._by_address) == (0, {})


def test_the_same_client_again_has_its_place_already() -> None:
    door = xclient(max_connections_per_ip=1)
    wire = door.connect()
    assert codes(wire.say(XCLIENT + XCLIENT)) == [220, 220]
    assert door.factory.connections._by_address == {"192.0.2.7": 1}


def test_a_refused_client_gets_no_service() -> None:
    @implementer(ICheck)
    class Refusing:
        name = "refusing"
        stages = frozenset({Stage.CONNECT})

        def check(self, stage: Stage, context: CheckContext) -> Verdict:
            return reject(Status(5, 7, 1), "no") if context.client_address == "192.0.2.7" else CONTINUE

    wire = xclient(kit=checked(Refusing())).connect()
    assert codes(wire.say(XCLIENT + b"EHLO c\r\nQUIT\r\n")) == [554, 503, 221]


def test_an_address_that_is_not_known_is_in_no_network() -> None:
    door = xclient(max_connections_per_ip=1)
    first, second = door.connect(), door.connect()
    assert codes(first.say(b"XCLIENT ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL] PORT=[UNAVAILABLE]\r\n")) == [220]
    first.say(b"EHLO c.example\r\n")
    assert codes(first.say(b"MAIL FROM:<x@far.example>\r\nRCPT TO:<a@elsewhere.example>\r\nRSET\r\n"))[1] == 550
    first.say(TO_ANNA + TEXT)
    assert b"Received: from c.example ([unknown])" in door.kit.intake.accepted[0][1]
    assert codes(second.say(b"XCLIENT ADDR=[UNAVAILABLE]\r\n")) == [421]


def test_its_login_is_nobodys() -> None:
    door = xclient(role="submission", tls="starttls")
    wire = door.connect()
    assert codes(wire.say(b"XCLIENT ADDR=192.0.2.7 LOGIN=anna+40mail.test\r\nEHLO c\r\n")) == [220, 250]
    assert codes(wire.say(b"MAIL FROM:<anna@mail.test>\r\n")) == [530]
    assert door.log.named("client.stated")[0]["login"] == ANNA


def test_a_login_does_not_outlive_it() -> None:
    door = xclient(role="submission", tls="implicit")
    wire = door.connect()
    login = b"\0" + ANNA.encode() + b"\0" + PASSWORD
    auth = b"AUTH PLAIN " + base64.b64encode(login) + b"\r\n"
    assert codes(wire.say(b"EHLO c\r\n" + auth + XCLIENT + b"EHLO c\r\nMAIL FROM:<anna@mail.test>\r\n")) == [
        250, 235, 220, 250, 530,
    ]  # fmt: skip


@pytest.mark.parametrize("times", [1, 3])
def test_what_was_not_named_stays(times: int) -> None:
    door = xclient()
    wire = door.connect()
    for _ in range(times):
        wire.say(b"XCLIENT ADDR=IPV6:2001:db8::7 PORT=4000\r\n")
        wire.say(b"XCLIENT DESTADDR=198.51.100.1\r\nXCLIENT DESTPORT=25\r\n")
    protocol = wire.transport.protocol
    assert protocol.stated_peer == IPv6Address("TCP", "2001:db8::7", 4000)
    assert protocol.stated_host == IPv4Address("TCP", "198.51.100.1", 25)
    assert door.log.named("client.stated")[-1]["client"] == "2001:db8::7"


def test_both_ways_at_once() -> None:
    """A proxy that says PROXY for a host which may say XCLIENT."""
    door = Door()
    wire = door.connect()
    assert codes(wire.say(V1 + XCLIENT)) == [220, 502]
    wire = door.connect()
    assert codes(wire.say(V1.replace(b"192.0.2.7", b"10.0.0.9") + XCLIENT)) == [220, 220]
    assert door.log.named("client.stated")[0]["by"] == "10.0.0.9"


# Early talkers.


def test_octets_behind_a_header_came_before_the_greeting() -> None:
    seen = Seen()
    door = Door(checked(seen))
    door.connect().say(V1 + b"EHLO c\r\nMAIL FROM:<x@far.example>\r\n")
    assert [context.early_talker for context in seen.contexts] == [True] * 3
    assert door.log.named("client.early")[0]["client"] == "192.0.2.7"
    seen.contexts.clear()
    wire = door.connect()
    wire.say(V1)
    wire.say(b"EHLO c\r\nMAIL FROM:<x@far.example>\r\n")
    assert [context.early_talker for context in seen.contexts] == [False] * 3
    assert len(door.log.named("client.early")) == 1


def delayed(**more: Any) -> tuple[Door, Seen]:
    seen = Seen()
    return Door(checked(seen), reception=Reception(greeting_delay=4), **more), seen


def test_a_greeting_that_waits_shows_who_does_not() -> None:
    door, seen = delayed()
    wire = door.connect(STRANGER)
    assert wire.say(b"EHLO c\r\n") == []
    door.kit.clock.advance(3.9)
    assert wire.transport.value() == b""
    door.kit.clock.advance(0.1)
    assert codes(wire.transport.value().decode().splitlines())[:2] == [220, 250]
    wire.say(b"EHLO c\r\nMAIL FROM:<x@far.example>\r\n")
    assert [context.early_talker for context in seen.contexts] == [True] * 4
    assert len(door.log.named("client.early")) == 1


def test_who_waits_is_no_early_talker() -> None:
    door, seen = delayed()
    wire = door.connect(STRANGER)
    door.kit.clock.advance(4)
    assert codes(wire.transport.value().decode().splitlines()) == [220]
    wire.say(b"EHLO c\r\n")
    assert [context.early_talker for context in seen.contexts] == [False] * 2
    assert door.log.named("client.early") == []


def test_who_leaves_before_the_greeting_leaves_nothing() -> None:
    door, seen = delayed()
    wire = door.connect(STRANGER)
    wire.lose()
    door.kit.clock.advance(5)
    assert (seen.contexts, door.factory.connections.count, door.log.failures) == ([], 0, [])


@pytest.mark.parametrize("role", ["submission", "lmtp"])
def test_only_strangers_wait(role: str) -> None:
    door, _ = delayed(role=role, tls="starttls")
    assert door.connect(STRANGER).transport.value().startswith(b"220")
