"""Schema versions."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from mailserver.interfaces import SpoolFailed
from mailserver.spool import schema
from mailserver.spool.lock import lock_holder
from mailserver.spool.schema import SchemaTooNew, migrate


def test_a_later_schema_is_refused_in_one_sentence(harness: Any) -> None:
    harness.open()
    harness.close()
    with sqlite3.connect(harness.directory / "spool.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(SchemaTooNew, match=r"^the spool has schema version 99 and this release knows 2: run .*$"):
        harness.open()
    assert lock_holder(harness.directory) is None
    with sqlite3.connect(harness.directory / "spool.db") as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    harness.open()


def test_each_migration_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    broken = ("CREATE TABLE later (a)", "this is no SQL")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection)
    connection.rollback()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:-1], broken[:1]))
    migrate(connection)
    migrate(connection)
    assert connection.execute("PRAGMA user_version").fetchone() == (3,)
    connection.close()


def test_what_is_no_database_is_refused(harness: Any) -> None:
    harness.open()
    harness.close()
    (harness.directory / "spool.db").write_bytes(b"not a database, but long enough to look like one" * 200)
    with pytest.raises(SpoolFailed, match="cannot open the spool"):
        harness.open()
    (harness.directory / "spool.db").unlink()
    harness.open()


def test_the_settings_that_durability_rests_on(harness: Any) -> None:
    spool = harness.open()
    connection = spool._committer.ledger.connection

    def pragma(name: str) -> Any:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert (pragma("journal_mode"), pragma("synchronous"), pragma("wal_autocheckpoint")) == ("wal", 2, 0)
    assert harness.directory.stat().st_mode & 0o777 == 0o700
    assert (harness.directory / "spool.db").stat().st_mode & 0o777 == 0o600


def test_the_reader_cannot_write(harness: Any) -> None:
    spool = harness.open()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        spool._reader._connection.execute("DELETE FROM messages")
