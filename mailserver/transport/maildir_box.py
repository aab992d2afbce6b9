"""Open Maildirs: their directory descriptors, shared for one round of syncs and bounded in number.

A Maildir is looked up by path at most once a round (half a second), so that one which its owner moves or makes
anew is noticed soon; within the round its files are made relative to the descriptors. A missing one is made,
0700 (Dovecot and qmail make theirs so). Thread-safe. Errors: OSError, as the system gives it.
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock

# Three descriptors each; the usual limit of a process is 1,024, and sessions need most of them.
OPEN_AT_ONCE = 60
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Box:
    """One open Maildir. ``device`` names its file system; ``counted`` says that it keeps a ``maildirsize``."""

    __slots__ = ("counted", "cur", "device", "new", "path", "tmp", "users")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.users = 0
        self.tmp = _open_or_make(path)
        try:
            self.new = os.open(path / "new", _DIRECTORY)
            self.cur = os.open(path / "cur", _DIRECTORY)
        except OSError:
            self.close()
            raise
        self.device = os.fstat(self.new).st_dev
        # Maildir++ quota: whoever delivers appends a line, but only the quota's owner makes the file.
        self.counted = (path / "maildirsize").exists()

    def count(self, size: int) -> None:
        """Add one letter of `size` octets to ``maildirsize`` (Maildir++, one write in append mode)."""
        try:
            fd = os.open(self.path / "maildirsize", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.write(fd, b"%d 1\n" % size)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Give the descriptors back, also those of a box that could be opened in part only."""
        for name in ("tmp", "new", "cur"):
            fd = getattr(self, name, -1)
            if fd >= 0:
                os.close(fd)


def _open_or_make(path: Path) -> int:
    try:
        return os.open(path / "tmp", _DIRECTORY)
    except FileNotFoundError:
        for name in ("tmp", "new", "cur"):
            _make(path / name)
        return os.open(path / "tmp", _DIRECTORY)


def _make(path: Path) -> None:
    """Make a directory and its missing parents, all of them 0700 (os.makedirs leaves parents to the umask)."""
    try:
        path.mkdir(0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make(path.parent)
        path.mkdir(0o700, exist_ok=True)


class Shelf:
    """The Maildirs that are open now, and one descriptor per file system that lasts."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._boxes: dict[Path, Box] = {}
        self._systems: dict[int, int] = {}

    def take(self, path: Path) -> Box:
        """Open `path` (or find it open). Every box taken is given back with :meth:`give`."""
        with self._lock:
            box = self._boxes.get(path)
            if box is None:
                box = Box(path)
                try:
                    self._remember(box)
                except OSError:
                    box.close()
                    raise
            box.users += 1
            return box

    def _remember(self, box: Box) -> None:
        if box.device not in self._systems:
            # Opened before the first write: syncfs reports errors since the descriptor was opened.
            self._systems[box.device] = os.dup(box.new)
        # Last, since there may be no descriptor left: a box on the shelf has a file system that can be synced.
        if len(self._boxes) < OPEN_AT_ONCE:
            self._boxes[box.path] = box

    def give(self, box: Box) -> None:
        """The box is not used any more by whoever took it."""
        with self._lock:
            box.users -= 1
            self._close_unused(box)

    def forget(self) -> None:
        """Look every Maildir up anew from now on."""
        with self._lock:
            boxes = list(self._boxes.values())
            self._boxes.clear()
            for box in boxes:
                self._close_unused(box)

    def _close_unused(self, box: Box) -> None:
        if box.users == 0 and self._boxes.get(box.path) is not box:
            box.close()

    def system(self, device: int) -> int:
        """The descriptor by which the file system `device` is synced."""
        with self._lock:
            return self._systems[device]

    def close(self) -> None:
        """Close everything; nothing may be in use."""
        self.forget()
        with self._lock:
            for fd in self._systems.values():
                os.close(fd)
            self._systems.clear()
