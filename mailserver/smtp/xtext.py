"""The encodings of RFC 3461 §4 and RFC 6533 §3, in which an ENVID and an original recipient travel.

xtext writes what is no printable ASCII, and ``+`` and ``=``, as ``+XX``, octet by octet. An address of the type
``utf-8`` has a form of its own: ``\\x{10A}`` for each character that ASCII or xtext has no place for. That form is
valid xtext as it stands, so any host can carry it.

What is decoded is printable, or it is :class:`BadText`: no control character comes in by way of an escape, and
no U+2028 or bidirectional override either.
"""

from __future__ import annotations

import re
from string import ascii_letters, digits

from mailserver.smtp.address import AddressError, Mailbox

UTF_8 = "utf-8"
_TAG = frozenset(ascii_letters + digits + "-")
_HEX = frozenset("0123456789ABCDEF")
_XCHAR = frozenset(range(33, 127)) - set(b"+=")
# QCHAR of RFC 6533 §3: the backslash begins an escape, and cannot stand for itself.
_QCHAR = frozenset(map(chr, _XCHAR)) - {"\\"}
_ESCAPE = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")


class BadText(ValueError):
    """Not of its form, or something in it is not printable."""


def decode_xtext(text: str) -> str:
    """``+XX`` is the octet XX. Raises BadText."""
    if "+" not in text:
        return _printable(text)
    first, *coded = text.split("+")
    if not all(len(part) >= 2 and _HEX.issuperset(part[:2]) for part in coded):
        raise BadText(text)
    octets = b"".join((first.encode(), *(bytes((int(part[:2], 16),)) + part[2:].encode() for part in coded)))
    try:
        return _printable(octets.decode())
    except UnicodeDecodeError:
        raise BadText(text) from None


def encode_xtext(text: str) -> str:
    """The way back."""
    return "".join(chr(octet) if octet in _XCHAR else f"+{octet:02X}" for octet in text.encode())


def decode_orcpt(text: str) -> str:
    """``type;address`` with the address decoded, the type in lower case. Raises BadText.

    An address of the type ``utf-8`` must be one (RFC 6533 §3); of all others only the form is known here.
    """
    kind, _, coded = text.partition(";")
    if not kind or not _TAG.issuperset(kind) or not coded:
        raise BadText(text)
    kind = kind.lower()
    if kind != UTF_8:
        if not coded.isascii():
            raise BadText(text)
        return f"{kind};{decode_xtext(coded)}"
    address = decode_utf_8(coded)
    try:
        Mailbox.parse(address)
    except AddressError:
        raise BadText(text) from None
    return f"{kind};{address}"


def encode_orcpt(orcpt: str) -> str:
    """The way back, in ASCII."""
    kind, _, address = orcpt.partition(";")
    return f"{kind};{encode_utf_8(address) if kind == UTF_8 else encode_xtext(address)}"


def decode_utf_8(coded: str) -> str:
    """An address of the type ``utf-8``, in any of its three forms. Raises BadText."""
    text = decode_xtext(coded)
    if "\\x{" not in text:
        return text
    if text.count("\\x{") != len(_ESCAPE.findall(text)):
        raise BadText(coded)
    try:
        return _printable(_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text))
    except (ValueError, OverflowError):
        raise BadText(coded) from None


def encode_utf_8(address: str) -> str:
    """An address of the type ``utf-8`` in ASCII."""
    return "".join(c if c in _QCHAR else f"\\x{{{ord(c):02X}}}" for c in address)


def of_mailbox(mailbox: Mailbox) -> str:
    """``type;address`` of a mailbox, decoded."""
    return f"{'rfc822' if mailbox.ascii else UTF_8};{mailbox}"


def _printable(text: str) -> str:
    if not text.isprintable():
        raise BadText(text)
    return text
