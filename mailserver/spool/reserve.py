"""A file that is kept only to be deleted: room for settlements when the disk is full.

There is room only where another file of its size would fit too, so that a disk at its limit does not swing to
and fro.
"""

from __future__ import annotations

import os
from pathlib import Path

from mailserver.spool.files import NO_ROOM


class Reserve:
    """`size` octets at `path`. Used by one thread at a time."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = str(path)
        self.size = size

    def make(self) -> bool:
        """Make it unless it is there; False when there is no room."""
        if os.path.exists(self._path) and os.path.getsize(self._path) == self.size:
            return not self.no_room()
        try:
            self._allocate()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            self.free()
            return False
        return True

    def _allocate(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, 2 * self.size)
            os.ftruncate(descriptor, self.size)
        finally:
            os.close(descriptor)

    def free(self) -> bool:
        """Give its room to whoever writes next; False when there is nothing to give."""
        if not os.path.exists(self._path):
            return False
        os.unlink(self._path)
        return True

    def no_room(self) -> bool:
        """Whether the disk has no room for another file of this size: the reason, then, for an error that SQLite
        reports as input/output (a quota, or its shared memory file)."""
        probe = self._path + ".probe"
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self.size)
        except OSError as error:
            return error.errno in NO_ROOM
        finally:
            os.close(descriptor)
            os.unlink(probe)
        return False
