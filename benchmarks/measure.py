"""One measurement: a load on a subject, timed until answered and until in the Maildir, and then compared.

CPU seconds are read again after :data:`QUIET_SECONDS`, so that what a server does behind its answers counts as
well. Syncs are counted in a run of their own under strace, which slows a server down far too much to time it.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Load, Source, arrived
from benchmarks.machine import cpu_seconds
from benchmarks.subjects import Subject

QUIET_SECONDS = 1.0
STORED_SECONDS = 60
_SYNCS = ("fsync", "fdatasync", "syncfs", "sync_file_range", "sync", "msync")


@dataclass(frozen=True)
class Sample:
    """Seconds until all was answered and until all was in the Maildir, CPU seconds, and for how many messages."""

    messages: int
    answered: float
    stored: float
    cpu: float


class Wrong(Exception):
    """What arrived is not what was sent."""


class Bench:
    """Runs loads and checks every letter."""

    def __init__(self, source: Source, body: bytes) -> None:
        self._source = source
        self._body = body
        self.compared = 0

    def sample(self, load: Load, subject: Subject) -> Sample:
        """Measure once. Raises Wrong."""
        _empty(subject.maildir)
        cpu, start = cpu_seconds(subject.pid), time.monotonic()
        self._source.run(load, subject.port)
        answered = time.monotonic() - start
        stored = self._wait_for(load.messages, subject) - start
        time.sleep(QUIET_SECONDS)
        used = cpu_seconds(subject.pid) - cpu
        self._compare(load, subject)
        return Sample(load.messages, answered, stored, used)

    def _wait_for(self, messages: int, subject: Subject) -> float:
        deadline = time.monotonic() + STORED_SECONDS
        while subject.letters() < messages:
            if time.monotonic() > deadline:
                raise Wrong(f"{subject.name}: {subject.letters()} of {messages} letters after {STORED_SECONDS} s")
            time.sleep(0.01)
        return time.monotonic()

    def _compare(self, load: Load, subject: Subject) -> None:
        found = arrived(subject.maildir, self._body)
        if found != (load.messages,) * 3:
            raise Wrong(
                f"{subject.name}, {load}: of {load.messages} messages there are {found[0]} letters, "
                f"{found[1]} with the body that was sent, {found[2]} different ones"
            )
        self.compared += load.messages

    def syncs(self, load: Load, subject: Subject, trace: Path) -> float | None:
        """Flushes per message, or None without strace."""
        strace = shutil.which("strace")
        if strace is None:
            return None
        _empty(subject.maildir)
        argv = [strace, "-f", "-c", "-e", f"trace={','.join(_SYNCS)}", "-o", str(trace), "-p", str(subject.pid)]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as tracing:
            assert tracing.stderr
            attached = tracing.stderr.readline()
            if "attached" not in attached:
                return None
            self._source.run(load, subject.port)
            self._wait_for(load.messages, subject)
            time.sleep(QUIET_SECONDS)
            tracing.send_signal(signal.SIGINT)
            tracing.communicate()
        self._compare(load, subject)
        return counted(trace.read_text()) / load.messages


def counted(summary: str) -> int:
    """All calls in the table of ``strace -c``."""
    # % time, seconds, usecs/call, calls, errors (often empty), name
    rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", summary, re.MULTILINE)
    return sum(int(calls) for calls, name in rows if name in _SYNCS)


def _empty(maildir: Path) -> None:
    for folder in ("new", "cur"):
        if (maildir / folder).exists():
            for letter in (maildir / folder).iterdir():
                letter.unlink()
