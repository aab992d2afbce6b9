"""Tests with other people's programs: ``@pytest.mark.peer("swaks")`` and the fixture ``peer``.

Where the program is missing, the test is left out and the end of the run says so, with the command that
installs it. With ``CI=true`` in the environment a missing program is a failure instead.
"""

from __future__ import annotations

import os
import shutil
import unittest
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

# Installed, it is an entry point; from the checkout it is this line.
pytest_plugins = ["mailserver.testing.plugin"]

ROOT = Path(__file__).parent.parent
# What `make peers` unpacks comes first; mkfs.ext4 and git-send-email stand where a user's path does not lead.
_ELSEWHERE = ("/usr/sbin", "/sbin", "/usr/lib/git-core")
SEARCH = os.pathsep.join([str(ROOT / ".peers/bin"), os.environ.get("PATH", ""), *_ELSEWHERE])
LEFT_OUT = "left out, peers are missing: "


def find_peer(name: str) -> str | None:
    """The full path of a peer's program, or None."""
    return shutil.which(name, path=SEARCH)


@pytest.fixture(autouse=True)
def _trials_own_directory(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What trial's ``mktemp`` names lies in the current directory: that must not be the checkout."""
    if request.cls is not None and issubclass(request.cls, unittest.TestCase):
        monkeypatch.chdir(tmp_path)


@pytest.fixture
def peer() -> Callable[[str], str]:
    """Call it with a program's name for its full path; the test is marked ``peer(name)`` as well."""

    def find(name: str) -> str:
        program = find_peer(name)
        assert program, f"{name} is missing, and the test lacks the mark peer({name!r})"
        return program

    return find


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Call it with settings for a `Daemon` that is not started yet; at the end it is killed, its log shown."""
    yield from make_daemons(tmp_path)


@pytest.fixture(scope="module")
def lasting_daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """The same for daemons that all tests of a module share."""
    yield from make_daemons(tmp_path_factory.mktemp("daemon"))


def make_daemons(directory: Path) -> Iterator[Callable[..., Any]]:
    from tests.harness.daemon import Daemon

    made: list[Daemon] = []

    def make(more: str = "") -> Daemon:
        own = directory / f"server{len(made)}"
        own.mkdir()
        made.append(Daemon(own, more))
        return made[-1]

    yield make
    for daemon in made:
        daemon.kill()
        print(daemon.instance, *daemon.lines, sep="\n")


@pytest.fixture
def hops() -> Iterator[Callable[..., Any]]:
    """Call it for a `Peer` (tests/harness/peer.py), which is down again at the end."""
    yield from make_hops()


@pytest.fixture(scope="module")
def lasting_hops() -> Iterator[Callable[..., Any]]:
    """The same for a whole module."""
    yield from make_hops()


def make_hops() -> Iterator[Callable[..., Any]]:
    from tests.harness.peer import Peer

    with ExitStack() as stack:

        def make(**options: Any) -> Peer:
            made = Peer(**options)
            stack.callback(made.down)
            return made

        yield make


def pytest_runtest_setup(item: pytest.Item) -> None:
    names = [name for mark in item.iter_markers("peer") for name in mark.args]
    missing = sorted({name for name in names if find_peer(name) is None})
    if not missing:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"a peer is missing: {', '.join(missing)} (make peers)", pytrace=False)
    pytest.skip(LEFT_OUT + ", ".join(missing))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", [])]
    counts = Counter(reason.partition(LEFT_OUT)[2] for reason in reasons if LEFT_OUT in reason)
    for names, count in sorted(counts.items()):
        terminalreporter.write_line(f"{count} tests were left out, because {names} is not on this machine")
    if counts:
        terminalreporter.write_line("make peers installs what is missing (as root)")
