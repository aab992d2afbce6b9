"""Fates in memory: what :mod:`mailserver.spool.fatebook` and :mod:`mailserver.spool.fates` do on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailserver.interfaces import IFates, SpoolFailed
from mailserver.message.fate import Fates, Settled, fates_of
from mailserver.message.prepared import Prepared
from mailserver.spool.memoryrows import Standing
from mailserver.spool.work import Work


@dataclass(slots=True)
class _Sent:
    """A message that asked for fates; ``number`` and ``time`` are of its settlement, 0 before."""

    standing: Standing
    number: int = 0
    time: float = 0.0

    @property
    def settled(self) -> Settled:
        """As `IFates` answers it."""
        prepared = self.standing.prepared
        fates = fates_of(self.standing.shown(()))
        final = {mailbox: fate for mailbox, fate in fates.items() if fate is not None}
        return Settled(prepared.queue_id, prepared.key, Fates(final), self.number)


@implementer(IFates)
class MemoryFates:
    """`running` says whether the spool does; `put` hands work to its next commit; `keep` is in seconds."""

    def __init__(
        self,
        running: Callable[[], bool],
        put: Callable[[Work], Deferred[Any]],
        wall: Callable[[], float],
        keep: float,
    ) -> None:
        self._running = running
        self._put = put
        self._wall = wall
        self._keep = keep
        self._sent: dict[str, _Sent] = {}
        self._keys: dict[str, str] = {}
        self._order: list[str] = []
        self._number = 0
        self._cursors: dict[str, int] = {}
        self._callback: Callable[[Sequence[str]], None] | None = None

    # IFates.

    def sent(self, key: str) -> str | None:
        """See `IFates.sent`."""
        self._check()
        return self._keys.get(key)

    def find(self, queue_id: str) -> Settled | None:
        """See `IFates.find`."""
        self._check()
        found = self._sent.get(queue_id)
        return found.settled if found is not None else None

    def unseen(self, name: str, limit: int) -> Sequence[Settled]:
        """See `IFates.unseen`."""
        self._check()
        begin = self._cursors.get(name, 0)
        return [self._sent[one].settled for one in self._order if self._sent[one].number > begin][:limit]

    def seen(self, name: str, number: int) -> Deferred[None]:
        """See `IFates.seen`."""
        work = Work((), single=False)
        work.seen = (name, number)
        return self._put(work).addCallback(lambda _ids: None)

    def subscribe(self, callback: Callable[[Sequence[str]], None] | None) -> None:
        """See `IFates.subscribe`."""
        self._callback = callback

    def _check(self) -> None:
        if not self._running():
            raise SpoolFailed("the spool is not running")

    # What the spool's commit says.

    def holder(self, prepared: Prepared) -> str | None:
        """Which message has the key of this one, or None."""
        return self._keys.get(prepared.key) if prepared.fates and prepared.key is not None else None

    def enter(self, standing: Standing) -> None:
        """A message was stored."""
        prepared = standing.prepared
        if prepared.fates:
            self._sent[prepared.queue_id] = _Sent(standing)
            if prepared.key is not None:
                self._keys[prepared.key] = prepared.queue_id

    def ended(self, queue_id: str) -> bool:
        """A message has no unfinished recipient left; answers whether it asked for fates."""
        sent = self._sent.get(queue_id)
        if sent is None:
            return False
        self._number += 1
        sent.number, sent.time = self._number, self._wall()
        self._order.append(queue_id)
        self._sweep()
        return True

    def saw(self, name: str, number: int) -> None:
        """A subscriber has seen that much."""
        self._cursors[name] = max(number, self._cursors.get(name, 0))

    def tell(self, works: Sequence[Work]) -> None:
        """A batch was committed."""
        settled = [queue_id for work in works if work.error is None for queue_id in work.settled]
        if settled and self._callback is not None:
            self._callback(settled)

    def _sweep(self) -> None:
        """Forget what is old; what a subscriber has not seen yet is kept for as long again."""
        now, everybody = self._wall(), min(self._cursors.values(), default=self._number)
        while self._order:
            sent = self._sent[self._order[0]]
            age = now - sent.time
            if age <= self._keep or (age <= 2 * self._keep and sent.number > everybody):
                return
            del self._sent[self._order.pop(0)]
            self._keys.pop(sent.standing.prepared.key or "", None)
