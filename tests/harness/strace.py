"""strace on a running server: what it did and in which order, and errors or a death where a test wants them.

It is attached after the start, so that the counters of ``inject=CALL:…:when=N``, which strace keeps for each
thread, begin with the first call that the test causes. Lines of a trace stand in the order in which things
happened: whatever a thread does because of another thread's call is seen after the end of that call.
"""

from __future__ import annotations

import re
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

CALLS = (
    "fdatasync,fsync,syncfs,sendto,recvfrom,write,writev,pwrite64,openat,renameat,rename,unlink,unlinkat,ftruncate"
)
_LINE = re.compile(r"^(\d+) +[\d:.]+ (.*)$")
_CALL = re.compile(r"^(\w+)\((.*?)\)? += (\S+)(.*)$")
_FD_PATH = re.compile(r"^\d+<([^>]*)>")


@dataclass(frozen=True)
class Call:
    """One system call. It began at line ``began`` of the trace and returned at line ``ended``."""

    name: str
    arguments: str
    result: str
    began: int
    ended: int

    @property
    def path(self) -> str:
        """The path of the descriptor that is its first argument, or ""."""
        found = _FD_PATH.match(self.arguments)
        return found[1] if found else ""


class Trace:
    """strace attached to process `pid`; `inject` is the value of its option of that name."""

    def __init__(self, program: str, pid: int, output: Path, inject: str = "") -> None:
        self._output = output
        options = ["-f", "-y", "-tt", "-s", "120", "-o", str(output), "-e", f"trace={CALLS}"]
        if inject:
            options += ["-e", f"inject={inject}"]
        self._process = subprocess.Popen([program, *options, "-p", str(pid)], stderr=subprocess.PIPE)
        assert self._process.stderr is not None
        first = self._process.stderr.readline().decode()
        assert "attached" in first, f"strace cannot attach: {first}"
        # It tells of every thread that comes; the pipe must not fill up.
        threading.Thread(target=self._process.stderr.read, daemon=True).start()

    def detach(self) -> list[Call]:
        """Let the process go on alone; everything that was seen."""
        self.close()
        return parse(self.text())

    def text(self) -> str:
        """The trace so far; of a process that has ended, all of it once strace has."""
        return self._output.read_text("utf-8", "replace")

    def close(self) -> None:
        """End it; the process goes on if it is there."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        finally:
            self._process.kill()


def parse(text: str) -> list[Call]:
    """The completed calls of a trace, in the order in which they returned."""
    begun: dict[str, tuple[int, str]] = {}
    calls = []
    for number, line in enumerate(text.splitlines()):
        found = _LINE.match(line)
        if not found:
            continue
        thread, rest = found.groups()
        began = number
        if rest.endswith(" <unfinished ...>"):
            begun[thread] = number, rest.removesuffix(" <unfinished ...>")
            continue
        if rest.startswith("<... ") and thread in begun:
            began, start = begun.pop(thread)
            rest = start + rest.partition(" resumed>")[2]
        call = _CALL.match(rest)
        if call:
            calls.append(Call(call[1], call[2], call[3] + call[4], began, number))
    return calls


def only(calls: list[Call], name: str, *within: str) -> Call:
    """The one call of that name whose arguments hold all of `within`."""
    found = every(calls, name, *within)
    assert len(found) == 1, (name, within, found)
    return found[0]


def every(calls: list[Call], name: str, *within: str) -> list[Call]:
    """All calls of that name whose arguments hold all of `within`."""
    return [call for call in calls if call.name == name and all(one in call.arguments for one in within)]
