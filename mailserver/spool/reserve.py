"""Files that are kept only to be deleted: room for settlements, and for the next start, when the disk is full.

One file of octets, and a few empty ones, because a disk can run out of names before it runs out of blocks.
There is room only where another set of them would fit too, so that a disk at its limit does not swing to and fro.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from mailserver.interfaces import SpoolFull
from mailserver.spool.errors import Meaning, meaning
from mailserver.spool.files import open_file

# What a start makes anew: two files beside each database, and the control socket. One is spare.
_NAMES = 6


class Reserve:
    """`size` octets at `path`. Used by one thread at a time."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = str(path)
        self.size = size

    def make(self) -> bool:
        """Make it unless it is there; False when there is no room. Raises OSError."""
        whole = os.path.exists(self._path) and os.path.getsize(self._path) == self.size
        try:
            self._allocate(self._path)
        except (OSError, SpoolFull) as error:
            if meaning(error) is not Meaning.FULL:
                raise
            if not whole:
                self.free()
            return False
        room = not self.no_room()
        if not room and not whole:
            self.free()
        return room

    def _allocate(self, path: str) -> None:
        descriptor = open_file(path, os.O_WRONLY | os.O_CREAT)
        try:
            os.posix_fallocate(descriptor, 0, self.size)
            os.ftruncate(descriptor, self.size)
        finally:
            os.close(descriptor)
        for name in _names(path):
            os.close(open_file(name, os.O_WRONLY | os.O_CREAT))

    def free(self) -> bool:
        """Give its room to whoever writes next; False when there is nothing to give."""
        return _remove(self._path)

    def no_room(self) -> bool:
        """Whether the disk has no room for another one: the reason, then, for an error that SQLite reports as
        input/output (a quota, or its shared memory file), or as a file that it cannot open."""
        probe = self._path + ".probe"
        try:
            self._allocate(probe)
        except (OSError, SpoolFull) as error:
            return meaning(error) is Meaning.FULL
        finally:
            with contextlib.suppress(OSError):
                _remove(probe)
        return False


def _names(path: str) -> list[str]:
    return [f"{path}.{number}" for number in range(1, _NAMES + 1)]


def _remove(path: str) -> bool:
    """Whether the file of octets was there."""
    there = os.path.exists(path)
    for name in (path, *_names(path)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    return there
