"""A small file system of its own: ext4 in a loop file, to be filled to the last block and emptied again."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

MIB = 1 << 20


class SmallDisk:
    """Mounted at ``path`` from :meth:`mount` to :meth:`close`. Needs root."""

    def __init__(self, directory: Path, mkfs: str, size: int = 64 * MIB) -> None:
        self.path = directory / "disk"
        self._image = directory / "image"
        self._mkfs = mkfs
        self._size = size
        self._mounted = False
        self._fillers: list[Path] = []

    def mount(self) -> SmallDisk:
        """Make and mount it. A machine that refuses is a failure that says so."""
        with open(self._image, "wb") as image:
            image.truncate(self._size)
        # No blocks kept for root: full is full for everybody.
        self._run(self._mkfs, "-q", "-F", "-m", "0", str(self._image))
        self.path.mkdir()
        self._run("mount", "-o", "loop", str(self._image), str(self.path))
        self._mounted = True
        return self

    def _run(self, *command: str) -> None:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{' '.join(command)} was refused, the test needs root: {ran.stderr.strip()}"

    def fill(self, spare: int = 0) -> None:
        """Take every free block but `spare` octets of them."""
        filler = self.path / f"filler{len(self._fillers)}"
        self._fillers.append(filler)
        with open(filler, "wb", buffering=0) as file:
            for step in (MIB, 65_536, 4_096):
                self._take(file.fileno(), step)
            file.truncate(file.seek(0, os.SEEK_END) - spare)

    @staticmethod
    def _take(descriptor: int, step: int) -> None:
        try:
            while True:
                os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, step)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    def free(self) -> None:
        """Give back what :meth:`fill` took."""
        for filler in self._fillers:
            shutil.rmtree(filler) if filler.is_dir() else filler.unlink()
        self._fillers.clear()

    def fill_names(self) -> None:
        """Take every free inode."""
        full = self.path / "names"
        full.mkdir()
        self._fillers.append(full)
        try:
            for number in range(1_000_000):
                (full / str(number)).touch()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    @property
    def names_left(self) -> int:
        """Free inodes."""
        return os.statvfs(self.path).f_favail

    @property
    def left(self) -> int:
        """Free octets."""
        state = os.statvfs(self.path)
        return state.f_bavail * state.f_frsize

    def close(self) -> None:
        """Unmount, whatever still holds it, and remove the image."""
        if self._mounted:
            self._mounted = False
            if subprocess.run(["umount", str(self.path)], capture_output=True, check=False).returncode:
                subprocess.run(["umount", "--lazy", str(self.path)], check=True)
        self._image.unlink(missing_ok=True)
