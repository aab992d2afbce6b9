"""The file ``accounts.db``: its two connections, its schema, and how a change reaches the disk.

- Exactly one connection writes, and the same one checkpoints, under one lock: SQLite 3.7.0 to 3.51.2 loses
  committed pages when two connections write and checkpoint at once (the WAL-reset bug).
- A change is one transaction, on the disk pool; it is durable (WAL, ``synchronous=FULL``, both read back)
  when its Deferred fires. :attr:`Database.generation` has changed by then.
- Reads use a second connection that cannot write. They are limited and fetched whole.
- Nothing is opened or created before :meth:`Database.open`. A process that opens the file for writing holds
  the lock of the instance's spool; that is its caller's business.

Raises :class:`AccountError`, whose text is a sentence for people. After an I/O error nothing is committed any
more, and the connection is left open: closing it would checkpoint.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from twisted.internet.defer import Deferred

from mailserver.interfaces import IThreads, MailServerError

# user_version n means that the first n scripts were run. A script is never changed once it has landed.
_SCHEMA = (
    """
    CREATE TABLE domain (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        postmaster INTEGER REFERENCES account (id) ON DELETE SET NULL
    ) STRICT;
    CREATE TABLE account (
        id INTEGER PRIMARY KEY,
        domain INTEGER NOT NULL REFERENCES domain (id),
        local_part TEXT NOT NULL,
        password_hash TEXT NOT NULL,
        send_as_any INTEGER NOT NULL,
        created REAL NOT NULL,
        UNIQUE (domain, local_part)
    ) STRICT;
    CREATE TABLE alias (
        id INTEGER PRIMARY KEY,
        domain INTEGER NOT NULL REFERENCES domain (id),
        local_part TEXT NOT NULL,
        UNIQUE (domain, local_part)
    ) STRICT;
    CREATE TABLE target (
        alias INTEGER NOT NULL REFERENCES alias (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        mailbox TEXT NOT NULL,
        PRIMARY KEY (alias, position)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX target_mailbox ON target (mailbox);
    """,
    # Accounts made before have no row in `scram`, and their hash is one of the password as it was typed.
    """
    CREATE TABLE scram (
        account INTEGER PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
        salt BLOB NOT NULL,
        iterations INTEGER NOT NULL,
        stored_key BLOB NOT NULL,
        server_key BLOB NOT NULL
    ) STRICT;
    CREATE TABLE secret (name TEXT PRIMARY KEY, octets BLOB NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO secret (name, octets) VALUES ('salts', random_octets(32));
    """,
)


class AccountError(MailServerError):
    """Something about accounts cannot be done; the text says what, and what to do about it."""


class Database:
    """One account database. ``generation`` grows with every committed change."""

    def __init__(self, path: Path, threads: IThreads) -> None:
        self.path = path
        self.generation = 0
        self._threads = threads
        self._lock = Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._failed = False

    def open(self) -> None:
        """Open both connections; makes the file (0600) and its schema where there is none."""
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._writer = self._open_writer()
            self._reader = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
            self._reader.execute("PRAGMA query_only = 1")
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise AccountError(f"{self.path} cannot be opened as an account store: {error}") from error
        except AccountError:
            self.close()
            raise
        self.generation += 1

    def _open_writer(self) -> sqlite3.Connection:
        # Used by the threads of the disk pool in turn, under the lock.
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = 1")
        connection.create_function("random_octets", 1, os.urandom)
        if mode != "wal" or connection.execute("PRAGMA synchronous").fetchone()[0] != 2:
            raise AccountError(
                f"{self.path} lies on a file system where SQLite cannot keep a WAL; move the instance"
            )
        self._migrate(connection)
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(_SCHEMA):
            raise AccountError(
                f"{self.path} was written by a newer version of this server (schema {version}, this one knows "
                f"{len(_SCHEMA)}); install that version, or restore the file as it was before"
            )
        for number, script in enumerate(_SCHEMA[version:], version + 1):
            connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")

    def close(self) -> None:
        """Close both connections, the writing one last: its close empties the WAL. May be called twice."""
        reader, self._reader = self._reader, None
        writer, self._writer = self._writer, None
        if reader:
            reader.close()
        if writer and not self._failed:
            writer.close()

    def rows(self, query: str, *values: Any) -> list[Any]:
        """All rows of a query that carries its own LIMIT."""
        if self._reader is None:
            raise AccountError(f"{self.path} is not open")
        return self._reader.execute(query, values).fetchall()

    def write(self, change: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Run `change(connection, *args)` as one transaction; fires with its result once that is durable."""
        answer: Deferred[Any] = Deferred.fromCoroutine(self._written(change, args))
        return answer

    async def _written(self, change: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return await self._threads("disk", self._commit, change, args)

    def _commit(self, change: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        with self._lock:
            if self._failed or self._writer is None:
                raise AccountError(f"{self.path} cannot be written after a disk error; restart the server")
            try:
                result = self._transaction(self._writer, change, args)
            except sqlite3.OperationalError as error:
                raise self._refusal(error) from error
            self.generation += 1
            return result

    @staticmethod
    def _transaction(connection: sqlite3.Connection, change: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = change(connection, *args)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _refusal(self, error: sqlite3.OperationalError) -> AccountError:
        code = error.sqlite_errorcode & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return AccountError(
                f"no room on the disk for {self.path}; nothing was changed, make room and try again"
            )
        if code == sqlite3.SQLITE_IOERR:
            self._failed = True
        return AccountError(f"{self.path} cannot be written: {error}")
