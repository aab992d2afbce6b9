"""The spool in memory: the semantics of :mod:`mailserver.spool.sqlite`, and nothing survives the process.

For tests and for what need not be kept. Commits happen in the reactor's next turn, all work of one turn as one
batch: first the waiters of ``store`` and ``settle`` are told, then the subscriber gets the fresh messages, which
are in flight from then on. No thread, no file. What a settlement makes of a recipient is decided by the same
table (:func:`mailserver.spool.rows.accepted`), what is in flight by the same class.

Bounded: contents over ``memory_budget`` in all are refused with SpoolFull, while settlements always go through.
:attr:`MemorySpool.full` set to a reason refuses new mail in the same way, as a full disk would.

Unlike on disk, where a message stood at its end can still be asked (:meth:`MemorySpool.recipients`), for the
last :data:`REMEMBERED` messages.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from mailserver.interfaces import ISpool, ISpoolReader, SpoolFailed, SpoolFull
from mailserver.message.claim import Claim, Settlement
from mailserver.message.content import Content
from mailserver.message.prepared import Prepared
from mailserver.message.query import Page, Query, QueuedRecipient
from mailserver.message.state import State
from mailserver.spool.contract import SpoolOptions, SpoolWorld
from mailserver.spool.flight import Flights
from mailserver.spool.memoryfates import MemoryFates
from mailserver.spool.memoryrows import DueIndex, Standing, page_of
from mailserver.spool.wanted import Wanted
from mailserver.spool.work import Work

REMEMBERED = 10_000
Subscriber = Callable[[list[Claim]], None]
_NOT_RUNNING = "the spool is not running"


class MemoryContent(Content):
    """A content that belongs to the spool from ``store`` on: then ``discard`` does nothing."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        super().__init__()
        self._taken = False

    def take(self) -> None:
        """The spool takes it for one message."""
        assert not self._taken, "a content belongs to one message"
        self._taken = True

    def give_back(self) -> None:
        """It was not stored."""
        self._taken = False

    def discard(self) -> None:
        """See `Content.discard`. Does nothing once the message is stored."""
        if not self._taken:
            super().discard()


@implementer(ISpool, ISpoolReader)
class MemorySpool:
    """Of `world` the reactor (``callFromThread``, and ``callLater`` for the ticks) and the clock are used.

    ``fates`` is an `IFates`; ``beat`` is how many seconds lie between two ticks; 0: whoever made the spool calls
    :meth:`tick`.
    """

    unclean = False

    def __init__(self, world: SpoolWorld, options: SpoolOptions | None = None, beat: float = 1.0) -> None:
        self._world = world
        self._options = options or SpoolOptions()
        self._beat = beat
        self._beating: Any = None
        self._flights = Flights()
        self._standings: dict[str, Standing] = {}
        self._ended: OrderedDict[str, Standing] = OrderedDict()
        self._due = DueIndex(self._standings, self._flights, self._options.longest_interval)
        self.fates = MemoryFates(lambda: self._running, self._put, world.clock.wall, self._options.fates_kept)
        self._octets = 0
        self._works: list[Work] = []
        self._subscriber: Subscriber | None = None
        self._tickers: list[Callable[[], None]] = []
        self._running = False
        self.full: str | None = None

    # Life.

    def start(self) -> None:
        """From now on it takes mail."""
        self._running = True
        self._schedule()

    def _schedule(self) -> None:
        if self._beat:
            self._beating = self._world.reactor.callLater(self._beat, self._beaten)

    def _beaten(self) -> None:
        self._schedule()
        self.tick()

    def stop(self) -> Deferred[None]:
        """Commit what is waiting. What is stored stays, as long as this object does; nothing is in flight."""
        if self._running:
            self._commit()
            self._running = False
            self._flights = Flights()
            self._due = DueIndex(self._standings, self._flights, self._options.longest_interval)
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None
        return succeed(None)

    # Who listens.

    def subscribe(self, callback: Subscriber | None) -> None:
        """`callback` gets the fresh messages of each batch, and owes their settlement; None ends that."""
        self._subscriber = callback

    def ticks(self, callback: Callable[[], None]) -> None:
        """`callback` is called with every tick."""
        self._tickers.append(callback)

    def tick(self) -> None:
        """Tell everybody who wants to know that time has passed."""
        for ticker in self._tickers:
            ticker()

    # ISpool.

    @property
    def healthy(self) -> str | None:
        """Why new mail should get 452 now; None while all is well."""
        return self.full if self._running else _NOT_RUNNING

    def new_content(self) -> Content:
        """See `ISpool.new_content`."""
        return MemoryContent()

    def store(self, prepared: Prepared) -> Deferred[Any]:
        """See `ISpool.store`. ValueError for a queue id that is there already."""
        return self._put(Work((prepared,), single=True))

    def settle(self, settlements: Sequence[Settlement]) -> Deferred[Any]:
        """See `ISpool.settle`. KeyError for a recipient that the message does not have."""
        work = Work([one for settlement in settlements for one in settlement.stored], single=False)
        for settlement in settlements:
            active = frozenset() if settlement.claimed else self._flights.active(settlement.queue_id)
            work.changes.append((settlement, active))
        return self._put(work)

    def _put(self, work: Work) -> Deferred[Any]:
        if not self._running:
            return fail(SpoolFailed(_NOT_RUNNING))
        for prepared in work.stored:
            assert prepared.recipients, "a message needs a recipient"
            if isinstance(prepared.content, MemoryContent):
                prepared.content.take()
        if not self._works:
            self._world.reactor.callFromThread(self._commit)
        self._works.append(work)
        return work.done

    def claim(
        self, now: float, limit: int, closed: Collection[str] = frozenset(), only: Collection[str] | None = None
    ) -> Sequence[Claim]:
        """See `ISpool.claim`. Answers nothing once the spool is stopped."""
        if not self._running:
            return ()
        wanted = Wanted(closed, only)
        return [self._claim(queue_id, now, wanted) for queue_id in self._due.find(now, limit, wanted)]

    def _claim(self, queue_id: str, now: float, wanted: Wanted) -> Claim:
        standing = self._standings[queue_id]
        prepared, active = standing.prepared, self._flights.active(queue_id)
        rows = [
            row
            for row in standing.rows.values()
            if row.recipient.number not in active and self._due.is_due(row, now) and wanted.takes(row.destination)
        ]
        numbers = [row.recipient.number for row in rows]
        self._flights.begin(queue_id, prepared.content, numbers, len(standing.rows))
        progress = {row.recipient.number: row.progress for row in rows if row.progress is not None}
        recipients = tuple(row.recipient for row in rows)
        return Claim(
            queue_id, prepared.envelope, recipients, prepared.content, prepared.arrived, progress, again=True
        )

    def next_due(self) -> float | None:
        """See `ISpool.next_due`."""
        return self._due.next(self._world.clock.wall()) if self._running else None

    # ISpoolReader.

    def find(self, query: Query) -> Page:
        """See `ISpoolReader.find`. Raises SpoolFailed."""
        if not self._running:
            raise SpoolFailed(_NOT_RUNNING)
        return page_of(self._standings, self._flights, query)

    def counts(self) -> Mapping[str, int]:
        """See `ISpoolReader.counts`; ``active`` are those of the others that are in flight now."""
        counts = {"messages": len(self._standings)}
        for standing in self._standings.values():
            for row in standing.rows.values():
                counts[row.state.value] = counts.get(row.state.value, 0) + 1
        return {**counts, State.ACTIVE.value: self._flights.recipients()}

    def content(self, queue_id: str) -> Content | None:
        """See `ISpoolReader.content`."""
        standing = self._standings.get(queue_id)
        return standing.prepared.content if standing is not None and self._running else None

    def recipients(self, queue_id: str) -> Sequence[QueuedRecipient]:
        """Where the recipients of a message stand, or stood when it ended. Raises KeyError."""
        standing = self._standings.get(queue_id) or self._ended[queue_id]
        return standing.shown(self._flights.active(queue_id))

    # The commit.

    def _commit(self) -> None:
        works, self._works = self._works, []
        for work in works:
            work.error = self._objection(work)
            if work.error is None:
                self._settle(work)
                self._insert(work)
        fresh = list(self._handed_over(works))
        for work in works:
            if work.error is not None or work.earlier is not None:
                _give_back(work)
            if work.error is None:
                work.done.callback(work.answer())
            else:
                work.done.errback(work.error)
        self.fates.tell(works)
        if fresh and self._subscriber is not None:
            self._subscriber(fresh)

    def _settle(self, work: Work) -> None:
        if work.seen is not None:
            self.fates.saw(*work.seen)
        for settlement, active in work.changes:
            queue_id = settlement.queue_id
            standing = self._standings.get(queue_id)
            if standing is not None:
                standing.apply(settlement, active)
                if standing.finished and self._end(queue_id, standing):
                    work.settled.append(queue_id)
            if settlement.claimed:
                self._flights.settled(queue_id, settlement.changes)
            if queue_id in self._standings:
                self._due.written(queue_id, settlement.changes)

    def _objection(self, work: Work) -> Exception | None:
        """Why none of `work` can be done, or None. Nothing is changed."""
        octets = sum(prepared.content.stored for prepared in work.stored)
        if not work.settles and (self.full or self._octets + octets > self._options.memory_budget):
            return SpoolFull(self.full or "the memory for contents is used up")
        for prepared in work.stored:
            if prepared.queue_id in self._standings:
                return ValueError(f"there is a message {prepared.queue_id} already")
        for settlement, _active in work.changes:
            standing = self._standings.get(settlement.queue_id)
            for change in settlement.changes:
                if change.state is State.ACTIVE:
                    return ValueError("active is never written")
                if standing is not None and change.number not in standing.rows:
                    return KeyError(change.number)
        return None

    def _insert(self, work: Work) -> None:
        for prepared in work.stored:
            work.earlier = self.fates.holder(prepared)
            if work.earlier is not None:
                return  # `store` of a message that is here already
            standing = self._standings[prepared.queue_id] = Standing.fresh(prepared)
            self.fates.enter(standing)
            self._octets += prepared.content.stored

    def _end(self, queue_id: str, standing: Standing) -> bool:
        """The last recipient is final; answers whether the message asked for fates."""
        del self._standings[queue_id]
        self._octets -= standing.prepared.content.stored
        self._flights.gone(queue_id, None)
        self._ended[queue_id] = standing
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        return self.fates.ended(queue_id)

    def _handed_over(self, works: Sequence[Work]) -> Iterator[Claim]:
        for work in works:
            for prepared in work.stored if work.error is None and work.earlier is None else ():
                if self._subscriber is None:
                    self._due.stored(prepared)
                    continue
                queue_id, recipients = prepared.queue_id, prepared.recipients
                numbers = [one.number for one in recipients]
                self._flights.begin(queue_id, prepared.content, numbers, len(numbers))
                yield Claim(
                    queue_id, prepared.envelope, recipients, prepared.content, prepared.arrived, {}, again=False
                )


def _give_back(work: Work) -> None:
    for prepared in work.stored:
        if isinstance(prepared.content, MemoryContent):
            prepared.content.give_back()
