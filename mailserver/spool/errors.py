"""What an exception of a commit means: no room, a bad row, or the end.

Unknown is fatal for an error of SQLite, because what is on disk is not known any more, and a bad row for any
other exception, because then nothing has reached the disk. SpoolFull, and an OSError that says so, is no room.
"""

from __future__ import annotations

import sqlite3
from enum import Enum

from mailserver.interfaces import SpoolFull
from mailserver.spool.files import NO_ROOM


class Meaning(Enum):
    """FULL passes by itself; PERHAPS_FULL is FULL if the disk has no room, else FATAL; ROW spoils its own
    message alone; FATAL ends all commits of this process."""

    FULL = "full"
    PERHAPS_FULL = "perhaps full"
    ROW = "row"
    FATAL = "fatal"


# SQLite reports ENOSPC of a write as FULL, but EDQUOT, and either in its shared memory file, as I/O errors; and
# that it can make no file, whatever the reason, as CANTOPEN.
_PERHAPS_FULL = frozenset(
    {
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_CANTOPEN,
    }
)
_BY_CODE = {
    sqlite3.SQLITE_FULL: Meaning.FULL,
    # Somebody else holds the database (an administrator's shell): it passes too.
    sqlite3.SQLITE_BUSY: Meaning.FULL,
    sqlite3.SQLITE_LOCKED: Meaning.FULL,
    sqlite3.SQLITE_CONSTRAINT: Meaning.ROW,
    sqlite3.SQLITE_TOOBIG: Meaning.ROW,
    sqlite3.SQLITE_MISMATCH: Meaning.ROW,
    sqlite3.SQLITE_RANGE: Meaning.ROW,
}


def meaning(error: BaseException) -> Meaning:
    """Judge what a commit raised."""
    if isinstance(error, SpoolFull) or (isinstance(error, OSError) and error.errno in NO_ROOM):
        return Meaning.FULL
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(error, sqlite3.Error) or code is None:
        # Not from SQLite but from the binding, or from us: nothing was written.
        return Meaning.ROW
    if code in _PERHAPS_FULL:
        return Meaning.PERHAPS_FULL
    return _BY_CODE.get(code & 0xFF, Meaning.FATAL)
