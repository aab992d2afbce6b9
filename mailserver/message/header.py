"""The header section of a message, looked at without being changed (RFC 5322 §2.2).

One pass over the octets up to the first empty line: how many ``Received`` fields there are (loop detection,
RFC 5321 §6.3), and which of the fields that a submitted message needs are missing (RFC 6409 §8). Octets that
are no header field end nothing and are counted as nothing.
"""

from __future__ import annotations

from mailserver.message.content import Content


def field_names(header: bytes) -> list[bytes]:
    """Lower-case names of the fields in `header` (LF line ends), in order, continuation lines left out."""
    names = []
    for line in header.split(b"\n"):
        if line[:1] in (b" ", b"\t", b""):
            continue
        name, colon, _ = line.partition(b":")
        if colon:
            names.append(name.rstrip(b" \t").lower())
    return names


def hops(header: bytes) -> int:
    """How many ``Received`` fields `header` has."""
    if b"received" not in header.lower():
        return 0
    return sum(name == b"received" for name in field_names(header))


def missing(content: Content) -> frozenset[bytes]:
    """Which of ``date``, ``message-id`` and ``from`` the content lacks."""
    return frozenset((b"date", b"message-id", b"from")) - frozenset(field_names(content.header()))


def has_header(content: Content) -> bool:
    """False when the octets begin with no header field: an empty line must then follow what we prepend."""
    start = content.header()
    if not start:
        return True
    first = start.split(b"\n", 1)[0]
    name, colon, _ = first.partition(b":")
    return bool(colon) and bool(name) and all(33 <= octet <= 126 for octet in name.rstrip(b" \t"))
