"""A message ready for the spool, and how its queue id is made.

A queue id never repeats, across instances, spools and restores: 48 bits of milliseconds and 64 random bits,
written in 23 characters of lower-case Crockford base 32 that sort by time.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Recipient

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_CHARACTERS = frozenset(_ALPHABET)
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
LENGTH = 23


@dataclass(frozen=True, slots=True)
class Prepared:
    """A complete message: alias expansion, header completion and signing are behind it.

    ``arrived`` is wall-clock seconds; ``content`` is finished (nothing more is written to it). ``fates``: the
    final state of each recipient is to be kept (`mailserver.message.fate`). ``key`` is then its sender's own
    name for the message: a second one with the same key is not stored.
    """

    queue_id: str
    envelope: Envelope
    recipients: tuple[Recipient, ...]
    content: Content
    arrived: float
    fates: bool = False
    key: str | None = None


def new_queue_id(wall: float) -> str:
    """Make a queue id for a message that arrived at `wall` (seconds since 1970)."""
    milliseconds = int(wall * 1000) & 0xFFFFFFFFFFFF
    number = (milliseconds << 64) | int.from_bytes(os.urandom(8), "big")
    number <<= 8  # 112 bits become 120: twelve pairs of ten bits, of which the last character is always 0
    pairs = [_PAIRS[(number >> shift) & 0x3FF] for shift in range(110, -1, -10)]
    return "".join(pairs)[:LENGTH]


def milliseconds_of(queue_id: str) -> int:
    """The time part of a queue id, in milliseconds since 1970. Raises ValueError for what is none."""
    if len(queue_id) != LENGTH or not _CHARACTERS.issuperset(queue_id):
        raise ValueError(f"not a queue id: {queue_id!r}")
    number = 0
    for character in queue_id[:10]:  # 50 bits, of which the first 48 are the time
        number = (number << 5) | _ALPHABET.index(character)
    return number >> 2
