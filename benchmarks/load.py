"""The load: Postfix's `smtp-source`, and what exactly it sends.

`make peers` unpacks it to ``.peers/``; elsewhere on the path it is found too. :func:`reference` lets it send one
message to a socket of our own, so that arrivals are compared with the wire and not with each other.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import free_port
from benchmarks.subjects import RECIPIENT, ROOT

SENDER = "sender@source.test"
RUN_SECONDS = 120


@dataclass(frozen=True)
class Load:
    """`messages` of `octets` each over `connections` at once; ``kept`` sends many over one connection."""

    connections: int
    kept: bool
    messages: int
    octets: int = 4096

    def __str__(self) -> str:
        return f"{self.connections} at once, {'kept' if self.kept else 'one message each'}"


class Source:
    """The program `smtp-source`."""

    def __init__(self) -> None:
        search = os.pathsep.join([str(ROOT / ".peers" / "bin"), os.environ.get("PATH", ""), "/usr/sbin"])
        program = shutil.which("smtp-source", path=search)
        if program is None:
            raise SystemExit("smtp-source is missing: `make peers` unpacks it (as root)")
        self._program = program

    def run(self, load: Load, port: int) -> None:
        """Send it all; returns when every message is answered. Raises SystemExit when one is refused."""
        argv = [self._program, "-s", str(load.connections), "-m", str(load.messages), "-l", str(load.octets)]
        argv += ["-f", SENDER, "-t", RECIPIENT, "-M", "source.test", *(["-d"] if load.kept else [])]
        argv.append(f"127.0.0.1:{port}")
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=RUN_SECONDS)
        if done.returncode != 0:
            raise SystemExit(f"smtp-source was refused ({load}): {done.stderr.strip()}")

    def reference(self, octets: int) -> bytes:
        """The body that it sends for messages of this size, LF line ends."""
        port = free_port()
        argv = [self._program, "-s", "1", "-m", "1", "-l", str(octets), "-f", SENDER, "-t", RECIPIENT]
        with socket.create_server(("127.0.0.1", port)) as listening:
            listening.settimeout(10)
            sending = subprocess.Popen([*argv, f"127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
            connection, _ = listening.accept()
            with connection:
                content = _take_one_message(connection)
        sending.wait(10)
        return body_of(content.replace(b"\r\n", b"\n"))


def _take_one_message(connection: socket.socket) -> bytes:
    connection.settimeout(10)
    connection.sendall(b"220 reference.test\r\n")
    answers = {b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}
    lines = connection.makefile("rb")
    content: list[bytes] = []
    for line in lines:
        verb = line[:4].upper().strip()
        connection.sendall(answers.get(verb, b"250 ok\r\n"))
        if verb == b"DATA":
            content = list(iter(lines.readline, b".\r\n"))
            connection.sendall(b"250 ok\r\n")
        if verb == b"QUIT":
            break
    return b"".join(line[1:] if line.startswith(b".") else line for line in content)


def body_of(content: bytes) -> bytes:
    """What stands behind the first empty line."""
    return content.partition(b"\n\n")[2]


def message_id_of(content: bytes) -> bytes:
    """The message's own name, to tell two copies of one from two messages."""
    header = content.partition(b"\n\n")[0].split(b"\n")
    return next((line for line in header if line.lower().startswith(b"message-id:")), b"")


def arrived(maildir: Path, body: bytes) -> tuple[int, int, int]:
    """How many letters there are, how many of them have exactly `body`, and how many different Message-IDs."""
    letters = [path.read_bytes() for path in (maildir / "new").iterdir()]
    names = {message_id_of(letter) for letter in letters}
    return len(letters), sum(body_of(letter) == body for letter in letters), len(names)
