"""The directory of content files: their names, their removal, and the disk jobs that touch them.

A content file belongs to exactly one message and its name is random, so that nothing is ever written over.
Removal is never urgent: what a crash leaves behind is swept at the next start, under the lock, and only what
no row names. Jobs run on the disk pool and are counted, so that :meth:`ContentFiles.idle` can wait for them.

Errors: no room (ENOSPC, EDQUOT) is SpoolFull and passes, and so does a file that could not be opened for want
of descriptors or memory, because nothing was written. Any other OSError while writing or syncing is SpoolFailed
and stops the whole spool, because what the disk holds is not known any more.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailserver.interfaces import MailServerError, SpoolFailed, SpoolFull

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_NOT_OPENED = NO_ROOM | {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def open_file(path: str | Path, flags: int) -> int:
    """A descriptor, for the owner alone. Raises OSError, or SpoolFull: room, descriptors or memory are short."""
    try:
        return os.open(path, flags | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in _NOT_OPENED:
            raise SpoolFull(f"cannot open {os.path.basename(path)}: {error.strerror}") from error
        raise


def sync_directory(path: str | Path) -> None:
    """Make the names in a directory durable."""
    descriptor = open_file(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ContentFiles:
    """The files under `directory`. ``failed(reason)`` is called, on the reactor thread, when a disk job failed."""

    def __init__(
        self,
        directory: Path,
        threads: Callable[..., Deferred[Any]],
        log: Callable[..., None],
        failed: Callable[[str], None],
    ) -> None:
        self._directory = str(directory)
        self._threads = threads
        self._log = log
        self._failed = failed
        self._jobs = 0
        self._idle: list[Deferred[None]] = []

    @property
    def directory(self) -> str:
        """Where they are."""
        return self._directory

    def path(self, name: str) -> str:
        """The path of a content file."""
        return os.path.join(self._directory, name)

    def new_name(self) -> str:
        """A name that no other content has or had."""
        return secrets.token_hex(16)

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """A job on the disk pool; its OSErrors come back as SpoolFull or SpoolFailed. May raise PoolFull."""
        job = self._threads("disk", function, *args)
        self._jobs += 1
        job.addErrback(self._translate)
        job.addBoth(self._ended)
        return job

    def _ended(self, result: Any) -> Any:
        self._jobs -= 1
        if not self._jobs:
            waiting, self._idle = self._idle, []
            for one in waiting:
                one.callback(None)
        return result

    def _translate(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise SpoolFull("no room for the content file")
        if isinstance(error, MailServerError):
            failure.raiseException()
        reason = f"content file: {error}"
        self._failed(reason)
        raise SpoolFailed(reason)

    def idle(self) -> Deferred[None]:
        """Fires when no job is under way."""
        done: Deferred[None] = Deferred()
        if self._jobs:
            self._idle.append(done)
        else:
            done.callback(None)
        return done

    def unlink(self, names: Sequence[str]) -> None:
        """Remove files whose rows are gone, some time soon."""
        with contextlib.suppress(MailServerError):  # the pool has stopped: the next start sweeps
            self.run(self._unlink, names).addCallbacks(self._unlinked, lambda _failure: None)

    def _unlink(self, names: Sequence[str]) -> list[str]:
        """On the disk pool. An error here loses nothing: the answer is what to log."""
        errors = []
        for name in names:
            try:
                os.unlink(self.path(name))
            except FileNotFoundError:
                continue
            except OSError as error:
                errors.append(f"{name}: {error.strerror}")
        return errors

    def _unlinked(self, errors: list[str]) -> None:
        for error in errors:
            self._log("spool.stray", reason=error)

    def sweep(self, named: Collection[str]) -> int:
        """Remove every file that is not in `named`, and say how many. Blocks; before any listener accepts."""
        strays = 0
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if entry.name not in named and entry.is_file(follow_symlinks=False):
                    os.unlink(entry.path)
                    strays += 1
        return strays
