"""What the spool in memory knows of each recipient, which of them are due, and how a listing shows them.

The index of due times is a heap that is never cleaned: an entry counts only while the row still waits for just
that time and is not in flight, and whatever else comes up is dropped.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mailserver.message.claim import Change, Progress, Settlement
from mailserver.message.envelope import Recipient
from mailserver.message.outcome import Outcome
from mailserver.message.prepared import Prepared
from mailserver.message.query import Page, Query, QueuedMessage, QueuedRecipient
from mailserver.message.state import State
from mailserver.spool.flight import Flights
from mailserver.spool.rows import accepted
from mailserver.spool.wanted import Wanted

_WAITING = (State.QUEUED, State.DEFERRED)


@dataclass(slots=True)
class Row:
    """One recipient."""

    recipient: Recipient
    state: State
    due: float
    attempts: int = 0
    notified: bool = False
    destination: str = ""
    last: Outcome | None = None

    @property
    def progress(self) -> Progress | None:
        """What it has behind it, or None when it was never tried."""
        tried = self.attempts or self.notified or self.last is not None
        return Progress(self.attempts, self.notified, self.last) if tried else None

    def change(self, change: Change, state: State) -> None:
        """Become `state` because of `change`, which may have asked for another."""
        # A recipient that is held keeps its due time.
        if state is change.state and state in _WAITING:
            self.due = change.due
        self.state = state
        self.attempts += change.attempted
        self.notified = self.notified or change.notified
        self.destination = change.destination or self.destination
        self.last = change.outcome or self.last


@dataclass(frozen=True, slots=True)
class Standing:
    """One message."""

    prepared: Prepared
    rows: Mapping[int, Row]

    @classmethod
    def fresh(cls, prepared: Prepared) -> Standing:
        """All queued, due since it arrived."""
        rows = {one.number: Row(one, State.QUEUED, prepared.arrived) for one in prepared.recipients}
        return cls(prepared, rows)

    @property
    def finished(self) -> bool:
        """Whether every recipient is final."""
        return all(row.state.final for row in self.rows.values())

    def apply(self, settlement: Settlement, active: frozenset[int]) -> None:
        """Change what the table of :mod:`mailserver.spool.rows` allows to be changed."""
        for change in settlement.changes:
            row = self.rows[change.number]
            state = accepted(row.state, change.state, settlement.claimed, change.number in active)
            if state is not None:
                row.change(change, state)

    def shown(self, active: Collection[int]) -> tuple[QueuedRecipient, ...]:
        """As a listing has it; `active` are the numbers in flight."""
        return tuple(_shown(row, row.recipient.number in active) for row in self.rows.values())


def _shown(row: Row, active: bool) -> QueuedRecipient:
    state = State.ACTIVE if active and not row.state.final else row.state
    return QueuedRecipient(row.recipient, state, row.due, row.attempts, row.notified, row.destination, row.last)


class DueIndex:
    """When which row is due. A due time more than `longest` seconds ahead counts as now (0: no such rule)."""

    def __init__(self, standings: Mapping[str, Standing], flights: Flights, longest: float) -> None:
        self._standings = standings
        self._flights = flights
        self._longest = longest or math.inf
        self._heap: list[tuple[float, str, int]] = []
        self._latest = -math.inf
        for standing in standings.values():
            self.stored(standing.prepared)

    def stored(self, prepared: Prepared) -> None:
        """A message whose recipients are in nobody's hands."""
        self._add(prepared.queue_id, (one.number for one in prepared.recipients))

    def written(self, queue_id: str, changes: Iterable[Change]) -> None:
        """A commit changed these recipients of a message that is still there."""
        self._add(queue_id, (one.number for one in changes))

    def _add(self, queue_id: str, numbers: Iterable[int]) -> None:
        rows = self._standings[queue_id].rows
        for number in numbers:
            if rows[number].state in _WAITING:
                heapq.heappush(self._heap, (rows[number].due, queue_id, number))
                self._latest = max(self._latest, rows[number].due)

    def is_due(self, row: Row, now: float) -> bool:
        """Whether the row waits, and is to be tried now."""
        return row.state in _WAITING and (row.due <= now or row.due > now + self._longest)

    def _row(self, entry: tuple[float, str, int]) -> Row | None:
        """The row of an entry that still counts."""
        due, queue_id, number = entry
        standing = self._standings.get(queue_id)
        if standing is None or number in self._flights.active(queue_id):
            return None
        row = standing.rows[number]
        return row if row.state in _WAITING and row.due == due else None

    def next(self, now: float) -> float | None:
        """When a search may find something, in flight left out; None for never."""
        while self._heap and self._row(self._heap[0]) is None:
            heapq.heappop(self._heap)
        if not self._heap:
            return None
        return now if self._far(now) else self._heap[0][0]

    def _far(self, now: float) -> bool:
        """Whether a time is so far ahead that a clock must have jumped."""
        ahead = now + self._longest
        return self._latest > ahead and any(e[0] > ahead and self._row(e) is not None for e in self._heap)

    def find(self, now: float, limit: int, wanted: Wanted) -> Sequence[str]:
        """At most `limit` messages with a row to be tried now, oldest due first. What was found is to be put
        in flight."""
        if self._far(now):
            return self._search(now, limit, wanted)
        found: dict[str, None] = {}
        again = []
        while self._heap and self._heap[0][0] <= now and len(found) < limit:
            entry = heapq.heappop(self._heap)
            row = self._row(entry)
            if row is None:
                continue
            if not wanted.takes(row.destination):
                again.append(entry)
            else:
                found[entry[1]] = None
        for entry in again:
            heapq.heappush(self._heap, entry)
        return list(found)

    def _search(self, now: float, limit: int, wanted: Wanted) -> Sequence[str]:
        """The same through all rows, because their order says nothing when a clock has jumped."""
        rows = ((entry, self._row(entry)) for entry in self._heap)
        due = sorted(
            (min(entry[0], now), entry[1])
            for entry, row in rows
            if row is not None and self.is_due(row, now) and wanted.takes(row.destination)
        )
        return list(dict.fromkeys(queue_id for _since, queue_id in due))[:limit]


def page_of(standings: Mapping[str, Standing], flights: Flights, query: Query) -> Page:
    """See `ISpoolReader.find`."""
    if query.queue_id is not None:
        ids = [query.queue_id] if query.queue_id in standings else []
    else:
        ids = sorted(queue_id for queue_id in standings if queue_id > query.after)
    messages: list[QueuedMessage] = []
    for queue_id in ids:
        message = _message(standings[queue_id], flights.active(queue_id))
        if not _meets(message, query):
            continue
        if len(messages) == query.limit:
            return Page(tuple(messages), messages[-1].queue_id)
        messages.append(message)
    return Page(tuple(messages))


def _message(standing: Standing, active: Collection[int]) -> QueuedMessage:
    prepared = standing.prepared
    return QueuedMessage(
        prepared.queue_id, prepared.envelope, prepared.arrived, prepared.content.size, standing.shown(active)
    )


def _meets(message: QueuedMessage, query: Query) -> bool:
    return any(
        (query.state is None or one.state is query.state)
        and (not query.destination or one.destination == query.destination)
        for one in message.recipients
    )
