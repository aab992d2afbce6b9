"""A user's machine: a fresh virtual environment with the built wheel in it, and nothing of the checkout.

What the server depends on comes from this interpreter's packages through a ``.pth`` file, behind the wheel, so
that nothing is downloaded. Programs run in a directory of their own that has ``.venv``, as in the manual.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

from tests.docs.manual import ROOT

SOURCES = ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "mailserver", "twisted")
OFFLINE = ("--no-deps", "--no-index", "--disable-pip-version-check", "--quiet")
# What pip writes for a console script; twistd itself comes from this interpreter's packages.
TWISTD = "#!{python}\nfrom twisted.scripts.twistd import run\nrun()\n"


class Fresh:
    """The environment. ``python`` is its interpreter, ``wheel`` what was installed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.venv = directory / "venv"
        self.python = str(self.venv / "bin/python")

    @classmethod
    def shared(cls, directory: Path) -> Fresh:
        """The one below `directory`, made by whichever of the parallel test processes comes first."""
        directory.mkdir(exist_ok=True)
        fresh = cls(directory)
        with (directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (directory / "made").exists():
                fresh._make()
                (directory / "made").touch()
        return fresh

    @property
    def wheel(self) -> Path:
        (wheel,) = self.directory.glob("*.whl")
        return wheel

    def _make(self) -> None:
        # A copy: a build in the checkout leaves build/ there, and what was deleted would come back.
        source = self.directory / "source"
        source.mkdir()
        for name in SOURCES:
            there = ROOT / name
            if there.is_dir():
                shutil.copytree(there, source / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
            else:
                shutil.copy(there, source / name)
        _pip("wheel", *OFFLINE, "--no-build-isolation", "-w", str(self.directory), str(source))
        _run(sys.executable, "-m", "venv", "--without-pip", str(self.venv))
        _pip("--python", self.python, "install", *OFFLINE, str(self.wheel))
        (site,) = self.venv.glob("lib/python*/site-packages")
        (site / "behind.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
        twistd = self.venv / "bin/twistd"
        twistd.write_text(TWISTD.format(python=self.python))
        twistd.chmod(0o755)

    def install(self, package: Path) -> None:
        """``pip install`` of one more package."""
        _pip("--python", self.python, "install", *OFFLINE, "--no-build-isolation", str(package))

    def home(self, directory: Path) -> Path:
        """The directory, with the environment at ``.venv``."""
        (directory / ".venv").symlink_to(self.venv)
        return directory

    def variables(self, **more: str) -> dict[str, str]:
        """What the environment of a process is."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
        path = f"{self.venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {**kept, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1", **more}

    def run(self, home: Path, *command: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command there until it ends."""
        return subprocess.run(
            command, cwd=home, env=self.variables(**more), input=stdin, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip


class Running:
    """A program that runs until it is stopped. ``lines`` is what it has said, on either stream."""

    def __init__(self, fresh: Fresh, home: Path, *command: str) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            command, cwd=home, env=fresh.variables(PYTHONUNBUFFERED="1"), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in itertools.chain(self.process.stdout, ["<end of output>"]):
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def wait(self, pattern: str, timeout: float = 20) -> str:
        """The first line that matches, as soon as it is said."""
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                if found := [line for line in self.lines if re.search(pattern, line)]:
                    return found[0]
                left = end - time.monotonic()
                if left <= 0 or "<end of output>" in self.lines:
                    raise AssertionError(f"no {pattern!r} in what it said:\n" + "\n".join(self.lines))
                self._changed.wait(left)

    def prints(self, pattern: str) -> str:
        """The same for a whole line that the program prints; twistd makes a line of its log of it."""
        return self.wait(rf"(^|\[stdout#info\] ){pattern}$")

    def stop(self, signal: int, timeout: float = 15) -> None:
        """Send a signal, and wait for the end."""
        self.process.send_signal(signal)
        self.process.wait(timeout)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


def _pip(*arguments: str) -> None:
    _run(sys.executable, "-m", "pip", *arguments)


def _run(*command: str) -> None:
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, env={**os.environ, "PYTHONPATH": ""}
    )
    assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stdout}\n{ran.stderr}"
