"""XCLIENT: a host that is believed says who the client is (an extension of Postfix).

``XCLIENT NAME=value …`` with ADDR, NAME, PORT, PROTO, HELO, LOGIN, DESTADDR and DESTPORT; values are xtext, and
``[UNAVAILABLE]`` or ``[TEMPUNAVAIL]`` where nothing is known. An IPv6 address stands behind ``IPV6:``. What is
not named stays as it was said before.

:func:`read` makes a value of it or raises :class:`~mailserver.smtp.command.Refused`. Whether it is believed is
decided elsewhere: the core knows the command only where its profile has ``xclient``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from string import ascii_letters, digits
from typing import Any

from mailserver.smtp import replies
from mailserver.smtp.command import Refused, read_hello
from mailserver.smtp.xtext import BadText, decode_xtext

# What EHLO offers. LOGIN is understood and not offered: nobody is logged in by it.
KEYWORD = "XCLIENT ADDR NAME PORT PROTO HELO DESTADDR DESTPORT"
# The address of a client of whom none is known: in no network, and counted as one client.
UNKNOWN = "unknown"
_UNAVAILABLE = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")
_HOST_NAME = frozenset(ascii_letters + digits + "-_.")
_MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class StatedClient:
    """None is what was not named. ``address`` and ``destination`` are IP addresses, or :data:`UNKNOWN`; a name, a
    port and a login that are not available are ``""`` and 0."""

    address: str | None = None
    name: str | None = None
    port: int | None = None
    protocol: str | None = None
    helo: str | None = None
    login: str | None = None
    destination: str | None = None
    destination_port: int | None = None


def read(argument: str) -> StatedClient:
    """The argument of XCLIENT. Raises Refused."""
    values: dict[str, Any] = {}
    for word in argument.split():
        keyword, equals, value = word.partition("=")
        field, parse, nothing = _ATTRIBUTES.get(keyword.upper(), ("", None, None))
        if parse is None or not equals or not value or field in values:
            raise Refused(replies.BAD_XCLIENT)
        values[field] = nothing if value.upper() in _UNAVAILABLE else _parsed(parse, value)
    if not values:
        raise Refused(replies.BAD_XCLIENT)
    return StatedClient(**values)


def _parsed(parse: Callable[[str], Any], value: str) -> Any:
    try:
        return parse(decode_xtext(value))
    except (BadText, ValueError, Refused):
        raise Refused(replies.BAD_XCLIENT) from None


def _address(text: str) -> str:
    if text[:5].upper() != "IPV6:":
        return str(IPv4Address(text))
    found = IPv6Address(text[5:])
    if found.scope_id is not None:  # the name of an interface: it means nothing on another host
        raise AddressValueError(text)
    return str(found.ipv4_mapped or found)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65_535:
        raise ValueError(text)
    return int(text)


def _name(text: str) -> str:
    if len(text) > _MAX_NAME or not _HOST_NAME.issuperset(text):
        raise ValueError(text)
    return text


def _protocol(text: str) -> str:
    if text.upper() not in ("SMTP", "ESMTP"):
        raise ValueError(text)
    return text.upper()


# What it is called here, how it is read, and what it is where it is not available.
_ATTRIBUTES: Mapping[str, tuple[str, Callable[[str], Any] | None, Any]] = {
    "ADDR": ("address", _address, UNKNOWN),
    "NAME": ("name", _name, ""),
    "PORT": ("port", _port, 0),
    "PROTO": ("protocol", _protocol, ""),
    "HELO": ("helo", read_hello, ""),
    "LOGIN": ("login", str, ""),
    "DESTADDR": ("destination", _address, UNKNOWN),
    "DESTPORT": ("destination_port", _port, 0),
}
