"""A peer on a real socket that decides itself what goes into which segment, in clear or as TLS records.

It works on the reactor's thread, without the reactor's help. What it sends as one segment is read as one: the next
goes out when the kernel of the other side has acknowledged it and the reactor there has read it.
"""

from __future__ import annotations

import array
import fcntl
import socket
import ssl
import struct
import termios
from contextlib import suppress
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred


def waiting_in(sock: socket.socket, what: int = termios.FIONREAD) -> int:
    """Octets that came and were not read yet; or those that were sent, and may not have come."""
    count = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), what, count)
    return count[0]


async def turn() -> None:
    """One whole round of the reactor, with a look at its sockets in it."""
    for _ in range(2):
        done: Deferred[None] = Deferred()
        reactor.callLater(0, done.callback, None)  # type: ignore[attr-defined]
        await done


class RawPeer:
    """`sock` is connected; ``other`` is the transport at the other end, if it is known."""

    def __init__(self, sock: socket.socket, other: Any = None) -> None:
        self.sock = sock
        self.other = other
        self.closed = False
        self._got = b""
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls: ssl.SSLObject | None = None
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def send(self, *segments: bytes) -> None:
        """Each as a segment of its own: the next goes out when the one before was read."""
        for segment in segments:
            if (receiver := self._receiver()) is not None:
                # Else its acknowledgement, which shows that the octets have come, is held back for 40 ms.
                receiver.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            with suppress(ConnectionError):
                self.sock.sendall(segment)
            await self._settled()

    async def _settled(self) -> None:
        await turn()
        while (receiver := self._receiver()) is not None and (
            waiting_in(self.sock, termios.TIOCOUTQ) or waiting_in(receiver)
        ):
            await turn()

    def _receiver(self) -> socket.socket | None:
        """The socket at the other end, while somebody reads from it."""
        other = self.other
        if other is None or not other.connected or other.disconnecting or other.socket.fileno() < 0:
            return None
        receiver: socket.socket = other.socket
        return receiver

    def look(self) -> bytes:
        """All that came in clear, or as records, since the last look."""
        try:
            while octets := self.sock.recv(65_536):
                self._got += octets
            self.closed = True
        except BlockingIOError:
            pass
        except ConnectionError:
            self.closed = True
        got, self._got = self._got, b""
        return got

    async def until(self, text: bytes) -> bytes:
        """What came, as soon as `text` is in it."""
        got = b""
        while text not in got:
            got += self.look()
            assert not self.closed or text in got, f"closed after {got!r}"
            await turn()
        return got

    async def end(self) -> bytes:
        """What came until the other side closed."""
        got = b""
        while not self.closed:
            got += self.look()
            await turn()
        return got

    # TLS, record by record.

    def begin(self, context: ssl.SSLContext, server: bool = False, name: str | None = None) -> None:
        """TLS from here on; nothing is sent yet."""
        self.tls = context.wrap_bio(self._in, self._out, server_side=server, server_hostname=name)

    async def flight(self) -> bytes:
        """The next octets of the handshake that are to be sent. Raises ssl.SSLError."""
        while not (octets := self.shake()):
            await turn()
        return octets

    def shake(self) -> bytes:
        """Go on with the handshake; what is to be sent. Raises ssl.SSLError."""
        assert self.tls is not None
        self._in.write(self.look())
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._out.read()

    async def secure(self, context: ssl.SSLContext, name: str | None = None) -> None:
        """A handshake as clients do it. Raises ssl.SSLError."""
        self.begin(context, name=name)
        await self.finish()

    async def finish(self) -> None:
        """The rest of a handshake. Raises ssl.SSLError, EOFError where the other side closed instead."""
        while True:
            octets, done = self.shake(), self._done()
            if octets:
                await self.send(octets)
            if done:
                return
            if self.closed:
                raise EOFError
            await turn()

    def _done(self) -> bool:
        assert self.tls is not None
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    async def say(self, octets: bytes) -> None:
        """Over TLS."""
        await self.send(self.records(octets))

    def records(self, octets: bytes) -> bytes:
        """`octets` as they go over the wire."""
        assert self.tls is not None
        self.tls.write(octets)
        return self._out.read()

    async def hear(self, text: bytes) -> bytes:
        """What came over TLS, as soon as `text` is in it. Raises EOFError and ssl.SSLError."""
        assert self.tls is not None
        got = b""
        while text not in got:
            self._in.write(self.look())
            try:
                got += self.tls.read(65_536)
                continue
            except ssl.SSLWantReadError:
                if self.closed:
                    raise EOFError(got) from None
            await turn()
        return got

    def unsent(self) -> bytes:
        """Records that are to be sent: the alert, after a handshake that failed."""
        return self._out.read()

    def notify(self) -> bytes:
        """A close_notify."""
        assert self.tls is not None
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self._out.read()

    def reset(self) -> None:
        """End the connection with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
