"""A next hop for tests: an SMTP server that answers as it is told and remembers what it took.

It runs in threads of the test's process, on a loopback address of its own, port 2525. What it says may be
changed at any time; :meth:`Peer.down` cuts every connection and refuses new ones until :meth:`Peer.up`.
It shares no code with the server under test.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.harness.daemon import free_address

PORT = 2525
TAKEN = "250 2.0.0 taken"


@dataclass(frozen=True)
class Received:
    """A message that was answered 250. ``content`` has LF line ends; on the wire all were CRLF."""

    helo: str
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    tls: bool


class Peer:
    """``answers`` are replies to RCPT by forward-path; ``final`` is the one to a content. ``tls`` offers STARTTLS
    with that context; with ``broken_tls`` it is offered, and the handshake fails. While ``gate`` is cleared
    no content is answered."""

    def __init__(self, tls: ssl.SSLContext | None = None, broken_tls: bool = False) -> None:
        self.address = free_address()
        self.port = PORT
        self.tls = tls
        self.broken_tls = broken_tls
        self.answers: dict[str, str] = {}
        self.final = TAKEN
        self.gate = threading.Event()
        self.gate.set()
        self.received: list[Received] = []
        self.contents = 0
        self.changed = threading.Condition()
        self._listening: socket.socket | None = None
        self._open: set[_Session] = set()

    @property
    def place(self) -> str:
        """``ADDRESS:PORT``, as a static route names it."""
        return f"{self.address}:{self.port}"

    def up(self) -> Peer:
        """Listen."""
        self._listening = socket.create_server((self.address, self.port), backlog=50)
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()
        return self

    def down(self) -> None:
        """Refuse connections, and cut those that are open."""
        listening, self._listening = self._listening, None
        if listening is not None:
            # Closing alone would leave a thread in accept(), and the port open.
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        self.gate.set()
        for one in tuple(self._open):
            one.cut()

    def wait(self, count: int = 1, timeout: float = 15) -> list[Received]:
        """What was taken, once it is `count` messages."""
        self._wait_for(lambda: len(self.received) >= count, timeout)
        return self.received

    def wait_contents(self, count: int = 1, timeout: float = 15) -> None:
        """Until `count` contents are here to their ends, answered or not."""
        self._wait_for(lambda: self.contents >= count, timeout)

    def _wait_for(self, good: Any, timeout: float) -> None:
        with self.changed:
            assert self.changed.wait_for(good, timeout), f"{self.contents} contents, took {self.received!r}"

    def recipients(self) -> list[str]:
        """Every recipient of every message that was taken, in order."""
        return [recipient for one in self.received for recipient in one.recipients]

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                one, _ = listening.accept()
                threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        session = _Session(self, one)
        self._open.add(session)
        with suppress(OSError, ValueError):
            session.run()
        session.cut()
        self._open.discard(session)


@dataclass
class _Transaction:
    sender: str
    recipients: list[str] = field(default_factory=list)


class _Session:
    def __init__(self, peer: Peer, connection: socket.socket) -> None:
        self._peer = peer
        self._socket: Any = connection
        self._lines = connection.makefile("rb")
        self._helo = ""
        self._tls = False
        self._transaction: _Transaction | None = None

    def run(self) -> None:
        self._say("220 peer.test ESMTP")
        while line := self._lines.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            if verb.upper() == "QUIT":
                self._say("221 2.0.0 bye")
                return
            getattr(self, f"_{verb.lower()}")(rest)

    def cut(self) -> None:
        """End the connection."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(OSError, ValueError):
            self._lines.close()
        self._socket.close()

    def _say(self, *lines: str) -> None:
        replies = [f"{line[:3]}-{line[4:]}" for line in lines[:-1]] + [lines[-1]]
        self._socket.sendall("".join(f"{line}\r\n" for line in replies).encode())

    def _ehlo(self, name: str) -> None:
        self._helo = name
        offered = ["250 PIPELINING", "250 8BITMIME", "250 ENHANCEDSTATUSCODES"]
        if (self._peer.tls or self._peer.broken_tls) and not self._tls:
            offered.append("250 STARTTLS")
        self._say("250 peer.test", *offered)

    def _starttls(self, _rest: str) -> None:
        self._say("220 2.0.0 go on")
        if self._peer.broken_tls:
            self._socket.recv(1)  # sent at once it would be refused as text in clear behind the reply
            self._socket.sendall(b"this is no TLS\r\n" * 10)
            raise OSError("over")
        assert self._peer.tls is not None
        self._lines.close()
        self._socket = self._peer.tls.wrap_socket(self._socket, server_side=True)
        self._lines = self._socket.makefile("rb")
        self._tls = True

    def _mail(self, rest: str) -> None:
        self._transaction = _Transaction(_path(rest))
        self._say("250 2.1.0 ok")

    def _rcpt(self, rest: str) -> None:
        assert self._transaction is not None
        path = _path(rest)
        answer = self._peer.answers.get(path, "250 2.1.5 ok")
        if answer.startswith("2"):
            self._transaction.recipients.append(path)
        self._say(answer)

    def _rset(self, _rest: str) -> None:
        self._transaction = None
        self._say("250 2.0.0 ok")

    def _data(self, _rest: str) -> None:
        transaction = self._transaction
        assert transaction is not None
        if not transaction.recipients:
            self._say("554 5.5.1 no valid recipients")
            return
        self._say("354 go on")
        content = b"".join(iter(self._line, b""))
        self._took(content, transaction)

    def _line(self) -> bytes:
        """One line of a content with LF, unstuffed; empty at the end."""
        line = self._lines.readline()
        if not line.endswith(b"\r\n"):
            raise OSError(f"not a whole line: {line!r}")
        if line == b".\r\n":
            return b""
        return (line[1:] if line.startswith(b".") else line)[:-2] + b"\n"

    def _took(self, content: bytes, transaction: _Transaction) -> None:
        peer = self._peer
        with peer.changed:
            peer.contents += 1
            peer.changed.notify_all()
        peer.gate.wait(60)
        answer = peer.final
        if answer.startswith("2"):
            with peer.changed:
                peer.received.append(
                    Received(self._helo, transaction.sender, tuple(transaction.recipients), content, self._tls)
                )
                peer.changed.notify_all()
        self._transaction = None
        self._say(answer)


def _path(rest: str) -> str:
    found = re.match(r"(?:FROM|TO):<([^>]*)>", rest, re.I)
    assert found, rest
    return found[1]


def wait_port(address: str, port: int, timeout: float = 10) -> None:
    """Until somebody listens there, who is not told otherwise."""
    end = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((address, port), 1).close()
            return
        except OSError:
            assert time.monotonic() < end, f"nobody listens on {address}:{port}"
            time.sleep(0.02)
