"""Commits that cannot be: a full disk, a bad row, a failing disk."""

from __future__ import annotations

import errno
import functools
import os
import sqlite3
from dataclasses import replace
from typing import Any

import pytest

from mailserver.interfaces import SpoolFailed, SpoolFull
from mailserver.message import Change, Content, Settlement, State
from mailserver.smtp.address import Mailbox

DELIVERED = State.DELIVERED
PAGES = 4096


class Faulty(sqlite3.Connection):
    """Raises what it is told to, at the statement that begins as told."""

    faults: list[tuple[str, int]]

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        for fault in self.faults:
            if statement.lstrip().startswith(fault[0]):
                self.faults.remove(fault)
                error = sqlite3.OperationalError("injected")
                error.sqlite_errorcode = fault[1]
                raise error
        return super().execute(statement, *parameters)


class Locked:
    """A connection that meets a lock."""

    def __init__(self, error: sqlite3.OperationalError) -> None:
        self._error = error

    def execute(self, _statement: str, _parameters: Any) -> Any:
        raise self._error


def faulty(harness: Any) -> list[tuple[str, int]]:
    faults: list[tuple[str, int]] = []

    class Connection(Faulty):
        pass

    Connection.faults = faults
    harness.extra["connect"] = functools.partial(sqlite3.connect, factory=Connection)
    return faults


def fill(harness: Any, size: int = 900) -> list[str]:
    """Store until it is full; the ids that were stored."""
    ids = []
    for _ in range(1000):
        try:
            ids.append(harness.store(1, b"x" * size))
        except SpoolFull:
            return ids
    raise AssertionError("never full")


# Full.


def test_full_is_refused_and_passes(harness: Any) -> None:
    spool = harness.open(max_database=40 * PAGES)
    ids = fill(harness)
    assert len(ids) > 10
    assert spool.healthy == "database or disk is full"
    assert not (harness.directory / "reserve").exists() or harness.fatal == []
    for queue_id in ids:
        harness.settle(queue_id, Change(0, DELIVERED))
    harness.tick()
    assert spool.healthy is None
    assert (harness.directory / "reserve").exists()
    assert harness.store()
    assert harness.fatal == []


def test_while_full_settlements_go_through_in_the_same_batch(harness: Any) -> None:
    faults = faulty(harness)
    spool = harness.open()
    done, kept = harness.store(), harness.store()
    faults.append(("COMMIT", sqlite3.SQLITE_FULL))
    # Queued together, so that they are one batch whenever the thread wakes in time; either way must do.
    first = spool.settle([Settlement(done, (Change(0, DELIVERED),))])
    new = harness.message()
    second = spool.store(new)
    harness.wait(first)
    with pytest.raises(SpoolFull):
        harness.wait(second)
    assert not (harness.directory / "reserve").exists()
    assert spool.healthy is not None
    assert set(harness.states(done)) == set()
    assert set(harness.states(kept)) == {0}
    assert not new.content.file
    harness.tick()
    assert spool.healthy is None
    assert harness.wait(spool.store(new)) == new.queue_id


def test_settlements_get_the_reserve_even_when_new_mail_met_the_full_disk_first(harness: Any) -> None:
    faults = faulty(harness)
    harness.open()
    queue_id = harness.store()
    faults += [("INSERT", sqlite3.SQLITE_FULL), ("COMMIT", sqlite3.SQLITE_FULL)]
    with pytest.raises(SpoolFull):
        harness.store()
    assert (harness.directory / "reserve").exists()
    harness.settle(queue_id, Change(0, DELIVERED))
    assert not (harness.directory / "reserve").exists()


def test_while_full_the_disk_is_asked_once_a_second(harness: Any, monkeypatch: Any) -> None:
    from mailserver.spool.reserve import Reserve

    faults = faulty(harness)
    spool = harness.open()
    monkeypatch.setattr(Reserve, "no_room", lambda _self: True)
    faults.append(("INSERT", sqlite3.SQLITE_FULL))
    for _ in range(2):
        with pytest.raises(SpoolFull):
            harness.store()
        harness.tick()
        assert spool.healthy is not None
    monkeypatch.setattr(Reserve, "no_room", lambda _self: False)
    harness.tick()
    assert spool.healthy is None


def test_a_spool_that_filled_the_disk_gives_room_back(harness: Any, monkeypatch: Any) -> None:
    """Nothing else frees the disk here: the room for the reserve must come out of the database."""
    from mailserver.spool.reserve import Reserve

    database = harness.directory / "spool.db"
    spool = harness.open(max_database=200 * PAGES, content_cap=50_000, memory_budget=1 << 20, wal_extent=1 << 20)
    ids = fill(harness, 40_000)
    large = database.stat().st_size
    monkeypatch.setattr(Reserve, "make", lambda _self: database.stat().st_size < large // 2)
    harness.wait(spool.settle([Settlement(queue_id, (Change(0, DELIVERED),)) for queue_id in ids]))
    assert spool.healthy is not None
    for _ in range(5):
        harness.tick()
    assert spool.healthy is None
    assert harness.store()


def test_a_checkpoint_without_room_refuses_new_mail(harness: Any) -> None:
    faults = faulty(harness)
    spool = harness.open(wal_extent=4096)
    faults.append(("PRAGMA wal_checkpoint", sqlite3.SQLITE_FULL))
    queue_id = harness.store()
    with pytest.raises(SpoolFull):
        harness.store()
    harness.settle(queue_id, Change(0, DELIVERED))
    harness.tick()
    assert spool.healthy is None


def test_a_settlement_that_finds_no_room_leaves_its_claim_in_flight(harness: Any) -> None:
    faults = faulty(harness)
    harness.open()
    queue_id = harness.store(2)
    faults += [("COMMIT", sqlite3.SQLITE_FULL), ("COMMIT", sqlite3.SQLITE_FULL)]
    change = Change(0, State.DEFERRED, due=harness.clock.now)
    with pytest.raises(SpoolFull):
        harness.settle(queue_id, change)
    assert harness.claim() == []
    harness.settle(queue_id, change)
    assert len(harness.claim()) == 1


def test_a_locked_database_passes(harness: Any) -> None:
    faults = faulty(harness)
    harness.open()
    faults.append(("INSERT", sqlite3.SQLITE_BUSY))
    with pytest.raises(SpoolFull):
        harness.store()
    harness.tick()
    assert harness.store()


def test_a_locked_database_is_read_later(harness: Any) -> None:
    harness.open()
    queue_id = harness.store()
    harness.settle(queue_id, Change(0, State.DEFERRED, due=harness.clock.now))
    connection = harness.spool._reader._connection
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    harness.spool._reader._connection = Locked(error)
    assert harness.claim() == []
    harness.spool._reader._connection = connection
    assert [claim.queue_id for claim in harness.claim()] == [queue_id]
    assert harness.fatal == []


@pytest.mark.parametrize("room", [True, False])
def test_a_write_error_without_room_is_a_full_disk(harness: Any, monkeypatch: Any, room: bool) -> None:
    from mailserver.spool.reserve import Reserve

    faults = faulty(harness)
    harness.open()
    monkeypatch.setattr(Reserve, "no_room", lambda _self: not room)
    faults.append(("INSERT", sqlite3.SQLITE_IOERR_WRITE))
    with pytest.raises(SpoolFailed if room else SpoolFull):
        harness.store()


# A bad row.


def test_a_full_disk_without_names_or_descriptors_passes_too(harness: Any, monkeypatch: Any) -> None:
    spool = harness.open(max_database=40 * PAGES)
    fill(harness)
    opening = os.open
    number = errno.ENOSPC

    def refused(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number))
        return opening(path, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused)
        for each in (errno.ENOSPC, errno.EMFILE):
            number = each
            harness.tick()
            assert (spool.failed, harness.fatal) == (None, [])
            assert spool.healthy is not None
    harness.tick()
    assert spool.healthy is None


@pytest.mark.parametrize("room", [True, False])
def test_a_file_that_sqlite_cannot_make_is_a_full_disk_where_nobody_can(
    harness: Any, monkeypatch: Any, room: bool
) -> None:
    faults = faulty(harness)
    spool = harness.open()
    monkeypatch.setattr("mailserver.spool.reserve.Reserve.no_room", lambda _self: not room)
    faults.append(("INSERT INTO messages", sqlite3.SQLITE_CANTOPEN))
    with pytest.raises(SpoolFailed if room else SpoolFull):
        harness.store()
    assert (spool.failed is None) is not room


def test_a_start_on_a_full_disk_is_a_start(harness: Any, monkeypatch: Any) -> None:
    faults = faulty(harness)
    harness.open(subscribed=False)
    waiting = harness.store()
    harness.close()
    with monkeypatch.context() as patch:
        patch.setattr("mailserver.spool.reserve.Reserve.make", lambda _self: False)
        faults.append(("UPDATE facts", sqlite3.SQLITE_FULL))
        faults.append(("PRAGMA wal_checkpoint", sqlite3.SQLITE_FULL))
        spool = harness.open()
        assert faults == []
        assert spool.healthy == "the disk is full"
        assert not list(harness.directory.glob("reserve*"))
        with pytest.raises(SpoolFull):
            harness.store()
        [claim] = harness.claim()
        assert claim.queue_id == waiting
        harness.settle(waiting, Change(0, DELIVERED))
    harness.tick()
    assert spool.healthy is None
    assert harness.store()


def test_one_bad_row_spoils_only_itself(harness: Any) -> None:
    spool = harness.open()
    settled = harness.store()
    bad = replace(harness.message(), arrived=float("nan"))
    worse = replace(harness.message(), queue_id="\ud800")
    odd = Mailbox("\udcff", Mailbox.parse("a@example.org").domain)
    surrogate = harness.message()
    surrogate = replace(surrogate, envelope=replace(surrogate.envelope, reverse_path=odd))
    good = [spool.store(harness.message()) for _ in range(3)]
    failing = [spool.store(bad), spool.store(worse)]
    good += [spool.store(surrogate), spool.settle([Settlement(settled, (Change(0, DELIVERED),))])]
    for one in good:
        harness.wait(one)
    for one in failing:
        with pytest.raises((sqlite3.IntegrityError, UnicodeEncodeError)):
            harness.wait(one)
    assert spool.counts() == {"messages": 4, "queued": 4, "active": 4}
    assert harness.fatal == []
    assert spool.healthy is None


def test_a_refused_content_belongs_to_its_writer_again(harness: Any) -> None:
    harness.open()
    content = harness.content(b"x" * 5000)
    waiting = harness.spool.store(replace(harness.message(1, content), arrived=float("nan")))
    content.discard()
    assert len(harness.files()) == 1
    with pytest.raises(sqlite3.IntegrityError):
        harness.wait(waiting)
    assert harness.files() == set()


# The end.


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("COMMIT", sqlite3.SQLITE_IOERR_FSYNC),
        ("INSERT", sqlite3.SQLITE_IOERR_FSYNC),
        ("INSERT", sqlite3.SQLITE_CORRUPT),
        ("BEGIN", sqlite3.SQLITE_CANTOPEN),
    ],
)
def test_an_error_of_the_disk_ends_all_commits(harness: Any, statement: str, code: int) -> None:
    faults = faulty(harness)
    spool = harness.open()
    queue_id = harness.store()
    harness.fresh.clear()
    faults.append((statement, code))
    waiting = []
    if statement != "INSERT":  # new mail alone is one INSERT, and that commits by itself
        waiting.append(spool.settle([Settlement(queue_id, (Change(0, DELIVERED),))]))
    waiting += [spool.store(harness.message()) for _ in range(5)]
    for one in waiting:
        with pytest.raises(SpoolFailed):
            harness.wait(one)
    while not harness.fatal:
        harness.reactor.turn()
    assert harness.fresh == []
    assert spool.healthy == harness.fatal[0] == "commit: injected"
    for later in (spool.store(harness.message()), spool.settle([Settlement(queue_id, (Change(0, DELIVERED),))])):
        with pytest.raises(SpoolFailed):
            harness.wait(later)
    assert harness.claim() == []
    assert spool.next_due() is None
    log = (harness.directory / "spool.db-wal").read_bytes()
    harness.close()
    # Not closed: the log is as it was, and the lock is still ours.
    assert (harness.directory / "spool.db-wal").read_bytes() == log
    assert len(harness.fatal) == 1
    image = harness.crash()
    image.open()
    assert [claim.queue_id for claim in image.claim()] == [queue_id]
    image.close()


def test_a_failing_checkpoint_is_the_end_too(harness: Any) -> None:
    faults = faulty(harness)
    harness.open(wal_extent=4096)
    faults.append(("PRAGMA wal_checkpoint", sqlite3.SQLITE_IOERR_FSYNC))
    stored = harness.spool.store(harness.message(10, b"x" * 900))
    assert harness.wait(stored)
    while not harness.fatal:
        harness.reactor.turn()
    assert harness.fatal == ["checkpoint: injected"]


def test_a_failing_last_checkpoint_does_not_hang_the_stop(harness: Any) -> None:
    faults = faulty(harness)
    harness.open()
    faults.append(("PRAGMA wal_checkpoint", sqlite3.SQLITE_IOERR_FSYNC))
    harness.close()
    assert harness.fatal == ["checkpoint: injected"]


def test_after_a_failure_the_clock_goes_on(harness: Any) -> None:
    faults = faulty(harness)
    harness.open()
    faults.append(("INSERT", sqlite3.SQLITE_IOERR_FSYNC))
    with pytest.raises(SpoolFailed):
        harness.store()
    harness.tick(idle=True)


def test_a_failing_read_is_the_end_too(harness: Any) -> None:
    harness.open(subscribed=False)
    harness.store()
    harness.spool._reader._connection.close()
    assert harness.claim() == []
    with pytest.raises(SpoolFailed):
        harness.wait(harness.spool.store(harness.message()))
    while not harness.fatal:
        harness.reactor.turn()


def test_a_bug_while_committing_leaves_no_caller_without_an_answer(harness: Any, monkeypatch: Any) -> None:
    from mailserver.spool import committer

    def broken(_error: Exception) -> None:
        raise RuntimeError("bug")

    spool = harness.open()
    monkeypatch.setattr(committer, "meaning", broken)
    with pytest.raises(SpoolFailed):
        harness.wait(spool.store(replace(harness.message(), arrived=float("nan"))))


# The write-ahead log.


def test_the_log_is_extended_and_does_not_grow(harness: Any) -> None:
    spool = harness.open(wal_extent=1 << 20)
    log = harness.directory / "spool.db-wal"
    assert log.stat().st_size == 1 << 20
    for _ in range(600):
        harness.store(1, b"x" * 900)
    assert log.stat().st_size == 1 << 20
    assert spool.wal_size == 1 << 20


def test_an_idle_second_empties_the_log(harness: Any) -> None:
    spool = harness.open(wal_extent=16 << 20)
    for _ in range(150):
        harness.store(1, b"x" * 900)
    assert (harness.directory / "spool.db").stat().st_size < 100 * PAGES
    while (harness.directory / "spool.db").stat().st_size < 30 * PAGES:
        harness.tick(idle=True)
    assert spool.checkpoint_seconds == 0.0


def test_a_log_that_is_too_large_refuses_new_mail(harness: Any, monkeypatch: Any) -> None:
    from mailserver.spool import committer

    spool = harness.open()
    assert spool.healthy is None
    monkeypatch.setattr(committer, "TOO_LARGE", 1000)
    assert "write-ahead log" in spool.healthy


def test_plain_content_is_stored_as_well(harness: Any) -> None:
    harness.open()
    queue_id = harness.store(1, Content.of(b"A: b\r\n\r\nc\r\n"))
    assert b"".join(harness.spool.content(queue_id).chunks()) == b"A: b\n\nc\n"
