"""The states of one recipient of a queued message, and which of them are final.

Persisted by name, so a name here is an on-disk format: a state may be added, never renamed.
``queued → active → delivered | relayed | expanded | deferred | failed | expired``,
``queued/deferred ↔ held``, and ``→ removed`` from anywhere that is not final.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a recipient stands. ``ACTIVE`` lives in memory only: on disk such a recipient is ``QUEUED``."""

    QUEUED = "queued"
    ACTIVE = "active"
    DEFERRED = "deferred"
    HELD = "held"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"
    FAILED = "failed"
    EXPIRED = "expired"
    REMOVED = "removed"

    @property
    def final(self) -> bool:
        """True when nothing more will happen to the recipient."""
        return self in FINAL


FINAL = frozenset({State.DELIVERED, State.RELAYED, State.EXPANDED, State.FAILED, State.EXPIRED, State.REMOVED})
