"""Who may open the spool for writing: whoever holds ``flock`` on ``spool/lock``.

The lock is on a file of its own, never on the database: closing any descriptor of a database file drops
SQLite's own locks in this process. The holder writes its process id and the time into the file, for the error
message of whoever comes second. The file is never unlinked (two processes would hold two of them), and the
kernel drops the lock of a process that dies.
"""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path

from mailserver.interfaces import MailServerError


class SpoolBusy(MailServerError):
    """Another owner has the spool open."""


class SpoolLock:
    """The lock of one spool directory, which must exist."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._descriptor = -1

    def acquire(self, wall: float) -> None:
        """Take the lock at `wall` (seconds since 1970). Raises SpoolBusy naming the holder."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(descriptor)
            os.close(descriptor)
            raise SpoolBusy(f"the spool {self._path.parent} is in use by {holder}") from None
        since = datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} since {since}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back. Nothing happens when it is not held."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


def _read(descriptor: int) -> str:
    words = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
    return words or "another process"


def lock_holder(directory: Path) -> str | None:
    """Who holds the spool in `directory` (``process 17 since …``), or None. Creates and keeps nothing."""
    try:
        descriptor = os.open(directory / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Shared, so that two who only look do not take each other for an owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    finally:
        os.close(descriptor)
    return None
