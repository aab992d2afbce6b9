"""Memory that a large message takes: the peak of the process while one of 100 MiB passes, less that of 1 MiB.

By DATA and, where it is offered, by BDAT, into a Maildir; and on to another host, which only counts what it gets.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.machine import free_port, memory, reset_peak
from benchmarks.measure import Wrong
from benchmarks.subjects import RECIPIENT, Subject, ours

MIB = 1_048_576
SMALL, LARGE = 1, 100
MEANT_MIB = 2
# The first of everything is larger, and each thread has a first time.
_WARM = 5
_LINE = b"The quick brown fox jumps over the lazy dog, and the dog does not mind it.\r\n"
_HEADER = b"From: anna@source.test\r\nSubject: large\r\n\r\n"
_ABROAD = "someone@sink.test"
_SECONDS = 120
_ANSWERS = {b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}
_SETTINGS = """\
host_name = "bench.test"
[listeners.mx]
role = "mx"
listen = ["127.0.0.1:{port}"]
[relay]
networks = ["127.0.0.0/8"]
[routes."sink.test"]
host = "127.0.0.1:SINK"
tls = "off"
[reception]
max_message_size = 209715200
[log]
path = "log/mailserver.log"
"""


class Client:
    """Speaks SMTP, and fails at once when it is not answered as it should be."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _SECONDS)
        self._lines = self._socket.makefile("rb")
        self.reply(b"220")

    def say(self, octets: bytes, code: bytes = b"250") -> bytes:
        """Send, and answer the reply."""
        self.send(octets)
        return self.reply(code)

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def reply(self, code: bytes) -> bytes:
        text = b""
        while True:
            line = self._lines.readline()
            text += line
            if not line.startswith(code):
                raise Wrong(f"{code!r} was expected, and not {line!r}")
            if line[3:4] != b"-":
                return text

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def _pieces(mebibytes: int) -> Iterator[bytes]:
    piece = _LINE * (MIB // len(_LINE))
    yield _HEADER
    for _ in range(mebibytes):
        yield piece


def _by_data(client: Client, mebibytes: int) -> None:
    client.say(b"DATA\r\n", b"354")
    for piece in _pieces(mebibytes):
        client.send(piece)
    client.say(b".\r\n")


def _by_bdat(client: Client, mebibytes: int) -> None:
    for piece in _pieces(mebibytes):
        client.say(b"BDAT %d\r\n" % len(piece) + piece)
    client.say(b"BDAT 0 LAST\r\n")


Way = Callable[[Client, int], None]
_WAYS: tuple[tuple[str, Way, str], ...] = (
    ("by DATA into the Maildir", _by_data, RECIPIENT),
    ("by BDAT into the Maildir", _by_bdat, RECIPIENT),
    ("by DATA, and relayed", _by_data, _ABROAD),
)


class Sink:
    """A host that takes every message and keeps nothing. ``messages`` counts them, `octets` what came."""

    def __init__(self) -> None:
        self.port = free_port()
        self.messages = self.octets = 0
        self._listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            connection.sendall(b"220 sink.test\r\n")
            rest = b""
            while octets := connection.recv(65_536):
                *lines, rest = (rest + octets).split(b"\r\n")
                for line in lines:
                    verb = line[:4].upper()
                    connection.sendall(_ANSWERS.get(verb, b"250 ok\r\n"))
                    if verb == b"DATA":
                        self._take(connection)
                    elif verb == b"QUIT":
                        return

    def _take(self, connection: socket.socket) -> None:
        """A content, to its end. The client says nothing behind it before it is answered."""
        last = b""
        while not last.endswith(b"\r\n.\r\n"):
            octets = connection.recv(65_536)
            if not octets:
                return
            self.octets += len(octets)
            last = last[-5:] + octets
        self.messages += 1
        connection.sendall(b"250 ok\r\n")

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._listening.close()


def run(directory: Path, quick: bool) -> str:
    """Each way, small and then large; answers the report."""
    lines = [f"peak of the whole process, a fresh one each; at most +{MEANT_MIB} MiB are meant"]
    for number, (name, way, recipient) in enumerate(_WAYS):
        sink = Sink()
        subject = ours(directory / f"large-{number}", _SETTINGS.replace("SINK", str(sink.port)))
        arrived = (lambda sink=sink: sink.messages) if recipient == _ABROAD else subject.letters
        try:
            for _ in range(_WARM):
                _peak(subject, way, recipient, arrived, SMALL)
            small, large = (_peak(subject, way, recipient, arrived, size) for size in (SMALL, LARGE))
        finally:
            subject.stop()
            sink.close()
        grown = (large - small) / MIB
        lines.append(f"{name}: {small / MIB:.1f} MiB at most for {SMALL} MiB, {grown:+.1f} for {LARGE} MiB")
    return "\n".join(lines)


def _peak(subject: Subject, way: Way, recipient: str, arrived: Callable[[], int], mebibytes: int) -> int:
    """Octets that the process had in memory at most, until the message was delivered. Raises Wrong."""
    there = arrived()
    reset_peak(subject.pid)
    client = Client(subject.port)
    client.say(b"EHLO source.test\r\n")
    client.say(b"MAIL FROM:<anna@source.test>\r\n")
    client.say(b"RCPT TO:<%s>\r\n" % recipient.encode())
    way(client, mebibytes)
    client.close()
    deadline = time.monotonic() + _SECONDS
    while arrived() == there:
        if time.monotonic() > deadline:
            raise Wrong(f"a message of {mebibytes} MiB was taken and did not arrive")
        time.sleep(0.05)
    return memory(subject.pid, "VmHWM")
