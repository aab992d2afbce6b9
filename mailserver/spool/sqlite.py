"""The spool on SQLite: a message is durable when its commit is, and not a moment earlier.

`SqliteSpool` is the reactor's side. It keeps what is in flight, hands work to the commit thread, and spreads
what comes back: first the waiters of ``store`` and ``settle``, then the subscriber, who gets the fresh messages
of the batch while their content is still in memory. From then on these are in flight, and the subscriber must
settle them; without a subscriber they are not, and ``claim`` finds them.

Guarantees: no answer before the commit; a content file is durable before its row, and is unlinked after the
row is gone and the last open attempt has ended; one writing connection, under ``flock``; after an error of
the disk nothing is committed any more, ``on_fatal`` is called once, and the lock stays with this process.

Errors: SpoolBusy, SchemaTooNew and SpoolFailed from :meth:`SqliteSpool.start`; SpoolFull and SpoolFailed, and
for a message that the database cannot take its own exception, from the awaitables.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from mailserver.interfaces import ISpool, ISpoolReader, MailServerError, SpoolFailed
from mailserver.message.claim import Claim, Settlement
from mailserver.message.content import Content
from mailserver.message.prepared import Prepared
from mailserver.spool.budget import MemoryBudget
from mailserver.spool.claims import Claims
from mailserver.spool.committer import Committer, Surroundings
from mailserver.spool.content import SpoolContent
from mailserver.spool.contract import Page, Query, SpoolOptions, SpoolWorld
from mailserver.spool.fates import SpoolFates
from mailserver.spool.files import ContentFiles
from mailserver.spool.flight import Flights
from mailserver.spool.listing import Listing
from mailserver.spool.lock import PATIENCE, SpoolLock
from mailserver.spool.opening import Opened, open_writer, prepare
from mailserver.spool.reader import Reader
from mailserver.spool.wanted import Wanted
from mailserver.spool.work import Work

Subscriber = Callable[[list[Claim]], None]
_CONTENT = "SELECT file, head, body, size, octets FROM messages WHERE id = ?"
_NOT_RUNNING = "the spool is not running"


@implementer(ISpool, ISpoolReader)
class SqliteSpool:
    """A spool in `directory`. Nothing is touched before :meth:`start`.

    ``unclean``: whether the process before this one ended without :meth:`stop`; ``fates`` is an `IFates`.
    """

    def __init__(self, directory: Path, options: SpoolOptions, world: SpoolWorld) -> None:
        self._directory = directory
        self._options = options
        self._world = world
        self._lock = SpoolLock(directory)
        self._budget = MemoryBudget(options.memory_budget)
        self._files = ContentFiles(directory / "content", world.threads, world.log, self._fail)
        self._flights = Flights()
        self._subscriber: Subscriber | None = None
        self._tickers: list[Callable[[], None]] = []
        self._running = False
        self._fatal = False
        self._stopped: Deferred[None] | None = None
        self.unclean = False
        self.fates = SpoolFates(self._reading, self._put)

    # Life.

    def start(self) -> None:
        """Lock, open, migrate, sweep, and start the commit thread. Blocks; before any listener accepts."""
        prepare(self._directory)
        # A reactor that runs already has others to serve.
        patience = 0.0 if getattr(self._world.reactor, "running", False) else PATIENCE
        self._lock.acquire(self._world.clock.wall(), patience)
        try:
            self._open()
        except (sqlite3.Error, OSError) as error:
            self._lock.release()
            raise SpoolFailed(f"cannot open the spool {self._directory}: {error}") from error
        except BaseException:
            self._lock.release()
            raise
        self._running = True
        self._committer.start()

    def _open(self) -> None:
        opened = open_writer(self._directory, self._options, self._world)
        with contextlib.ExitStack() as undo:
            undo.callback(opened.ledger.connection.close)
            self._reader = Reader(self._directory / "spool.db", self._fail)
            undo.callback(self._reader.close)
            self._begin(opened)
            undo.pop_all()

    def _begin(self, opened: Opened) -> None:
        self.unclean = opened.unclean
        strays = self._files.sweep(frozenset(opened.ledger.files()))
        if strays or self.unclean:
            self._world.log("spool.opened", unclean=self.unclean, strays=strays)
        self._claims = Claims(self._reader, self._flights, self._read, self._options.longest_interval)
        self._listing = Listing(self._reader, self._flights)
        world = self._world
        around = Surroundings(
            world.reactor.callFromThread,
            world.clock.monotonic,
            self._committed,
            self._tick,
            self._failed,
            self._ended,
        )
        self._committer = Committer(opened, around)

    def stop(self) -> Deferred[None]:
        """Commit what is queued, checkpoint, close, release the lock. After a failure nothing of that is done.

        What is claimed stays as it is on disk: due."""
        if not self._running:
            return succeed(None)
        self._running = False
        if self._fatal or self._committer.failed:
            return succeed(None)
        self._stopped = stopped = Deferred[None]()
        self._reader.close()
        self._committer.stop()
        return stopped.addCallback(lambda _none: self._files.idle())

    def _ended(self) -> None:
        self._committer.join()
        self._lock.release()
        assert self._stopped is not None
        self._stopped.callback(None)

    def _fail(self, reason: str) -> None:
        if self._running:
            self._committer.fail(reason)

    def _failed(self, reason: str) -> None:
        self._fatal = True
        self._world.log("spool.failed", reason=reason)
        self._world.on_fatal(reason)
        if self._stopped is not None:
            self._stopped.callback(None)

    # Who listens.

    def subscribe(self, callback: Subscriber | None) -> None:
        """`callback` gets the fresh messages of each batch, and owes their settlement; None ends that."""
        self._subscriber = callback

    def ticks(self, callback: Callable[[], None]) -> None:
        """`callback` is called about once a second of monotonic time."""
        self._tickers.append(callback)

    def _tick(self) -> None:
        for ticker in self._tickers:
            ticker()

    # ISpool.

    @property
    def healthy(self) -> str | None:
        """Why new mail should get 452 now; None while all is well."""
        return self._committer.unhealthy if self._running else _NOT_RUNNING

    @property
    def failed(self) -> str | None:
        """Why nothing is committed any more in this process; None while all is well."""
        return self._committer.failed if self._running else None

    @property
    def wal_size(self) -> int:
        """Octets of the write-ahead log."""
        return self._committer.wal.size

    @property
    def checkpoint_seconds(self) -> float:
        """How long the last checkpoint took."""
        return self._committer.wal.seconds

    def new_content(self) -> Content:
        """See `ISpool.new_content`."""
        return SpoolContent(self._files, self._budget, self._options.content_cap)

    def _read(self, columns: tuple[Any, ...]) -> SpoolContent:
        return SpoolContent.kept(self._files, self._budget, columns)

    def store(self, prepared: Prepared) -> Deferred[Any]:
        """See `ISpool.store`."""
        return self._put(Work((prepared,), single=True))

    def settle(self, settlements: Sequence[Settlement]) -> Deferred[Any]:
        """See `ISpool.settle`."""
        work = Work([one for settlement in settlements for one in settlement.stored], single=False)
        for settlement in settlements:
            queue_id = settlement.queue_id
            if settlement.claimed:
                flight = self._flights.get(queue_id)
                if flight is not None and flight.ends_with(settlement.changes):
                    work.removals.append(queue_id)
                else:
                    work.changes.append((settlement, frozenset()))
            else:
                work.changes.append((settlement, self._flights.active(queue_id)))
        return self._put(work)

    def _put(self, work: Work) -> Deferred[Any]:
        if not self._running:
            return fail(SpoolFailed(_NOT_RUNNING))
        if self._committer.failed is not None:
            return fail(SpoolFailed(self._committer.failed))
        for prepared in work.stored:
            assert prepared.recipients, "a message needs a recipient"
            self._flights.coming.add(prepared.queue_id)
            if isinstance(prepared.content, SpoolContent):
                prepared.content.take()
        self._committer.put(work)
        return work.done

    def claim(
        self, now: float, limit: int, closed: Collection[str] = frozenset(), only: Collection[str] | None = None
    ) -> Sequence[Claim]:
        """See `ISpool.claim`. Answers nothing once the spool is stopped or has failed."""
        if not self._usable:
            return ()
        try:
            return self._claims.claim(now, limit, Wanted(closed, only))
        except MailServerError:
            return ()

    def next_due(self) -> float | None:
        """See `ISpool.next_due`."""
        return self._claims.next_due(self._world.clock.wall()) if self._usable else None

    def _reading(self) -> Reader:
        if not self._running:
            raise SpoolFailed(_NOT_RUNNING)
        return self._reader

    @property
    def _usable(self) -> bool:
        return self._running and self._committer.failed is None

    # ISpoolReader.

    def find(self, query: Query) -> Page:
        """See `ISpoolReader.find`. Raises SpoolFailed."""
        if not self._running:
            raise SpoolFailed(_NOT_RUNNING)
        return self._listing.find(query)

    def counts(self) -> Mapping[str, int]:
        """See `ISpoolReader.counts`; ``active`` are those of the others that are in flight now."""
        counts = {name: number for name, number in self._committer.ledger.counts.items() if number}
        return {"messages": 0, **counts, "active": self._flights.recipients()}

    def content(self, queue_id: str) -> Content | None:
        """See `ISpoolReader.content`."""
        if not self._usable:
            return None
        rows = self._reader.rows(_CONTENT, (queue_id,))
        return self._read(rows[0]) if rows else None

    # Back from the commit thread.

    def _committed(self, works: Sequence[Work]) -> None:
        fresh: list[Claim] = []
        unneeded: list[str] = []
        for work in works:
            self._flights.coming.difference_update(one.queue_id for one in work.stored)
            if work.error is None:
                unneeded += [file for file in self._settled(work) if file is not None]
                if work.earlier is None:
                    self._stored(work, fresh)
                else:
                    _give_back(work)
            elif not isinstance(work.error, SpoolFailed):
                # After a failed sync the row may be on disk all the same: then its content file must be, too.
                _give_back(work)
        for work in works:
            if work.error is None:
                work.done.callback(work.answer())
            else:
                work.done.errback(work.error)
        if unneeded:
            self._files.unlink(unneeded)
        self.fates.tell(works)
        if fresh and self._subscriber is not None:
            self._subscriber(fresh)

    def _settled(self, work: Work) -> Iterator[str | None]:
        """Ends flights; yields content files that nobody needs any more."""
        flights = self._flights
        for queue_id in work.removals:
            yield flights.removed(queue_id)
        for queue_id, file in work.gone:
            yield flights.gone(queue_id, file)
        for settlement, _active in work.changes:
            if settlement.claimed:
                yield flights.settled(settlement.queue_id, settlement.changes)
        if work.earliest is not None:
            self._claims.rows.written(work.earliest)

    def _stored(self, work: Work, fresh: list[Claim]) -> None:
        for prepared in work.stored:
            content, recipients = prepared.content, prepared.recipients
            if self._subscriber is None:
                self._claims.backlog.restart()
                if isinstance(content, SpoolContent):
                    content.release()
                continue
            numbers = [one.number for one in recipients]
            self._flights.begin(prepared.queue_id, content, numbers, len(numbers), prepared.fates)
            fresh.append(
                Claim(prepared.queue_id, prepared.envelope, recipients, content, prepared.arrived, {}, again=False)
            )


def _give_back(work: Work) -> None:
    for prepared in work.stored:
        if isinstance(prepared.content, SpoolContent):
            prepared.content.give_back()


def open_spool(directory: Path, options: SpoolOptions, world: SpoolWorld) -> SqliteSpool:
    """A started spool in `directory`. Raises what :meth:`SqliteSpool.start` raises."""
    spool = SqliteSpool(directory, options, world)
    spool.start()
    return spool
