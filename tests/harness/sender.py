"""A plain SMTP client for tests that must know exactly what was answered, and a crowd of them.

:class:`Client` is one connection. :class:`Crowd` sends numbered messages over many connections at once and
keeps account: which message got 250 with which queue id, and of which the content was out but no reply came.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

TOKEN = re.compile(rb"^X-Token: (\S+)$", re.M)
_ACCEPTED = re.compile(r"2\.0\.0 Accepted as (\S+)$")


class Gone(Exception):
    """The connection ended instead of a reply."""


class Said(NamedTuple):
    """A reply; ``text`` is its last line, without the code."""

    code: int
    text: str

    @property
    def queue_id(self) -> str:
        """The id in a 250 to a content."""
        found = _ACCEPTED.match(self.text)
        assert self.code == 250
        assert found, self
        return found[1]


def message(token: str, size: int = 0) -> bytes:
    """A content with CRLF line ends that tells by itself which one it is, of at least `size` octets."""
    line = f"{token} 0123456789 abcdefghijklmnopqrstuvwxyz\r\n".encode()
    return f"Subject: test\r\nX-Token: {token}\r\n\r\n".encode() + line * (size // len(line) + 1)


def body_of(octets: bytes) -> bytes:
    """What stands behind the header section of a file with LF line ends."""
    return octets.partition(b"\n\n")[2]


def token_of(octets: bytes) -> str:
    """The token of a message, wherever it arrived."""
    found = TOKEN.findall(octets.replace(b"\r\n", b"\n"))
    assert len(found) == 1, octets[:300]
    return found[0].decode()


class Client:
    """One session with ``EHLO`` said. Every method raises Gone when the server hangs up."""

    def __init__(self, address: str, port: int = 2525, timeout: float = 20) -> None:
        self._socket = socket.create_connection((address, port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self._socket.makefile("rb")
        assert self.reply().code == 220
        assert self.command("EHLO client.test").code == 250

    def write(self, octets: bytes) -> None:
        """Octets to the server, as they are."""
        try:
            self._socket.sendall(octets)
        except OSError as error:
            raise Gone from error

    def reply(self) -> Said:
        """The next reply."""
        while True:
            try:
                line = self._lines.readline()
            except OSError as error:
                raise Gone from error
            if not line.endswith(b"\n"):
                raise Gone
            if line[3:4] != b"-":
                return Said(int(line[:3]), line[4:].decode().rstrip())

    def command(self, line: str) -> Said:
        """One command and its reply."""
        self.write(line.encode() + b"\r\n")
        return self.reply()

    def envelope(self, *recipients: str) -> Said:
        """MAIL, RCPT and DATA, each waited for: the first reply that is no go-ahead, or the 354."""
        for line in ("MAIL FROM:<x@sender.test>", *[f"RCPT TO:<{one}>" for one in recipients], "DATA"):
            said = self.command(line)
            if said.code >= 400:
                return said
        return said

    def pipelined(self, recipient: str) -> Said:
        """The same for one recipient in one write (RFC 2920): the reply to DATA."""
        self.write(f"MAIL FROM:<x@sender.test>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode())
        return [self.reply() for _ in range(3)][-1]

    def content(self, octets: bytes) -> None:
        """A content and its end; the reply is not waited for. `octets` has no line that begins with a dot."""
        self.write(octets + b".\r\n")

    def send(self, octets: bytes, *recipients: str) -> Said:
        """One message: the reply to its content, or the refusal before that."""
        said = self.envelope(*recipients)
        if said.code != 354:
            return said
        self.content(octets)
        return self.reply()

    def offer(self, octets: bytes, *recipients: str) -> Said | None:
        """The same, and None where the connection ended instead of a reply."""
        try:
            return self.send(octets, *recipients)
        except Gone:
            return None

    def close(self) -> None:
        """Without a word."""
        self._lines.close()
        self._socket.close()


class Crowd:
    """Sends messages over many connections, over again after a crash, until each one got its 250."""

    def __init__(self, address: str, recipient: str, contents: Callable[[str], bytes]) -> None:
        self._address = address
        self._recipient = recipient
        self._contents = contents
        self._changed = threading.Condition()
        self._todo: list[str] = []
        self.accepted: dict[str, str] = {}
        self.uncertain: set[str] = set()
        self.surprises: list[object] = []

    def run(self, tokens: Iterable[str], connections: int) -> list[threading.Thread]:
        """Begin to send what has no 250 yet. The threads end when everything has, or with the server."""
        self._todo = [token for token in tokens if token not in self.accepted]
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(connections)]
        for thread in threads:
            thread.start()
        return threads

    def wait(self, count: int, timeout: float = 20) -> None:
        """Until `count` messages have their 250."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.accepted) >= count, timeout), len(self.accepted)

    def _work(self) -> None:
        try:
            client = Client(self._address)
            while self._todo:
                self._one(client, self._todo.pop())
            client.close()
        except (Gone, OSError, IndexError):
            return

    def _one(self, client: Client, token: str) -> None:
        said = client.pipelined(self._recipient)
        if said.code != 354:
            self.surprises.append(said)
            return
        try:
            client.content(self._contents(token))
            said = client.reply()
        except Gone:
            self.uncertain.add(token)
            raise
        with self._changed:
            if said.code == 250:
                self.accepted[token] = said.queue_id
            else:
                self.surprises.append(said)
            self._changed.notify_all()
