"""The commands of README.md and docs/start.md, as they stand and in their order, on a user's machine."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.commands import CHECKED, Line, lines
from tests.docs.fresh import Fresh, Running
from tests.docs.manual import blocks
from tests.harness.daemon import free_address

START = "docs/start.md"
PASSWORD = "a word of hers"
STARTED = r" server\.started "


class Walk:
    """An instance that commands work on; its addresses are this test's."""

    def __init__(self, fresh: Fresh, directory: Path) -> None:
        self.fresh = fresh
        self.home = fresh.home(directory)
        self.address = free_address()
        self.said: dict[str, str] = {}
        self.server: Running | None = None

    def page(self, name: str) -> None:
        """Run the commands of a page."""
        for block in blocks(name):
            for line in lines(block) if block.language == "sh" else ():
                self.take(line)

    def take(self, line: Line) -> None:
        """Run one command of the manual."""
        if line.command == "make run" and line.page == START:
            self.make_run()
        elif line.command in CHECKED:
            return
        elif line.program == "twistd":
            self.start(*line.words)
        else:
            self.run(line)

    def make_run(self) -> None:
        """What its recipe does, once the package is installed."""
        ctl = (".venv/bin/mailserverctl", "--instance", "instance", "init", "--domain", "example.test")
        self.do(*ctl, "--account", "you@example.test", "--password-stdin", stdin=f"{PASSWORD}\n")
        self.start(".venv/bin/twistd", "-n", "--pidfile=", "mailserver", "--config", "instance/mailserver.toml")

    def run(self, line: Line) -> None:
        words = [word.replace("127.0.0.1", self.address) for word in line.words]
        if line.program == "swaks" and "--auth" in words:
            words += ["--auth-password", PASSWORD]  # it would ask
        self.said[line.command] = self.do(*words)

    def do(self, *command: str, stdin: str = "") -> str:
        ran = self.fresh.run(self.home, *command, stdin=stdin)
        assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stdout}\n{ran.stderr}"
        if "init" in command:
            settings = self.home / command[command.index("--instance") + 1] / "mailserver.toml"
            settings.write_text(settings.read_text().replace("127.0.0.1", self.address))
        return ran.stdout

    def start(self, *command: str) -> None:
        self.server = Running(self.fresh, self.home, *command)
        self.server.wait(STARTED)


@pytest.fixture
def walk(fresh: Fresh, tmp_path: Path) -> Iterator[Walk]:
    one = Walk(fresh, tmp_path)
    yield one
    if one.server is not None:
        one.server.kill()
        print(*one.server.lines, sep="\n")


@pytest.mark.daemon
def test_readme(walk: Walk) -> None:
    walk.page("README.md")
    assert "mx" in walk.said[".venv/bin/mailserverctl --instance mail status"]
    assert walk.server is not None
    walk.server.stop(signal.SIGINT)


@pytest.mark.daemon
@pytest.mark.peer("swaks")
def test_start(walk: Walk) -> None:
    walk.page(START)
    letters = list((walk.home / "instance/maildirs/example.test/you/new").iterdir())
    assert len(letters) == 3  # of send-test, and two of swaks
    accounts = walk.said[".venv/bin/mailserverctl account list"]
    assert "anna@example.org" in accounts
    assert "you@example.test" in accounts
