"""What the machine says: file systems, CPU and memory of a process, free ports, how much may be open."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def file_system(directory: Path) -> str:
    """Type, options and journal of the file system, as in ``ext4 (rw,relatime), journaled``."""
    best, words = -1, "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        place, options = left.split()[4:6]
        if directory.resolve().is_relative_to(place) and len(place) >= best:
            kind, device = right.split()[:2]
            best, words = len(place), f"{kind} ({options}){_journal(kind, Path(device).name)}"
    return words


def _journal(kind: str, device: str) -> str:
    """An ext4 without a journal spends up to 0.6 ms of CPU on each new file: rates there say little."""
    if kind != "ext4":
        return ""
    journaled = any(Path("/proc/fs/jbd2").glob(f"{device}-*"))
    return ", journaled" if journaled else ", without a journal: try --directory on one with"


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of its children that have ended."""
    # The name in parentheses may have spaces; utime, stime, cutime, cstime are the 14th to 17th of all fields.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _TICK


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def memory(pid: int, field: str = "VmRSS") -> int:
    """Octets in memory now, or (``VmHWM``) at most since the start or :func:`reset_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise ProcessLookupError(f"process {pid} has ended")


def reset_peak(pid: int) -> None:
    """Count the most memory (``VmHWM``) from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def open_as_many_as_allowed() -> int:
    """Raise this process's own bound of descriptors as far as it may, for its children too; answers it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
