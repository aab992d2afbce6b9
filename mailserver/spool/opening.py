"""Opening the database of a spool for writing: the directory, the log, the connection, its settings read back.

Every step is harmless to repeat. Names are synced, so that a power loss after the first 250 finds them.

A full disk is no reason not to open, for then the queue could not drain: the reserve is given up first, and what
only helps later is left out.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mailserver.interfaces import SpoolFailed
from mailserver.spool.contract import SpoolOptions, SpoolWorld
from mailserver.spool.errors import Meaning, meaning
from mailserver.spool.fatebook import FateBook
from mailserver.spool.files import open_file, sync_directory
from mailserver.spool.ledger import Ledger
from mailserver.spool.reserve import Reserve
from mailserver.spool.schema import migrate
from mailserver.spool.wal import WriteAheadLog

_PAGE = 4096
_FULL = 2


@dataclass(frozen=True, slots=True)
class Opened:
    """What the commit thread works with. ``unclean``: see `SqliteSpool`; ``full``: the disk had no room."""

    ledger: Ledger
    wal: WriteAheadLog
    reserve: Reserve
    unclean: bool
    full: bool


def prepare(directory: Path) -> None:
    """Make the directories, for their owner alone."""
    content = directory / "content"
    if not content.is_dir():
        content.mkdir(mode=0o700, parents=True)
        directory.chmod(0o700)
        sync_directory(directory.parent)
        sync_directory(directory)


def open_writer(directory: Path, options: SpoolOptions, world: SpoolWorld) -> Opened:
    """Open ``spool.db``, whose lock is held. Raises SpoolFailed, SpoolFull, SchemaTooNew, sqlite3.Error,
    OSError."""
    database, log = directory / "spool.db", directory / "spool.db-wal"
    reserve = Reserve(directory / "reserve", options.reserve)
    full = not reserve.make()
    if full:
        reserve.free()
    os.close(open_file(database, os.O_RDWR | os.O_CREAT))
    connection = world.connect(database, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        _set_up(connection, options)
        migrate(connection)
        wal = WriteAheadLog(connection, log, options.wal_extent, world.clock.monotonic)
        _if_room(reserve, wal.checkpoint)
        if not full:
            wal.extend()
        sync_directory(directory)
        fates = FateBook(connection, world.clock.wall, options.fates_kept)
        ledger = Ledger(connection, fates)
        unclean = ledger.fact("clean") != "1"
        _if_room(reserve, ledger.note, "clean", "0")
        return Opened(ledger, wal, reserve, unclean, full)
    except BaseException:
        connection.close()
        raise


def _if_room(reserve: Reserve, function: Callable[..., None], *args: str) -> None:
    """What can wait for better days."""
    try:
        function(*args)
    except sqlite3.Error as error:
        what = meaning(error)
        if what is not Meaning.FULL and not (what is Meaning.PERHAPS_FULL and reserve.no_room()):
            raise


def _set_up(connection: sqlite3.Connection, options: SpoolOptions) -> None:
    # Before the first page is written: it lets a full spool give room back (`Ledger.shrink`).
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    (mode,) = connection.execute("PRAGMA journal_mode = wal").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    if mode != "wal" or synchronous != _FULL:
        raise SpoolFailed(f"the spool needs journal mode wal and full syncs, not {mode} and {synchronous}")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    # Debian's SQLite overwrites what is deleted, and writes every overflow page twice for it; a spool's pages
    # are used again within seconds.
    connection.execute("PRAGMA secure_delete = OFF")
    connection.execute("PRAGMA cache_size = -16384")
    if options.max_database:
        connection.execute(f"PRAGMA max_page_count = {options.max_database // _PAGE}")
