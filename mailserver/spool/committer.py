"""The commit thread: it owns the only connection that writes, and the clock of the server.

It takes whatever was queued during the last commit as one commit; with nothing queued it commits at once, for
there is no timer. What came of a batch goes back to the reactor in one call. Between batches it checkpoints,
and once a second of monotonic time it posts the tick and sweeps old fates, one step.

- No room (``full``): the batch is rolled back and new mail refused until the reserve can be made again;
  settlements get the room of the reserve.
- A bad row: rolled back, then each alone, so that only the bad one gets its exception.
- Anything else (``failed``): no retry, no commit, and the connection is never closed, because closing
  checkpoints. The thread stays, refuses, and ticks; it ends with the process.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from mailserver.interfaces import SpoolFailed, SpoolFull
from mailserver.spool.errors import Meaning, meaning
from mailserver.spool.opening import Opened
from mailserver.spool.wal import TOO_LARGE
from mailserver.spool.work import Work

_TICK = 1.0
_SHRINK = 4  # reserves that a full spool gives back each second


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``post(f, *args)`` calls on the reactor thread, ``monotonic`` is its clock; the rest is called there."""

    post: Callable[..., None]
    monotonic: Callable[[], float]
    committed: Callable[[Sequence[Work]], None]
    ticked: Callable[[], None]
    failed: Callable[[str], None]
    ended: Callable[[], None]


class Committer:
    """``put`` and ``stop`` are for the reactor thread; so are ``full`` and ``failed``, to read."""

    def __init__(self, opened: Opened, around: Surroundings) -> None:
        self.ledger = opened.ledger
        self.wal = opened.wal
        self._reserve = opened.reserve
        self._around = around
        self._post = around.post
        self._monotonic = around.monotonic
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._ending = False
        self._tick_posted = False
        self._next_tick = around.monotonic() + _TICK
        self._reported = False
        # The room that a full disk gave up stays free for the first second: others open their files, too.
        self.full: str | None = "the disk is full" if opened.full or not opened.reserve.make() else None
        self.failed: str | None = None
        # A daemon, so that a failed one does not keep the process.
        self._thread = threading.Thread(target=self._run, name="mailserver-commit", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, work: Work) -> None:
        """Queue `work` for the next commit."""
        self._queue.put(work)

    def fail(self, reason: str) -> None:
        """From now on nothing is committed. From any thread; the first reason counts."""
        if self.failed is None:
            self.failed = reason
            self._queue.put(None)  # wakes the thread, which tells: waiters get their answer first

    def stop(self) -> None:
        """Commit what is queued, then end; a failed one stays as it is."""
        self._ending = True
        self._queue.put(None)

    def join(self) -> None:
        """Wait for the thread, after ``ended``."""
        self._thread.join()

    @property
    def unhealthy(self) -> str | None:
        """Why new mail should be refused for now, or None."""
        if self.failed is not None or self.full is not None:
            return self.failed or self.full
        if self.wal.size > TOO_LARGE:
            return f"the write-ahead log has {self.wal.size} octets"
        return None

    # On the commit thread.

    def _run(self) -> None:
        try:
            self._loop()
        except Exception as error:  # a bug: refuse from now on, rather than leave callers without an answer
            self.fail(f"commit thread: {error!r}")
            self._loop()

    def _loop(self) -> None:
        ended = False
        while not ended or self.failed is not None:
            works = self._take()
            batch = [work for work in works if work is not None]
            ended = ended or len(batch) < len(works)
            if batch:
                self._batch(batch)
            if self.failed is not None and not self._reported:
                self._reported = True
                self._post(self._around.failed, self.failed)
            self._tick(idle=not works)
        self._close()

    def _batch(self, works: Sequence[Work]) -> None:
        try:
            self._handle(works)
        except Exception as error:
            self.fail(f"commit thread: {error!r}")
            _refuse(works, SpoolFailed(f"commit thread: {error!r}"))
        self._post(self._around.committed, works)
        if self.failed is None:
            self._guarded(self._after_commit)

    def _take(self) -> list[Work | None]:
        wait = self._next_tick - self._monotonic()
        try:
            works = [self._queue.get(timeout=min(max(wait, 0.0), _TICK))]
        except Empty:
            return []
        works += [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        return works

    def _tick(self, idle: bool) -> None:
        now = self._monotonic()
        if now < self._next_tick:
            return
        self._next_tick = now + _TICK
        if self.failed is None:
            self._guarded(self._every_second, idle)
        # One at a time: a reactor that is behind must not find a heap of them.
        if not self._tick_posted and not self._ending:
            self._tick_posted = True
            self._post(self._ticked)

    def _ticked(self) -> None:
        self._tick_posted = False
        self._around.ticked()

    def _every_second(self, idle: bool) -> None:
        if self.full is not None:
            self._make_room()
        elif swept := self.ledger.fates.sweep():
            self.wal.written(swept)
        if idle:
            self.wal.idle()

    def _make_room(self) -> None:
        """Only with the reserve in place is new mail taken: without it a full disk could end settlements too."""
        if not self._reserve.make():
            # A spool that filled the disk by itself has the room inside the database, once it has delivered.
            self.wal.checkpoint()
            self.ledger.shrink(_SHRINK * self._reserve.size)
            self.wal.checkpoint()
        if self._reserve.make():
            self.full = None

    def _after_commit(self) -> None:
        self.wal.written(self.ledger.pages)

    def _guarded(self, function: Callable[..., None], *args: Any) -> None:
        """Housekeeping: no room passes, everything else is the end."""
        try:
            function(*args)
        except Exception as error:
            if self._judge(error) is Meaning.FULL:
                self.full = self.full or str(error)
            else:
                self.fail(f"checkpoint: {error}")

    def _judge(self, error: Exception) -> Meaning:
        what = meaning(error)
        if what is Meaning.PERHAPS_FULL:
            return Meaning.FULL if self._reserve.no_room() else Meaning.FATAL
        return what

    # One batch.

    def _handle(self, works: Sequence[Work]) -> None:
        if self.failed is None and self.full is not None:
            works = self._refuse_new(works)
        if self.failed is not None:
            _refuse(works, SpoolFailed(self.failed))
        elif works:
            self._commit(works)

    def _commit(self, works: Sequence[Work]) -> None:
        try:
            self.ledger.commit(works)
        except Exception as error:
            self._uncommitted(works, error)
        else:
            for work in works:
                work.error = None

    def _uncommitted(self, works: Sequence[Work], error: Exception) -> None:
        what = self._judge(error)
        if what is Meaning.FATAL:
            self.fail(f"commit: {error}")
            _refuse(works, SpoolFailed(f"commit: {error}"))
        elif what is Meaning.FULL:
            self._no_room(works, str(error))
        elif len(works) == 1:
            works[0].error = error
        else:
            for work in works:
                self._handle([work])

    def _no_room(self, works: Sequence[Work], reason: str) -> None:
        """Refuse new mail, free the reserve, and try what settles once more."""
        self.full = reason
        settling = self._refuse_new(works)
        if not settling:
            return
        if not self._reserve.free():
            _refuse(settling, SpoolFull(reason))
            return
        self._guarded(self.wal.checkpoint)
        self._handle(settling)

    def _refuse_new(self, works: Sequence[Work]) -> list[Work]:
        assert self.full is not None
        _refuse([work for work in works if not work.settles], SpoolFull(self.full))
        return [work for work in works if work.settles]

    def _close(self) -> None:
        self._guarded(self._last)
        if self.failed is None:
            self.ledger.connection.close()
            # The log is gone: on a full disk its room is the next start's.
            with contextlib.suppress(OSError):
                self._reserve.make()
            self._post(self._around.ended)
        else:
            self._loop()

    def _last(self) -> None:
        self.ledger.note("clean", "1")
        self.wal.empty()


def _refuse(works: Sequence[Work], error: SpoolFull | SpoolFailed) -> None:
    for work in works:
        work.error = type(error)(*error.args)
