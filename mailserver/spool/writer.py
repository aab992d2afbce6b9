"""The file side of one content: octets on their way to a content file, in large pieces, on the disk pool.

One job at a time writes whatever has gathered since the last; a job starts when a quarter of a megabyte waits,
or at once when the memory budget could not pay for what came in. :meth:`write` answers a Deferred when the
writer of the content should pause: the disk is behind by :data:`BEHIND`, or memory is short.

After an error nothing more is written, and every call answers that error until :meth:`abandon`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from io import FileIO
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from mailserver.message.content import append
from mailserver.spool.budget import MemoryBudget
from mailserver.spool.files import ContentFiles, open_file, sync_directory

PIECE = 262_144
BEHIND = 1_048_576
_VECTOR = 512  # buffers in one call; Linux takes 1,024


class ContentWriter:
    """Writes the content file `name`, which must not exist."""

    def __init__(self, files: ContentFiles, budget: MemoryBudget, name: str) -> None:
        self._files = files
        self._budget = budget
        self._name = name
        self._file: FileIO | None = None
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._paid = 0
        self._job_size = 0
        self._busy = False
        self._pause: Deferred[None] | None = None
        self._finish: Deferred[None] | None = None
        self._error: Exception | None = None
        self._abandoned = False
        self.durable = False

    def write(self, piece: bytes, paid: int) -> Deferred[None] | None:
        """Append; `paid` octets of memory were taken from the budget for it and go back once it is written."""
        if self._error is not None:
            self._budget.give(paid)
            return fail(self._error)
        append(self._pending, piece)
        self._pending_size += len(piece)
        self._paid += paid
        short = paid < len(piece)
        if short or self._pending_size >= PIECE:
            self._next()
        if self._error is not None:
            return fail(self._error)
        if self._busy and (short or self._pending_size + self._job_size > BEHIND):
            if self._pause is None:
                self._pause = Deferred()
            return self._pause
        return None

    def finish(self) -> Deferred[None]:
        """Write the rest, fsync the file, then its directory. Fires when both are done."""
        if self._error is not None:
            return fail(self._error)
        done: Deferred[None] = Deferred()
        self._finish = done
        self._next()
        return done

    def abandon(self) -> None:
        """Remove the file, after the job under way. May be called twice."""
        if self._abandoned:
            return
        self._abandoned = True
        if not self._busy:
            self._remove()

    def _next(self) -> None:
        """Start the next job unless one is under way."""
        if self._busy or (not self._pending and self._finish is None):
            return
        pieces, paid = self._pending, self._paid
        self._pending, self._job_size, self._pending_size, self._paid = [], self._pending_size, 0, 0
        self._busy = True
        last = self._finish is not None
        job = self._files.run(self._complete if last else self._append, pieces)
        job.addCallbacks(self._written, self._failed, callbackArgs=(paid, last), errbackArgs=(paid,))

    # On the disk pool.

    def _append(self, pieces: list[bytes]) -> None:
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            self._file = FileIO(open_file(self._files.path(self._name), flags), "wb")
        for start in range(0, len(pieces), _VECTOR):
            _write(self._file.fileno(), pieces[start : start + _VECTOR])

    def _complete(self, pieces: list[bytes]) -> None:
        self._append(pieces)
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._file.close()
        sync_directory(self._files.directory)

    def _delete(self) -> None:
        if self._file is not None:
            self._file.close()
            with contextlib.suppress(OSError):  # the sweep of the next start finds it
                os.unlink(self._files.path(self._name))

    # Back on the reactor thread.

    def _written(self, _result: Any, paid: int, last: bool) -> None:
        self._busy = False
        self._job_size = 0
        self._budget.give(paid)
        if self._abandoned:
            self._remove()
        pause, self._pause = self._pause, None
        if last:
            self.durable = True
            assert self._finish is not None
            self._finish.callback(None)
        elif self._finish is not None or self._pending_size >= PIECE or self._paid < self._pending_size:
            self._next()
        if pause is not None:
            pause.callback(None)

    def _failed(self, failure: Failure, paid: int) -> None:
        self._busy = False
        assert isinstance(failure.value, Exception)
        self._error = failure.value
        self._budget.give(paid + self._paid)
        self._paid = 0
        self._pending.clear()
        waiting = [one for one in (self._pause, self._finish) if one is not None]
        self._pause = self._finish = None
        for one in waiting:
            one.errback(Failure(self._error))
        if self._abandoned:
            self._remove()

    def _remove(self) -> None:
        self._pending.clear()
        self._budget.give(self._paid)
        self._paid = 0
        with contextlib.suppress(Exception):  # the pool has stopped: the next start sweeps
            self._files.run(self._delete).addErrback(lambda _failure: None)


def _write(descriptor: int, pieces: Sequence[bytes]) -> None:
    """Write them all. Joined they would be in memory twice, and the thread keeps what it once had."""
    written = os.writev(descriptor, pieces)
    if written < sum(map(len, pieces)):
        rest = memoryview(b"".join(pieces))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]
