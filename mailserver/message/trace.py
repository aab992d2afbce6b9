"""Trace header fields: ``Received`` (RFC 5321 §4.4), and the dates of RFC 5322 §3.3.

Every word that a stranger chose (HELO name, recipient) is reduced to printable ASCII without the characters
that would end a comment or begin a new field.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from mailserver.message.envelope import Envelope
from mailserver.smtp.address import Mailbox

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# What may stand in a Received field unquoted: dot-atoms, address literals, and nothing that folds or comments.
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]")


def date(wall: float) -> str:
    """``Tue, 24 Nov 2026 13:00:00 +0000``; always UTC, so that a repeated attempt writes the same octets."""
    t = time.gmtime(wall)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04} "
        f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} +0000"
    )


def safe(word: str, limit: int = 255) -> str:
    """`word` with every character outside a harmless set replaced by ``?``, cut to `limit` characters."""
    word = word[:limit]
    if _SAFE.issuperset(word):
        return word
    return "".join(c if c in _SAFE else "?" for c in word)


@dataclass(frozen=True, slots=True)
class Hop:
    """What a Received field says beside the envelope: our name, the queue id, when, and the only recipient."""

    host_name: str
    queue_id: str
    arrived: float
    only: Mailbox | None = None


def received(envelope: Envelope, hop: Hop) -> bytes:
    """The ``Received`` field, LF line ends. Only a recipient who is the only one is named (RFC 5321 §7.2)."""
    address = envelope.client_address
    literal = f"IPv6:{address}" if ":" in address else address
    lines = [f"Received: from {safe(envelope.helo) or 'unknown'} ([{literal}])"]
    lines.append(f"\tby {hop.host_name} with {envelope.protocol} id {hop.queue_id}")
    if hop.only is not None and hop.only.domain is not None and hop.only.ascii:
        lines.append(f"\tfor <{hop.only}>")
    lines[-1] += ";"
    lines.append(f"\t{date(hop.arrived)}\n")
    return "\n".join(lines).encode("ascii", "replace")
