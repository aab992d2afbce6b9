"""A next hop for relaying: takes every message, counts copies, and answers a content only when it is let.

After :meth:`NextHop.hold` each 250 to a content needs one :meth:`NextHop.release`, until :meth:`NextHop.open`.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter

from tests.harness.sender import token_of


class NextHop:
    """Listens on `address`, a loopback address, until :meth:`close`."""

    def __init__(self, address: str) -> None:
        self._listener = socket.create_server((address, 0))
        self.where = f"{address}:{self._listener.getsockname()[1]}"
        self._permits = threading.Semaphore(0)
        self._held = False
        self._changed = threading.Condition()
        self._connections: list[socket.socket] = []
        self.copies: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def settings(self) -> str:
        """For a server that relays the domain hop.test here, for whoever asks on loopback."""
        return (
            '[relay]\noutgoing = "on"\nnetworks = ["127.0.0.0/8"]\n'
            f'[routes."hop.test"]\nhost = "{self.where}"\ntls = "off"\n'
        )

    def hold(self) -> None:
        """Answer no content until :meth:`release` or :meth:`open`."""
        self._held = True

    def release(self, count: int = 1) -> None:
        """Let `count` contents have their 250."""
        self._permits.release(count)

    def open(self) -> None:
        """Hold nothing any more."""
        self._held = False
        self._permits.release(100_000)

    def wait(self, count: int, timeout: float = 20) -> None:
        """Until `count` different messages are here."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.copies) >= count, timeout), len(self.copies)

    def close(self) -> None:
        """Hang up everywhere."""
        self.open()
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        try:
            connection.sendall(b"220 hop.test ESMTP\r\n")
            while line := lines.readline():
                if line.upper().startswith(b"DATA"):
                    connection.sendall(b"354 go ahead\r\n")
                    self._content(connection, lines)
                elif line.upper().startswith(b"EHLO"):
                    connection.sendall(b"250-hop.test\r\n250-8BITMIME\r\n250 PIPELINING\r\n")
                else:
                    connection.sendall(b"250 2.0.0 yes\r\n")
        except (OSError, ValueError):
            return

    def _content(self, connection: socket.socket, lines: object) -> None:
        octets = b""
        while (line := lines.readline()) != b".\r\n":  # type: ignore[attr-defined]
            if not line:
                raise OSError("cut off within a content")
            octets += line
        token = token_of(octets)
        with self._changed:
            self.copies[token] += 1
            self._changed.notify_all()
        if self._held:
            self._permits.acquire()
        connection.sendall(b"250 2.0.0 the next hop has it\r\n")
        with self._changed:
            self.answered[token] += 1
            self._changed.notify_all()
