"""When letters become durable: one ``syncfs`` per file system, every half second or 1,000 letters.

A round takes exactly the letters whose rename has returned; what arrives while it runs belongs to the next
one. Only when the round is over do their owners hear of it.

Errors: EDQUOT and ENOSPC from ``syncfs`` mean single fsyncs, letter by letter, for that round, and the letter
that fails is unlinked and deferred. Any other error is the store's failure: nobody knows what is on disk, so
``on_fatal`` is called, everything waiting fails with SpoolFailed, and so does all that comes later.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.python.failure import Failure

from mailserver.interfaces import IThreads, PoolFull, SpoolFailed
from mailserver.transport.maildir_box import Shelf
from mailserver.transport.maildir_letter import Letter, failure

# Both measured: a longer wait gains nothing more, a shorter one costs a flush that nobody asked for.
ROUND_SECONDS = 0.5
ROUND_LETTERS = 1_000
_FULL = frozenset({errno.EDQUOT, errno.ENOSPC})


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def syncfs(fd: int) -> None:
    """Write the file system of `fd` to its disk. Raises OSError, also for earlier failed write-backs."""
    if _libc().syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@dataclass(frozen=True, slots=True)
class World:
    """What the Maildir transport needs around it.

    ``later(seconds, function)`` is ``reactor.callLater``; ``on_fatal(reason)`` ends this process or server.
    """

    threads: IThreads
    later: Callable[[float, Callable[[], object]], Any]
    on_fatal: Callable[[str], object]
    syncfs: Callable[[int], None] = syncfs


class Rounds:
    """Collects letters and syncs them together. Lives on the reactor thread; only :meth:`_sync` does not."""

    def __init__(self, shelf: Shelf, world: World) -> None:
        self._shelf = shelf
        self._world = world
        self._letters: list[Letter] = []
        self._waiting: list[Callable[[str], object]] = []
        self._timer: Any = None
        self._running = False
        self._closing = False
        self.failed = ""

    def join(self, letters: Sequence[Letter], done: Callable[[str], object]) -> None:
        """Sync these with the next round, then call ``done("")``, or ``done(reason)`` if the store failed."""
        if self.failed:
            done(self.failed)
            return
        self._letters.extend(letters)
        self._waiting.append(done)
        self._arrange()

    def close(self) -> None:
        """Close the Maildirs, at once or when the sync that runs has ended; no letter is waited for."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._running:
            self._shelf.close()

    def now(self) -> None:
        """Do not wait for the half second: the server stops."""
        if self._letters and not self._running:
            self._start()

    def _arrange(self) -> None:
        if self._running or self._closing or not self._letters:
            return
        if len(self._letters) >= ROUND_LETTERS:
            self._start()
        elif self._timer is None:
            self._timer = self._world.later(ROUND_SECONDS, self._due)

    def _due(self) -> None:
        self._timer = None
        if not self._running:
            self._start()

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        letters, waiting = self._letters, self._waiting
        self._letters, self._waiting = [], []
        self._running = True
        maybeDeferred(self._world.threads, "disk", self._sync, letters).addBoth(self._finished, waiting)

    def _finished(self, result: Any, waiting: list[Callable[[str], object]]) -> None:
        self._running = False
        reason = ""
        if isinstance(result, Failure):
            reason = f"the Maildirs could not be synced: {result.getErrorMessage()}"
            if not result.check(PoolFull):  # refused before anything was tried: the server stops
                self.failed = reason
                self._world.on_fatal(reason)
                waiting += self._waiting
                self._letters, self._waiting = [], []
        for done in waiting:
            done(reason)
        if self._closing:
            self._shelf.close()
        self._arrange()

    def _sync(self, letters: list[Letter]) -> None:
        for device in {letter.device for letter in letters}:
            try:
                self._world.syncfs(self._shelf.system(device))
            except OSError as error:
                if error.errno not in _FULL:
                    raise SpoolFailed(os.strerror(error.errno or 0)) from error
                for letter in letters:
                    if letter.device == device:
                        _sync_alone(letter)
        self._shelf.forget()


def _sync_alone(letter: Letter) -> None:
    """Make one letter durable by itself, with the directories it stands in."""
    file = _file_of(letter)
    if file is None:
        return  # removed by its owner, who has read it
    try:
        _fsync(file)
        _fsync(file.parent)
        _sync_parents(letter.path)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in _FULL:
            raise SpoolFailed(os.strerror(error.errno or 0)) from error
        # The cache still has the letter, the disk does not: a later look must not take it for whole.
        file.unlink(missing_ok=True)
        letter.outcome = failure(error)


def _file_of(letter: Letter) -> Path | None:
    """Where the letter is now: a reader moves it from new/ to cur/ and puts flags after its name."""
    file = letter.path / letter.where
    if file.exists():
        return file
    return next((letter.path / "cur").glob(f"{letter.name}*"), None)


def _sync_parents(path: Path) -> None:
    """The Maildir and what is above it may have been made for this letter; above the first that is not ours,
    nothing was."""
    for directory in (path, *path.parents):
        try:
            _fsync(directory)
        except PermissionError:
            return


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
