"""One owner at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mailserver.spool.lock import PATIENCE, SpoolBusy, SpoolLock, lock_holder

HOLD = """
import sys, time
from pathlib import Path
from mailserver.spool.lock import SpoolLock
SpoolLock(Path(sys.argv[1])).acquire(1_790_000_000.0)
print("held", flush=True)
sys.stdin.read()
"""


def test_another_process_holds_it(tmp_path: Path) -> None:
    assert lock_holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        who = f"process {holder.pid} since 2026-09-21 14:13:20 UTC"
        assert lock_holder(tmp_path) == who
        with pytest.raises(SpoolBusy, match=who):
            SpoolLock(tmp_path).acquire(0.0)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert lock_holder(tmp_path) is None
    lock = SpoolLock(tmp_path)
    lock.acquire(0.0)
    lock.release()


def test_the_same_process_is_no_exception(tmp_path: Path) -> None:
    first, second = SpoolLock(tmp_path), SpoolLock(tmp_path)
    first.acquire(0.0)
    with pytest.raises(SpoolBusy, match=f"process {os.getpid()} since 1970"):
        second.acquire(0.0)
    second.release()
    assert lock_holder(tmp_path) is not None
    first.release()
    assert lock_holder(tmp_path) is None


def test_a_second_spool_does_not_start_and_the_first_goes_on(harness: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("mailserver.spool.sqlite.PATIENCE", 0.0)
    spool = harness.open()
    with pytest.raises(SpoolBusy):
        harness.open()
    harness.spool = spool
    spool.subscribe(harness.fresh.extend)
    assert harness.store()


def test_whoever_may_wait_gets_it_when_the_holder_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = SpoolLock(tmp_path), SpoolLock(tmp_path)
    first.acquire(0.0)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) % 3 == 0:
            first.release()

    monkeypatch.setattr(time, "sleep", sleep)
    second.acquire(0.0, PATIENCE)
    assert len(pauses) == 3
    with pytest.raises(SpoolBusy, match="process"):
        first.acquire(0.0, PATIENCE)
    # As long as was said, and not at all where nothing was said.
    assert PATIENCE - 0.1 < sum(pauses[3:]) < PATIENCE + 0.1
    pauses.clear()
    with pytest.raises(SpoolBusy):
        first.acquire(0.0)
    assert pauses == []
    second.release()
    first.acquire(0.0)
    assert lock_holder(tmp_path, PATIENCE) is None


def test_a_look_keeps_no_owner_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lock").touch()
    looking = os.open(tmp_path / "lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda _seconds: os.close(looking))
    lock = SpoolLock(tmp_path)
    lock.acquire(0.0)
    assert lock_holder(tmp_path) is not None
    lock.release()


def test_on_a_full_disk_the_owner_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(_descriptor: int, _octets: bytes, _position: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", pwrite)
    lock = SpoolLock(tmp_path)
    lock.acquire(0.0)
    assert lock_holder(tmp_path) == "another process"
    lock.release()
    assert lock_holder(tmp_path) is None
