"""What a settlement makes of the recipients of one message, without any database.

``accepted`` is the rule of who may change what. The holder of a claim decides, but what was removed stays
removed, and what was put on hold under way is held when its attempt ends deferred. An operator's change of a
recipient in flight is written at once, so that a crash keeps it; it shows when the attempt ends:

    ===========  =============  ==========================  ==========================
    it is        holder says    operator says, in flight    operator says, not in flight
    ===========  =============  ==========================  ==========================
    queued       that           held, final: that;          that
    deferred                    queued, deferred: nothing
    held         final, held:   final: that; queued,        that
                 that; else     deferred: queued
                 held
    final        nothing        nothing                     nothing
    ===========  =============  ==========================  ==========================
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from mailserver.message.claim import Change, Settlement
from mailserver.message.state import State
from mailserver.spool.packing import pack_outcome, split_recipients

_WAITING = (State.QUEUED, State.DEFERRED)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table of recipients; ``mailbox``, ``originals`` and ``outcome`` are packed."""

    number: int
    mailbox: str
    originals: str
    state: State
    due: float
    attempts: int = 0
    notified: bool = False
    destination: str = ""
    outcome: str | None = None

    @classmethod
    def read(cls, columns: Iterable[Any]) -> Row:
        """From the columns in the order of :meth:`columns`."""
        number, mailbox, originals, state, due, attempts, notified, destination, outcome = columns
        return cls(number, mailbox, originals, State(state), due, attempts, bool(notified), destination, outcome)

    def columns(self) -> tuple[Any, ...]:
        """For the database, in the order of the table after ``message``."""
        return (
            self.number, self.mailbox, self.originals, self.state.value, self.due, self.attempts,
            int(self.notified), self.destination, self.outcome,
        )  # fmt: skip


@dataclass(slots=True)
class Standing:
    """The recipients of one message while settlements are applied. ``before``: the states, on disk, of those
    that changed; ``fates``: their fates were asked for."""

    unpacked: bool
    file: str | None
    rows: dict[int, Row]
    before: dict[int, State] = field(default_factory=dict)
    fates: bool = False

    @classmethod
    def packed(cls, recipients: str, arrived: float, file: str | None) -> Standing:
        """Of a message whose packed list is the truth: all queued, due since it arrived."""
        rows = {
            number: Row(number, mailbox, originals, State.QUEUED, arrived)
            for number, mailbox, originals in split_recipients(recipients)
        }
        return cls(False, file, rows)

    @property
    def finished(self) -> bool:
        """Whether every recipient is final."""
        return all(row.state.final for row in self.rows.values())

    def apply(self, settlement: Settlement, active: frozenset[int]) -> float | None:
        """Apply `settlement`; the answer is the earliest due time among what waits now because of it."""
        earliest: float | None = None
        for change in settlement.changes:
            row = self.rows[change.number]
            state = accepted(row.state, change.state, settlement.claimed, change.number in active)
            if state is None:
                continue
            after = self.rows[change.number] = _changed(row, change, state)
            self.before.setdefault(change.number, row.state)
            if state in _WAITING and (earliest is None or after.due < earliest):
                earliest = after.due
        return earliest


def accepted(current: State, wanted: State, claimed: bool, active: bool) -> State | None:
    """What the recipient becomes, or None when nothing changes: the table above."""
    if wanted is State.ACTIVE:
        raise ValueError("active is never written")
    if current.final:
        return None
    if wanted not in _WAITING:
        return wanted
    if claimed:
        return State.HELD if current is State.HELD else wanted
    if active:
        return State.QUEUED if current is State.HELD else None
    return wanted


def _changed(row: Row, change: Change, state: State) -> Row:
    # A recipient that is held keeps its due time.
    moves = state is change.state and state in _WAITING
    return replace(
        row,
        state=state,
        due=change.due if moves else row.due,
        attempts=row.attempts + change.attempted,
        notified=row.notified or change.notified,
        destination=change.destination or row.destination,
        outcome=row.outcome if change.outcome is None else pack_outcome(change.outcome),
    )
