"""The written forms that a setting's text may have: addresses with ports, networks, names.

Each :class:`Form` is a parser and the sentence that says what it takes. A parser answers a value, or raises
ValueError. Nothing here looks anything up: a name stays a name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import NamedTuple

_NAME_OCTETS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")
# RFC 1035 §2.3.4: 63 octets a label, 255 a name on the wire, which is 253 as text.
_MAX_LABEL, _MAX_NAME = 63, 253

# How the place of a Unix socket begins.
UNIX = "unix:"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Form(NamedTuple):
    """``allowed`` continues the sentence "allowed: …"."""

    parse: Callable[[str], object]
    allowed: str


class HostPort(NamedTuple):
    """A host (address without brackets, name, or ``*`` where everything of this machine is meant), a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> HostPort:
        """Read ``192.0.2.1:25``, ``[2001:db8::1]:25``, ``name:25`` or ``*:25``.

        With `default_port` the port may be left out, and then a bare IPv6 address needs no brackets. Port 0
        (any free port) is taken here; a settings file may not name it. Raises ValueError.
        """
        if default_port is not None and (bare := _bare(text)) is not None:
            return cls(bare, default_port)
        host, colon, port = text.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > 65535:
            raise ValueError("a port from 1 to 65535 must follow the last colon")
        return cls(_host(host), int(port))


def _ipv6(text: str) -> str:
    """A link-local address may have a zone, which is the name of an interface (RFC 4007 §11)."""
    _, percent, zone = text.partition("%")
    if percent and not _NAME_OCTETS.issuperset(zone.lower().replace(".", "-").encode()):
        raise ValueError("no name of an interface")
    return str(ipaddress.IPv6Address(text))


def _bare(text: str) -> str | None:
    """`text` as a host without a port, or None."""
    if text.startswith("[") and text.endswith("]"):
        return _ipv6(text[1:-1])
    if text.count(":") > 1:
        return _ipv6(text) if "[" not in text else None
    return host_name(text) if ":" not in text else None


def _host(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        return _ipv6(text[1:-1])
    if text == "*":
        return text
    if ":" in text:
        raise ValueError("an IPv6 address stands in brackets")
    return host_name(text)


def host_name(text: str) -> str:
    """A DNS name or an IPv4 address, folded to lower case. Raises ValueError."""
    name = text.lower()
    labels = name.split(".")
    if not name.isascii() or not 1 <= len(name) <= _MAX_NAME:
        raise ValueError("not a host name")
    for label in labels:
        if not 1 <= len(label) <= _MAX_LABEL or not _NAME_OCTETS.issuperset(label.encode()):
            raise ValueError("not a host name")
        if label.startswith("-") or label.endswith("-"):
            raise ValueError("not a host name")
    if labels[-1].isdigit():
        return str(ipaddress.IPv4Address(name))
    return name


def full_host_name(text: str) -> str:
    """A host name with a dot, and no address: what EHLO, Received and DSNs say about this machine."""
    name = host_name(text)
    if "." not in name or name.rpartition(".")[2].isdigit():
        raise ValueError("not a full host name")
    return name


def address(text: str) -> str:
    """An IPv4 or IPv6 address. Raises ValueError."""
    return str(ipaddress.ip_address(text))


def network(text: str) -> Network:
    """A network in CIDR form, or one address; no bits are set behind the prefix. Raises ValueError."""
    return ipaddress.ip_network(text)


def within(client: str, networks: Iterable[Network]) -> bool:
    """Whether the host with the address `client` is in one of `networks`. False for what is no IP address."""
    try:
        found = ipaddress.ip_address(client)
    except ValueError:
        return False
    # A listener on both families reports IPv4 clients in the mapped form, ::ffff:192.0.2.1.
    plain = getattr(found, "ipv4_mapped", None) or found
    return any(plain in network for network in networks)


def _no_star(text: str, default_port: int | None = None) -> HostPort:
    found = HostPort.parse(text, default_port)
    if found.host == "*" or found.port == 0:
        raise ValueError("a host and a port")
    return found


def _next_hop(text: str) -> object:
    return _path(text[len(UNIX) :]) if text.startswith(UNIX) else _no_star(text)


def _dns_server(text: str) -> HostPort:
    found = _no_star(text, 53)
    ipaddress.ip_address(found.host)
    return found


def _path(text: str) -> str:
    if text in ("", ".") or "\0" in text:
        raise ValueError("a path")
    return text


LISTEN = Form(HostPort.parse, '"ADDRESS:PORT", as in "127.0.0.1:2525", "[::1]:2525", "*:25" or "name:25"')
HOST_PORT = Form(_no_star, '"HOST:PORT", as in "mail.example.org:25", "192.0.2.1:25" or "[2001:db8::1]:25"')
NEXT_HOP = Form(_next_hop, f"{HOST_PORT.allowed}, or unix:PATH")
DNS_SERVER = Form(_dns_server, '"ADDRESS" or "ADDRESS:PORT", as in "192.0.2.53" or "[2001:db8::53]:5353"')
HOST_NAME = Form(full_host_name, 'a full host name, as in "mx.example.org"')
ADDRESS = Form(address, "an IPv4 or IPv6 address")
NETWORK = Form(network, "a network such as 192.0.2.0/24 or 2001:db8::/32 (no bits set behind the prefix)")
PATH = Form(_path, "a path")
