"""What the spool hands to the queue manager, and what the manager hands back.

A claim is in flight until its settlement is committed: the spool does not return it before. A settlement
says for some recipients of a message what they are now; everything in it becomes true in one commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Recipient
from mailserver.message.outcome import Outcome
from mailserver.message.prepared import Prepared
from mailserver.message.state import State


@dataclass(frozen=True, slots=True)
class Progress:
    """What a queued recipient has behind it: attempts made, whether a delay notice went out, the last outcome."""

    attempts: int = 0
    notified: bool = False
    last: Outcome | None = None


FRESH = Progress()


@dataclass(frozen=True, slots=True)
class Claim:
    """Due recipients of one message. ``progress`` lacks the numbers of recipients never tried.

    ``again`` is true for whatever was found on disk and not handed over by the commit that stored it.
    """

    queue_id: str
    envelope: Envelope
    recipients: tuple[Recipient, ...]
    content: Content
    arrived: float
    progress: Mapping[int, Progress] = field(default_factory=dict)
    again: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What one recipient becomes. ``due`` is wall-clock seconds for QUEUED and DEFERRED.

    ``attempted`` counts an attempt; ``notified`` records a delay notice; ``destination`` is the route's key,
    kept so that closed destinations can be skipped ("" leaves what is there).
    """

    number: int
    state: State
    outcome: Outcome | None = None
    due: float = 0.0
    destination: str = ""
    attempted: bool = False
    notified: bool = False


@dataclass(frozen=True, slots=True)
class Settlement:
    """Changes to one message, and the messages (DSNs, notices) that must be stored in the same commit.

    ``claimed`` is true when it comes from the holder of a claim and ends the flight of the recipients it
    names; an operator's hold, release, retry or remove is a settlement with ``claimed`` false.
    """

    queue_id: str
    changes: tuple[Change, ...]
    stored: tuple[Prepared, ...] = ()
    claimed: bool = True
