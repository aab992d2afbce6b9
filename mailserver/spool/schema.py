"""The tables of the spool, and how an older database becomes today's.

``PRAGMA user_version`` counts the migrations that a database has behind it. Each runs in a transaction of its
own, so that a crash leaves a whole version. A database from a later release is refused (:class:`SchemaTooNew`).

``messages``: one row per message. While ``unpacked`` is 0 its packed list of recipients is the truth, all of
them queued; afterwards the table ``recipients`` is, and nobody reads the packed list. ``body`` stands last,
so that the other columns are read without the overflow pages it lies on; for a content in a file it holds
the header section alone. ``octets`` counts content as kept, without ``head``; ``size`` as SIZE does.
``recipients``: ``mailbox``, ``originals`` and ``outcome`` are packed; ``state`` is a name of `State`.

Since version 2: ``sent`` names the messages that asked for fates. ``fates`` has a row for each recipient as
given that is final (``recipient`` is packed). ``settled`` numbers the messages of which all are; a number is
never used twice, because ``cursors`` says by number what each subscriber has seen.
"""

from __future__ import annotations

import sqlite3

from mailserver.interfaces import MailServerError

_FIRST = (
    """CREATE TABLE messages (
        id TEXT NOT NULL UNIQUE,
        unpacked INTEGER NOT NULL,
        total INTEGER NOT NULL,
        arrived REAL NOT NULL,
        size INTEGER NOT NULL,
        octets INTEGER NOT NULL,
        file TEXT,
        envelope TEXT NOT NULL,
        recipients TEXT NOT NULL,
        head BLOB NOT NULL,
        body BLOB NOT NULL
    ) STRICT""",
    "CREATE UNIQUE INDEX messages_file ON messages (file) WHERE file IS NOT NULL",
    """CREATE TABLE recipients (
        message TEXT NOT NULL,
        number INTEGER NOT NULL,
        mailbox TEXT NOT NULL,
        originals TEXT NOT NULL,
        state TEXT NOT NULL,
        due REAL NOT NULL,
        attempts INTEGER NOT NULL,
        notified INTEGER NOT NULL,
        destination TEXT NOT NULL,
        outcome TEXT,
        PRIMARY KEY (message, number)
    ) STRICT, WITHOUT ROWID""",
    """CREATE INDEX recipients_due ON recipients (due, message, number, destination)
        WHERE state IN ('queued', 'deferred')""",
    "CREATE INDEX recipients_destination ON recipients (destination, message)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "INSERT INTO facts VALUES ('clean', '1')",
)
_SECOND = (
    "CREATE TABLE sent (id TEXT PRIMARY KEY, key TEXT) STRICT, WITHOUT ROWID",
    "CREATE UNIQUE INDEX sent_key ON sent (key) WHERE key IS NOT NULL",
    """CREATE TABLE fates (
        message TEXT NOT NULL,
        place INTEGER NOT NULL,
        recipient TEXT NOT NULL,
        state TEXT NOT NULL,
        status TEXT NOT NULL,
        reply TEXT,
        attempts INTEGER NOT NULL,
        time REAL NOT NULL,
        PRIMARY KEY (message, place)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE settled (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        message TEXT NOT NULL UNIQUE,
        time REAL NOT NULL
    ) STRICT""",
    "CREATE TABLE cursors (name TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID",
)
MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _SECOND)


class SchemaTooNew(MailServerError):
    """The database was written by a later release."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database behind `connection` (in autocommit mode) to the newest version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise SchemaTooNew(
            f"the spool has schema version {version} and this release knows {len(MIGRATIONS)}: "
            "run the release that wrote it, or a later one"
        )
    for number, statements in enumerate(MIGRATIONS[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
