"""Who may open the spool for writing: whoever holds ``flock`` on ``spool/lock``.

The lock is on a file of its own, never on the database: closing any descriptor of a database file drops
SQLite's own locks in this process. The holder writes its process id and the time into the file, for the error
message of whoever comes second. The file is never unlinked (two processes would hold two of them), and the
kernel drops the lock of a process that dies.

Commands on a stopped instance hold it for a moment: whoever may block can wait for `PATIENCE`. Whoever only looks
takes it together with others who look, and never keeps an owner out.
"""

from __future__ import annotations

import fcntl
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from mailserver.interfaces import MailServerError
from mailserver.spool.files import NO_ROOM

PATIENCE = 3.0
_PAUSE = 0.01
# A look takes microseconds: this is what a very busy machine may make of it.
_LOOKED_AT = 1.0


class SpoolBusy(MailServerError):
    """Another owner has the spool open."""


class SpoolLock:
    """The lock of one spool directory, which must exist."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._descriptor = -1

    def acquire(self, wall: float, patience: float = 0.0) -> None:
        """Take the lock at `wall` (seconds since 1970). Raises SpoolBusy naming the holder, for whose end it
        waits (and blocks) `patience` seconds."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _owned(descriptor, patience):
            holder = _read(descriptor)
            os.close(descriptor)
            raise SpoolBusy(
                f"the spool {self._path.parent} is in use by {holder}; stop it first, or use another instance"
                " directory"
            )
        since = datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        try:
            os.ftruncate(descriptor, os.pwrite(descriptor, f"process {os.getpid()} since {since}\n".encode(), 0))
        except OSError as error:
            if error.errno not in NO_ROOM:  # on a full disk we are an owner without a name
                os.close(descriptor)
                raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back. Nothing happens when it is not held."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


def _owned(descriptor: int, patience: float) -> bool:
    """Take the lock as its owner, or find that somebody else stays one for longer than `patience`."""
    waited = 0.0
    while not _locked(descriptor, fcntl.LOCK_EX):
        looked_at = _locked(descriptor, fcntl.LOCK_SH)
        if looked_at:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        if waited >= (max(patience, _LOOKED_AT) if looked_at else patience):
            return False
        time.sleep(_PAUSE)
        waited += _PAUSE
    return True


def _locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> str:
    words = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
    return words or "another process"


def lock_holder(directory: Path, patience: float = 0.0) -> str | None:
    """Who holds the spool in `directory` (``process 17 since …``) for longer than `patience` seconds, which are
    waited for, or None. Creates and keeps nothing."""
    try:
        descriptor = os.open(directory / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        waited = 0.0
        # Shared, so that two who only look do not take each other for an owner.
        while not _locked(descriptor, fcntl.LOCK_SH):
            if waited >= patience:
                return _read(descriptor)
            time.sleep(_PAUSE)
            waited += _PAUSE
    finally:
        os.close(descriptor)
    return None
