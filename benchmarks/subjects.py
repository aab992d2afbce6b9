"""The servers under load: ours as `twistd mailserver` runs it, and the peer. Each is a process with a Maildir."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import free_port

ROOT = Path(__file__).parent.parent
RECIPIENT = "bench@bench.test"
START_SECONDS = 30
SETTINGS = """\
host_name = "bench.test"
[listeners.mx]
role = "mx"
listen = ["127.0.0.1:{port}"]
max_connections_per_ip = 0
[log]
path = "log/mailserver.log"
"""


class Subject:
    """A server that runs. ``maildir`` is where a message for :data:`RECIPIENT` ends; `output` takes its words."""

    def __init__(self, name: str, argv: list[str], port: int, maildir: Path, output: Path) -> None:
        self.name = name
        self.port = port
        self.maildir = maildir
        self._output = output.open("wb")
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output, env=environment()
        )
        self._wait_until_it_listens()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.recv(100)
                connection.sendall(b"QUIT\r\n")
                return
            time.sleep(0.05)
        self.stop()
        words = Path(self._output.name).read_text(errors="replace")
        raise SystemExit(f"{self.name} does not listen on port {self.port}:\n{words}")

    def letters(self) -> int:
        """How many letters there are."""
        try:
            with os.scandir(self.maildir / "new") as entries:
                return sum(1 for _ in entries)
        except FileNotFoundError:
            return 0

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()


def environment() -> dict[str, str]:
    """The checkout's own code, whether it is installed or not."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def ours(directory: Path, settings: str = SETTINGS) -> Subject:
    """A fresh instance below `directory`, with one account and the one listener of `settings`, at ``{port}``."""
    instance, port = directory / "instance", free_port()
    directory.mkdir(parents=True, exist_ok=True)
    arguments = ["--instance", str(instance), "init", "--domain", "bench.test", "--account", RECIPIENT]
    made = subprocess.run(
        [sys.executable, "-m", "mailserver.admin", *arguments, "--password-stdin"],
        input="for the benchmark only\n",
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    if made.returncode != 0:
        raise SystemExit(f"no instance could be made: {made.stdout}{made.stderr}")
    file = instance / "mailserver.toml"
    file.write_text(settings.format(port=port))
    twistd = Path(sys.executable).with_name("twistd")
    argv = [sys.executable, str(twistd), "-n", "--pidfile=", "mailserver", "--config", str(file)]
    maildir = instance / "maildirs" / "bench.test" / "bench"
    return Subject("mailserver", argv, port, maildir, directory / "mailserver.output")


def plain_twisted(directory: Path, certificate: str = "") -> Subject:
    """Stock Twisted with a fsyncing Maildir delivery; with a `certificate` (a PEM file) it has STARTTLS."""
    maildir, port = directory / "plain" / "maildir", free_port()
    maildir.mkdir(parents=True)
    argv = [sys.executable, "-m", "benchmarks.plain_twisted", str(port), str(maildir), certificate]
    return Subject("plain-twisted", argv, port, maildir, directory / "plain-twisted.output")
