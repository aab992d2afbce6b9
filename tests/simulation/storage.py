"""The spool in memory as a disk: what was committed outlives the process, and nothing else does.

A crash point lies between a commit and everybody who hears of it. Where the world's disk is full or failing, every
commit says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mailserver.interfaces import SpoolFailed, SpoolFull
from mailserver.message.claim import Claim
from mailserver.message.content import Content
from mailserver.spool.contract import SpoolOptions, SpoolWorld
from mailserver.spool.memory import MemoryContent, MemorySpool
from mailserver.spool.memoryrows import DueIndex, Standing
from mailserver.spool.work import Work
from mailserver.threads import inline

Rows = Mapping[str, Standing]
_NO_ROOM = "no space left on device"


class _DiskContent(MemoryContent):
    """One that has no room to be written while the disk is full and memory is spent."""

    __slots__ = ("_world",)

    def __init__(self, world: Any) -> None:
        super().__init__()
        self._world = world

    def finish(self) -> None:
        """See `Content.finish`."""
        if self._world.cramped and self._world.disk == "full":
            raise SpoolFull(_NO_ROOM)


class Storage(MemorySpool):
    """Of a `Process`; `rows` are what the one before it left."""

    def __init__(self, process: Any, rows: Rows, longest: float) -> None:
        around = SpoolWorld(process.loop, process.world, inline, process.log.event, lambda reason: None)
        super().__init__(around, SpoolOptions(longest_interval=longest), beat=0)
        self._process = process
        # Settlements that found no room, and were not committed since.
        self.refused: set[tuple[str, tuple[int, ...]]] = set()
        self._standings.update(rows)
        self._octets = sum(one.prepared.content.stored for one in rows.values())
        self._due = DueIndex(self._standings, self._flights, longest)

    def durable(self) -> Rows:
        """What a fresh process finds."""
        return {
            queue_id: Standing(one.prepared, {number: replace(row) for number, row in one.rows.items()})
            for queue_id, one in self._standings.items()
        }

    def rows_of(self, queue_id: str) -> Any:
        """Of a message that is there, or was."""
        return (self._standings.get(queue_id) or self._ended[queue_id]).rows

    def new_content(self) -> Content:
        """See `ISpool.new_content`."""
        return _DiskContent(self._process.world)

    def claim(
        self, now: float, limit: int, closed: Collection[str] = frozenset(), only: Collection[str] | None = None
    ) -> Sequence[Claim]:
        """See `ISpool.claim`."""
        claims = super().claim(now, limit, closed, only)
        if claims and self._process.alive:
            self._process.claimed(claims)
        return claims

    def _objection(self, work: Work) -> Exception | None:
        disk = self._process.world.disk
        if disk == "fine":
            return super()._objection(work)
        if disk == "failing":
            self._process.fatal()
            return SpoolFailed("fsync failed")
        if disk == "full" or not work.settles:
            return SpoolFull(_NO_ROOM)
        return super()._objection(work)

    def _handed_over(self, works: Sequence[Work]) -> Iterator[Claim]:
        if self._process.alive:
            self._note(works)
            self._process.point("committed, and nobody told")
        return super()._handed_over(works)

    def _note(self, works: Sequence[Work]) -> None:
        ledger, flying = self._process.ledger, self._subscriber is not None
        for work in works:
            for settlement, active in work.changes:
                name = (settlement.queue_id, tuple(change.number for change in settlement.changes))
                if settlement.claimed and isinstance(work.error, SpoolFull):
                    self.refused.add(name)
                    continue
                self.refused.discard(name)
                # One of a message that is gone changes nothing.
                there = settlement.queue_id in self._standings or settlement.queue_id in self._ended
                if work.error is None and there:
                    ledger.settled(settlement, self.rows_of(settlement.queue_id), active)
            for prepared in work.stored if work.error is None else ():
                ledger.stored(prepared, flying)
