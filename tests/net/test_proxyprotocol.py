"""The PROXY protocol: a corpus of headers, every way to cut them, and connections that wait for one."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport

from mailserver.net.proxyprotocol import MAX_LINE, MAX_REST, Announced, BadHeader, Header, read

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = bytes([192, 0, 2, 7]) + bytes([198, 51, 100, 1]) + b"\x0f\xa0\0\x19"
SIX = ipaddress.ip_address("2001:db8::7").packed + ipaddress.ip_address("2001:db8::1").packed + b"\x0f\xa0\0\x19"
CLIENT, SERVER = ("192.0.2.7", 4000), ("198.51.100.1", 25)
CLIENT_6, SERVER_6 = ("2001:db8::7", 4000), ("2001:db8::1", 25)


def v2(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(rest).to_bytes(2, "big") + rest


LONGEST = b"PROXY UNKNOWN " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n"
GOOD = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 25\r\n", CLIENT, SERVER),
    (b"PROXY TCP4 255.255.255.255 0.0.0.0 0 65535\r\n", ("255.255.255.255", 0), ("0.0.0.0", 65535)),
    (b"PROXY TCP6 2001:db8::7 2001:DB8:0:0::1 4000 25\r\n", CLIENT_6, SERVER_6),
    (b"PROXY UNKNOWN\r\n", None, None),
    (b"PROXY UNKNOWN what ever\r\n", None, None),
    (LONGEST, None, None),
    (v2(0x21, 0x11, FOUR), CLIENT, SERVER),
    (v2(0x21, 0x21, SIX), CLIENT_6, SERVER_6),
    (v2(0x21, 0x11, FOUR + b"\x04\0\x03abc" + b"\x20\0\x01x"), CLIENT, SERVER),
    (v2(0x21, 0x11, FOUR + b"\xff" * (MAX_REST - 12)), CLIENT, SERVER),
    (v2(0x21, 0x00, b""), None, None),
    (v2(0x21, 0x00, b"anything"), None, None),
    (v2(0x20, 0x00, b""), None, None),
    (v2(0x20, 0x11, FOUR), None, None),
    (v2(0x20, 0x31, b"x" * 216), None, None),
]
BAD = [
    b"E",
    b"EHLO client.example\r\n",
    b"proxy TCP4 192.0.2.7 198.51.100.1 4000 25\r\n",
    b"PROXY\tTCP4 192.0.2.7 198.51.100.1 4000 25\r\n",
    b"\x16\x03\x01\x02\0\x01",
    b"\r\n\r\n\0\r\nQUIT\r",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 25\n",
    b"PROXY \n",
    b"PROXY \r\n",
    b"PROXY TCP5 192.0.2.7 198.51.100.1 4000 25\r\n",
    b"PROXY tcp4 192.0.2.7 198.51.100.1 4000 25\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4000\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 25 \r\n",
    b"PROXY TCP4  192.0.2.7 198.51.100.1 4000 25\r\n",
    b"PROXY TCP4 192.0.2.007 198.51.100.1 4000 25\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.1 4000 25\r\n",
    b"PROXY TCP4 192.0.2.7 mail.example 4000 25\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 4000 25\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 4000 25\r\n",
    b"PROXY TCP6 fe80::1%eth0 2001:db8::1 4000 25\r\n",
    b"PROXY TCP4 192.0.2.\xb2 198.51.100.1 4000 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 04000 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 \r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 25\r\r\n",
    b"PROXY UNKNOWN " + b"x" * (MAX_LINE - 14),
    b"PROXY UNKNOWN " + b"x" * (MAX_LINE - 15) + b"\r\n",
    SIGNATURE + b"\x11\x11\0\0",
    v2(0x11, 0x11, FOUR),
    v2(0x22, 0x11, FOUR),
    v2(0x21, 0x11, FOUR[:-1]),
    v2(0x21, 0x11, b""),
    v2(0x21, 0x21, FOUR),
    v2(0x21, 0x12, FOUR),
    v2(0x21, 0x22, SIX),
    v2(0x21, 0x31, b"x" * 216),
    v2(0x21, 0x41, FOUR),
    v2(0x21, 0x11, FOUR + b"\xff" * (MAX_REST - 11)),
    v2(0x20, 0x00, b"\0" * (MAX_REST + 1)),
]


@pytest.mark.parametrize(("octets", "source", "destination"), GOOD)
def test_a_header_is_read_however_it_comes(octets: bytes, source: Any, destination: Any) -> None:
    for end in range(len(octets)):
        assert read(octets[:end]) is None
    expected = Header(len(octets), source, destination)
    assert read(octets) == expected
    assert read(octets + b"EHLO x\r\n") == expected


@pytest.mark.parametrize("octets", BAD)
def test_what_is_no_header(octets: bytes) -> None:
    with pytest.raises(BadHeader):
        read(octets)


def test_the_longest_line_is_that_of_the_specification() -> None:
    assert len(LONGEST) == MAX_LINE


ports = st.integers(0, 65535)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), ports, ports)
def test_version_1_gives_back_what_went_in(source: Any, destination: Any, here: int, there: int) -> None:
    line = f"PROXY TCP4 {source} {destination} {here} {there}\r\n".encode()
    assert read(line) == Header(len(line), (str(source), here), (str(destination), there))


@given(st.ip_addresses(v=6), st.ip_addresses(v=6), ports, ports, st.binary(max_size=200))
def test_version_2_gives_back_what_went_in(
    source: Any, destination: Any, here: int, there: int, more: bytes
) -> None:
    rest = source.packed + destination.packed + here.to_bytes(2, "big") + there.to_bytes(2, "big") + more
    octets = v2(0x21, 0x21, rest)
    assert read(octets) == Header(len(octets), (str(source), here), (str(destination), there))


starts = st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY UNKNOWN", SIGNATURE, SIGNATURE + b"\x21\x11"])


@given(starts, st.binary(max_size=300))
def test_anything_is_a_header_or_none_and_more_octets_do_not_change_that(start: bytes, rest: bytes) -> None:
    octets = start + rest
    said: list[object] = []
    for end in range(len(octets) + 1):
        try:
            said.append(read(octets[:end]))
        except BadHeader:
            said.append(BadHeader)
    known = [one for one in said if one is not None]
    assert known == known[:1] * len(known)
    assert len(octets) < 16 + MAX_REST
    assert None not in said[said.index(known[0]) if known else len(said) :]


class Speaker(Protocol):
    def __init__(self) -> None:
        self.said: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self.said.append(data)


class Waiting:
    """A connection that waits for its header until second 5."""

    def __init__(self) -> None:
        self.headers: list[tuple[Header, bool]] = []
        self.refused: list[str] = []
        self.ended = 0
        self.speaker = Speaker()
        self.protocol = Announced(self._begin, self.refused.append, self._ended, 5.0)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def _begin(self, waiting: Announced, header: Header, early: bool) -> Speaker:
        assert waiting is self.protocol
        self.headers.append((header, early))
        return self.speaker

    def _ended(self, waiting: Announced) -> None:
        self.ended += 1


def test_the_transport_is_handed_over() -> None:
    waiting = Waiting()
    for octet in GOOD[0][0][:-1]:
        waiting.protocol.dataReceived(bytes([octet]))
    assert waiting.headers == []
    waiting.protocol.dataReceived(b"\nEHLO x\r\n")
    assert waiting.headers == [(Header(len(GOOD[0][0]), CLIENT, SERVER), True)]
    assert waiting.transport.protocol is waiting.speaker
    assert waiting.speaker.transport is waiting.transport
    assert waiting.speaker.said == [b"EHLO x\r\n"]
    assert (waiting.refused, waiting.ended) == ([], 0)


def test_the_header_alone_is_no_early_talk() -> None:
    waiting = Waiting()
    waiting.protocol.dataReceived(GOOD[6][0])
    assert [early for _, early in waiting.headers] == [False]
    assert waiting.speaker.said == []


@pytest.mark.parametrize("octets", [b"EHLO x\r\n", b"PROXY " + b"x" * 200, SIGNATURE + b"\xff" * 90_000])
def test_what_is_none_is_cut_without_a_word(octets: bytes) -> None:
    waiting = Waiting()
    waiting.protocol.dataReceived(octets)
    waiting.protocol.dataReceived(octets)
    assert len(waiting.refused) == 1
    assert waiting.transport.disconnected
    assert waiting.transport.value() == b""
    assert waiting.headers == []


def test_without_end_it_is_cut_at_the_bound() -> None:
    waiting = Waiting()
    sent = 0
    for octet in b"PROXY UNKNOWN " + b"a" * 1000:
        waiting.protocol.dataReceived(bytes([octet]))
        sent += 1
        if waiting.refused:
            break
    assert sent == MAX_LINE


def test_it_has_to_come_in_time() -> None:
    waiting = Waiting()
    waiting.protocol.dataReceived(b"PROXY ")
    waiting.protocol.check_deadline(4.9)
    assert not waiting.transport.disconnected
    waiting.protocol.check_deadline(5.0)
    waiting.protocol.check_deadline(6.0)
    assert waiting.transport.disconnected
    assert waiting.refused == ["it did not come in time"]
    waiting.protocol.connectionLost()
    assert (waiting.ended, len(waiting.refused)) == (1, 1)


def test_a_connection_that_ends_before_it() -> None:
    waiting = Waiting()
    waiting.protocol.connectionLost()
    assert waiting.ended == 1
    assert waiting.refused == ["the connection ended before it"]


def test_at_a_stop_there_is_nothing_to_report() -> None:
    waiting = Waiting()
    waiting.protocol.abort()
    waiting.protocol.dataReceived(GOOD[0][0])
    waiting.protocol.connectionLost()
    assert (waiting.headers, waiting.refused, waiting.ended) == ([], [], 1)
