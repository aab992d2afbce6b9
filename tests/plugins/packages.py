"""Packages of plugins for tests: built from texts, installed into environments of their own.

An environment sees the checkout and what this interpreter has installed through a ``.pth`` file, so that nothing
is downloaded, and nothing is built but the package itself.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from tests.harness.daemon import ROOT, Daemon

OFFLINE = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet")
PYPROJECT = '[build-system]\nrequires = ["setuptools>=61"]\nbuild-backend = "setuptools.build_meta"\n'


def files_of(page: str) -> dict[str, str]:
    """The code blocks of a page of the manual that stand behind the name of a file."""
    text = (ROOT / "docs" / page).read_text()
    return dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", text, re.M | re.S))


def setup_of(name: str, entries: Mapping[str, str]) -> str:
    """A setup.cfg with one module, called after the package."""
    points = "".join(f"    {key} = {value}\n" for key, value in entries.items())
    module = name.replace("-", "_")
    return (
        f"[metadata]\nname = {name}\nversion = 1.0\n[options]\npy_modules = {module}\n"
        f"[options.entry_points]\nmailserver =\n{points}"
    )


def write(directory: Path, files: Mapping[str, str]) -> Path:
    """The texts as files of a package."""
    for path, text in {"pyproject.toml": PYPROJECT, **files}.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)
    return directory


class Environment:
    """A fresh virtual environment. ``path`` is what stands on PYTHONPATH when something runs in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path: list[str] = []
        _run(sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", str(directory))
        self.python = str(directory / "bin/python")
        (site,) = directory.glob("lib/python*/site-packages")
        (site / "checkout.pth").write_text(f"{ROOT}\n{sysconfig.get_paths()['purelib']}\n")

    def install(self, *what: str) -> None:
        """``pip install``, without a network."""
        _run(sys.executable, "-m", "pip", "--python", self.python, "install", *OFFLINE, *what)

    def wheel(self, package: Path, into: Path) -> Path:
        """The wheel of a package."""
        _run(
            sys.executable, "-m", "pip", "--python", self.python, "wheel", *OFFLINE, "-w", str(into), str(package)
        )
        (wheel,) = into.glob("*.whl")
        return wheel

    def variables(self) -> dict[str, str]:
        """What the environment of a process is."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join(self.path), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run Python in it."""
        return subprocess.run(
            [self.python, *arguments], cwd=cwd, env=self.variables(), capture_output=True, text=True, timeout=100,
            check=False,
        )  # fmt: skip

    def ctl(self, daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run mailserverctl in it, on an instance."""
        return self.run("-m", "mailserver.admin", "--instance", str(daemon.instance), *arguments)


class PluginDaemon(Daemon):
    """A server that runs in an environment of its own."""

    def __init__(self, directory: Path, home: Environment, more: str) -> None:
        self._home = home
        super().__init__(directory, more)

    def twistd(self, *options: str, prefix: tuple[str, ...] = ()) -> list[str]:
        return [
            self._home.python if one == sys.executable else one for one in super().twistd(*options, prefix=prefix)
        ]

    def environment(self) -> dict[str, str]:
        return self._home.variables()


def _run(*command: str) -> None:
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, env={**os.environ, "PYTHONPATH": ""}
    )
    assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stdout}\n{ran.stderr}"
