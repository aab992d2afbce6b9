"""Settlements on their way to the spool, and what happens when they cannot be committed.

Law 4 of the design: while a settlement cannot be committed it stays in memory, nothing new is claimed, new
mail gets 452 (`blocked` says why), and the same commit is tried again with each tick. So the same mail is
never sent twice because a disk was full. A store that failed is given up: a fresh process recovers.

A settlement that the spool refuses for any other reason is tried alone, so that it takes no other with it;
refused again, it is logged, and its recipients stay in flight until the next start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from mailserver.interfaces import ISpool, SpoolFailed, SpoolFull
from mailserver.message.claim import Settlement


class Settling:
    """``owe`` collects, ``flush`` sends what was collected in this turn as one call to the spool."""

    def __init__(self, spool: ISpool, log: Any, freed: Callable[[], None]) -> None:
        self._spool = spool
        self._log = log
        self._freed = freed
        self._collected: list[Settlement] = []
        self._refused: list[Settlement] = []
        self._under_way = 0
        self._idle: list[Deferred[None]] = []
        self.blocked: str | None = None
        self.failed = False

    @property
    def unsettled(self) -> int:
        """How many settlements are in memory only."""
        return len(self._collected) + len(self._refused)

    def owe(self, settlement: Settlement) -> None:
        """Note a settlement for the next flush."""
        self._collected.append(settlement)

    def flush(self) -> None:
        """Hand everything noted to the spool."""
        if self._collected:
            batch, self._collected = self._collected, []
            if self.blocked:
                self._refused.extend(batch)
            else:
                self._send(batch)

    def tick(self) -> None:
        """Try again what the spool had no room for."""
        if self._refused and not self._under_way and not self.failed:
            batch, self._refused = self._refused, []
            self._send(batch)

    def give_up(self, reason: str) -> None:
        """The store has failed: nothing is settled any more in this process."""
        self.failed = True
        self.blocked = reason or "the spool has failed"

    def _send(self, batch: Sequence[Settlement]) -> None:
        self._under_way += 1
        done = _asked(self._spool, batch)
        done.addCallbacks(self._settled, self._unsettled, errbackArgs=(batch,))

    def _settled(self, _ids: Sequence[str]) -> None:
        self._under_way -= 1
        self._unblock()
        self._end_of_one()
        self._freed()

    def _unblock(self) -> None:
        if self.blocked and not self._refused and not self.failed:
            self._log.event("queue.unblocked", reason=self.blocked)
            self.blocked = None

    def _unsettled(self, failure: Failure, batch: Sequence[Settlement]) -> None:
        self._under_way -= 1
        if failure.check(SpoolFull):
            self._no_room(str(failure.value), batch)
        elif failure.check(SpoolFailed):
            self.give_up(str(failure.value))
        elif len(batch) > 1:
            for one in batch:
                self._send([one])
        else:
            # A bug of ours or a row the store cannot take.
            self._log.failure("a settlement could not be stored", failure.value, queue=batch[0].queue_id)
            self._unblock()
        self._end_of_one()

    def _no_room(self, reason: str, batch: Sequence[Settlement]) -> None:
        self._refused.extend(batch)
        if not self.blocked:
            self._log.event("queue.blocked", reason=reason, settlements=len(batch))
        if not self.failed:
            self.blocked = reason or "the spool is full"

    def _end_of_one(self) -> None:
        if not self._under_way:
            waiting, self._idle = self._idle, []
            for one in waiting:
                one.callback(None)

    def drained(self) -> Deferred[None]:
        """Fires when no commit is under way any more."""
        done: Deferred[None] = Deferred()
        if self._under_way:
            self._idle.append(done)
        else:
            done.callback(None)
        return done


def _asked(spool: ISpool, batch: Sequence[Settlement]) -> Deferred[Any]:
    try:
        answer = spool.settle(batch)
    except Exception:
        return fail(Failure())
    return answer if isinstance(answer, Deferred) else Deferred.fromCoroutine(_awaited(answer))


async def _awaited(answer: Awaitable[Sequence[str]]) -> Sequence[str]:
    return await answer
