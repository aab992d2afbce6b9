"""What a listing of the spool asks, and what it gets: the values of `ISpoolReader.find`.

Times are wall-clock seconds since 1970, sizes octets.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailserver.message.envelope import Envelope, Recipient
from mailserver.message.outcome import Outcome
from mailserver.message.state import State


@dataclass(frozen=True, slots=True)
class Query:
    """Which messages to list, by queue id; what is left at its default does not narrow.

    A ``queue_id`` that is not None finds that message or nothing: "" is the id of none. ``after`` is the
    ``after`` of the page before; ``state`` and ``destination`` must be met by one recipient.
    """

    queue_id: str | None = None
    state: State | None = None
    destination: str = ""
    after: str = ""
    limit: int = 100


@dataclass(frozen=True, slots=True)
class QueuedRecipient:
    """Where one recipient stands. ``state`` is ACTIVE while it is in flight; ``last`` is the last outcome."""

    recipient: Recipient
    state: State
    due: float
    attempts: int = 0
    notified: bool = False
    destination: str = ""
    last: Outcome | None = None


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """One message of a listing. ``size`` counts as SIZE does (RFC 1870 §3)."""

    queue_id: str
    envelope: Envelope
    arrived: float
    size: int
    recipients: tuple[QueuedRecipient, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """``after`` asks for the next page; "" means there is none. A page may be short although more follow."""

    messages: tuple[QueuedMessage, ...]
    after: str = ""
