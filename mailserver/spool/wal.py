"""The write-ahead log: extended at start, and moved into the database between commits.

The log is extended with zeros (SQLite reads no further than its own last frame, and stops at zeros in a log that
it recovers; it puts no lock on this file), so that commits overwrite blocks and their sync writes no metadata.
A checkpoint that empties it makes the next commit begin at its start again. Checkpoints run on the connection
and the thread that commit, and nowhere else: SQLite 3.7.0–3.51.2 loses pages otherwise (the WAL-reset bug).

How much of the log is in use SQLite does not tell; it is estimated, and growth shows when that was too low.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from mailserver.spool.contract import MIB
from mailserver.spool.files import NO_ROOM, open_file

_PAGE = 4096
_ZEROS = bytes(MIB)
# A checkpoint while busy: few enough that its syncs do not count, often enough that the log stays within
# what was extended. When idle: whatever is worth it, so that a burst finds an empty log.
_BUSY_SHARE = 0.75
_IDLE_PAGES = 256
_MEASURE_PAGES = 64  # so many are written between two looks at its size
SHRINK = 64 * MIB
TOO_LARGE = 256 * MIB


class WriteAheadLog:
    """The log of `connection`'s database. ``seconds`` is how long the last checkpoint took."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, extent: int, monotonic: Callable[[], float]
    ) -> None:
        self._connection = connection
        self._monotonic = monotonic
        self._path = str(path)
        self._extent = extent
        self._busy_pages = max(1, int(extent * _BUSY_SHARE) // _PAGE)
        self._pages = self._unmeasured = 0
        self.seconds = 0.0
        self._grown = extent
        self.size = self._measure()

    def _measure(self) -> int:
        try:
            return os.stat(self._path).st_size
        except FileNotFoundError:
            return 0

    def extend(self) -> None:
        """Extend it, while it is empty, as far as the disk has room. Raises OSError, SpoolFull."""
        descriptor = open_file(self._path, os.O_WRONLY | os.O_CREAT)
        try:
            position = os.fstat(descriptor).st_size
            while position < self._extent:
                position += os.pwrite(descriptor, _ZEROS[: self._extent - position], position)
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
        finally:
            os.close(descriptor)
        self.size = self._measure()

    def written(self, pages: int) -> None:
        """A commit wrote about that many pages: checkpoint when it is time."""
        self._pages += pages
        self._unmeasured += pages
        if self._unmeasured >= _MEASURE_PAGES:
            self._unmeasured = 0
            self.size = self._measure()
        if self._pages >= self._busy_pages or self.size > self._grown:
            self.checkpoint()

    def idle(self) -> None:
        """Nothing to commit for a while."""
        if self._pages >= _IDLE_PAGES:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Move what is committed into the database. Raises what sqlite3 raises."""
        began = self._monotonic()
        complete = self._run("PASSIVE")
        # After an incomplete one (a reader was under way) not at every commit again.
        self._pages = 0 if complete else self._busy_pages // 2
        self.size = self._measure()
        if complete and self.size > SHRINK:
            self._run("TRUNCATE")
            self.extend()
        self._grown = max(self._extent, self.size)
        self.seconds = self._monotonic() - began

    def empty(self) -> None:
        """At the end: everything into the database."""
        self._run("TRUNCATE")

    def _run(self, mode: str) -> bool:
        busy, pages, moved = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        return not busy and pages == moved
