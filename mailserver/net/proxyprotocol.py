"""The PROXY protocol, versions 1 and 2 (HAProxy's specification): who connected to the proxy before us.

:func:`read` cuts a header from the first octets of a connection, without I/O; :class:`Announced` waits for one on
a connection and hands the transport over to whoever speaks next. It is for connections from proxies that the
administrator has named, and for no others: who may send a header may pass for any client.

A header is bounded (107 octets in version 1, 16 and :data:`MAX_REST` in version 2) and must be the first thing
that comes. What is none ends the connection without a word, as does one that is not whole in time: the
specification forbids guessing. A proxy that speaks for itself (LOCAL) or does not know the client (UNKNOWN,
UNSPEC) keeps its own address. Extensions (TLVs) are skipped.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

# The longest version 1 header: "PROXY UNKNOWN", two IPv6 addresses, two ports, CRLF.
MAX_LINE = 107
# What may follow the 16 octets of version 2: addresses need 36, a proxy that passes TLS facts on some hundred.
MAX_REST = 4096
_SIGNATURE_1, _SIGNATURE_2 = b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = 16
# Protocol byte of version 2: address family and stream, and the octets of one address.
_ADDRESSES = {0x11: 4, 0x21: 16}
_UNSPECIFIED = 0x00
_FAMILIES = {b"TCP4": ipaddress.IPv4Address, b"TCP6": ipaddress.IPv6Address}

Place = tuple[str, int]


class BadHeader(ValueError):
    """The octets are no header; ``str()`` says why, for the log."""


@dataclass(frozen=True, slots=True)
class Header:
    """``length`` octets were the header. ``source`` and ``destination`` are (IP address, port) of the client's own
    connection to the proxy; None where the connection is the proxy's own, or the proxy does not know."""

    length: int
    source: Place | None = None
    destination: Place | None = None


def read(octets: bytes) -> Header | None:
    """The header at the beginning of `octets`, or None while more has to come. Raises BadHeader."""
    if octets.startswith(_SIGNATURE_1[: len(octets)]):
        return _line(octets)
    if octets.startswith(_SIGNATURE_2[: len(octets)]):
        return _binary(octets)
    raise BadHeader("the first octets begin no header")


def _line(octets: bytes) -> Header | None:
    end = octets.find(b"\n", 0, MAX_LINE)
    if end < 0:
        if len(octets) >= MAX_LINE:
            raise BadHeader(f"no line end within {MAX_LINE} octets")
        return None
    if octets[end - 1 : end] != b"\r":
        raise BadHeader("the line does not end with CRLF")
    words = octets[: end - 1].split(b" ")
    if words[1] == b"UNKNOWN":  # whatever follows it means nothing
        return Header(end + 1)
    if len(words) != 6 or words[1] not in _FAMILIES:
        raise BadHeader("the line has another form")
    _, family, source, destination, from_port, to_port = words
    kind = _FAMILIES[family]
    return Header(
        end + 1, (_address(kind, source), _port(from_port)), (_address(kind, destination), _port(to_port))
    )


def _address(kind: Callable[[str], object], word: bytes) -> str:
    try:
        if b"%" in word:  # a zone: no address that could have come over a network
            raise ValueError
        return str(kind(word.decode("ascii")))
    except ValueError:
        raise BadHeader("an address is malformed") from None


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or (word[:1] == b"0" and word != b"0") or int(word) > 65_535:
        raise BadHeader("a port is malformed")
    return int(word)


def _binary(octets: bytes) -> Header | None:
    if len(octets) < _FIXED:
        return None
    command, family, rest = octets[12], octets[13], int.from_bytes(octets[14:16], "big")
    if command not in (0x20, 0x21):
        raise BadHeader(f"version and command are 0x{command:02x}")
    if rest > MAX_REST:
        raise BadHeader(f"a length of {rest} octets")
    if command == 0x21 and family not in _ADDRESSES and family != _UNSPECIFIED:
        raise BadHeader(f"the address family 0x{family:02x} is none of TCP")
    size = _ADDRESSES.get(family, 0) if command == 0x21 else 0
    if rest < (2 * size + 4 if size else 0):
        raise BadHeader("it ends within the addresses")
    length = _FIXED + rest
    if len(octets) < length:
        return None
    return Header(length, *_places(octets[_FIXED:length], size)) if size else Header(length)


def _places(octets: bytes, size: int) -> tuple[Place, Place]:
    kind = ipaddress.IPv4Address if size == 4 else ipaddress.IPv6Address
    source, destination, ports = octets[:size], octets[size : 2 * size], octets[2 * size : 2 * size + 4]
    return (
        (str(kind(source)), int.from_bytes(ports[:2], "big")),
        (str(kind(destination)), int.from_bytes(ports[2:], "big")),
    )


class Announced(Protocol):
    """A connection whose header has not come. At `deadline` (monotonic) it is cut.

    ``begin(self, header, early)`` answers the protocol that speaks from then on, on the same transport; `early` is
    true when the client's octets came together with the header. ``refused(why)`` hears of what is no header,
    ``ended(self)`` of the end of a connection that had none."""

    transport: Any

    def __init__(
        self,
        begin: Callable[[Announced, Header, bool], Any],
        refused: Callable[[str], None],
        ended: Callable[[Announced], None],
        deadline: float,
    ) -> None:
        self._begin = begin
        self._refused = refused
        self._ended = ended
        self._deadline = deadline
        self._octets = b""
        self._over = False

    def check_deadline(self, now: float) -> None:
        """Cut the connection if its time is over; `now` is monotonic."""
        if now >= self._deadline:
            self._refuse("it did not come in time")

    def abort(self) -> None:
        """Cut the connection."""
        self._over = True
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        self._octets += data
        try:
            header = read(self._octets)
        except BadHeader as bad:
            self._refuse(str(bad))
            return
        if header is not None:
            self._hand_over(header)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._over:
            self._refused("the connection ended before it")
        self._ended(self)

    def _refuse(self, why: str) -> None:
        if not self._over:
            self._octets = b""
            self._refused(why)
            self.abort()

    def _hand_over(self, header: Header) -> None:
        rest, self._octets = self._octets[header.length :], b""
        transport = self.transport
        speaker = self._begin(self, header, bool(rest))
        transport.protocol = speaker
        speaker.makeConnection(transport)
        if rest:
            # Not always the speaker's: where TLS begins with the connection, it is between the two now.
            transport.protocol.dataReceived(rest)
