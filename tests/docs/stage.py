"""Where a program of the manual runs: a directory, an address of its own in the place of 127.0.0.1, its page."""

from __future__ import annotations

import shlex
import shutil
import smtplib
import subprocess
from pathlib import Path

from tests.docs.fresh import Fresh, Running
from tests.docs.manual import Block, blocks
from tests.harness.daemon import free_address

STARTED = "server.started|starting on|Starting factory"


class Stage:
    """``address`` is a loopback address that nobody else uses."""

    def __init__(self, fresh: Fresh, directory: Path, block: Block) -> None:
        self.fresh = fresh
        self.home = fresh.home(directory)
        self.block = block
        self.address = free_address()
        self._running: list[Running] = []

    def placed(self, text: str) -> str:
        """The text with this stage's address in it."""
        return text.replace("127.0.0.1", self.address)

    def write(self, name: str = "") -> Path:
        """The program as a file."""
        path = self.home / (name or self.block.name)
        path.write_text(self.placed(self.block.text))
        return path

    def command(self) -> list[str]:
        """The page's own command line for this file."""
        for block in blocks(self.block.page):
            if block.language == "sh" and self.block.name in block.text.split():
                return shlex.split(block.text)
        return ["twistd", "-ny", self.block.name]

    def start(self, *command: str, ready: str = STARTED) -> Running:
        """Run the page's command, or this one, until it is ready."""
        self.write()
        command = command or tuple(self.command())
        program = shutil.which(command[0], path=self.fresh.variables()["PATH"]) or command[0]
        running = Running(self.fresh, self.home, program, *command[1:])
        self._running.append(running)
        if ready:
            running.wait(ready)
        return running

    def run(self, text: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        """Run the program to its end; it must end well."""
        ran = self.fresh.run(self.home, self.fresh.python, "-c", text or self.placed(self.block.text), **more)
        assert ran.returncode == 0, f"{self.block}\n{ran.stdout}\n{ran.stderr}"
        return ran

    def client(self, port: int = 2525) -> smtplib.SMTP:
        """A client of the program, connected."""
        return smtplib.SMTP(self.address, port, local_hostname="client.test", timeout=20)

    def close(self) -> None:
        for running in self._running:
            running.kill()
            print(*running.lines, sep="\n")
