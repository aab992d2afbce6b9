"""A listener of the kit on a real loopback port, for applications that speak SMTP themselves.

Octets are carried between sockets and the connections in memory; everything behind them, TLS too, is the same as
without a port. An application that blocks in ``smtplib`` cannot turn the kit meanwhile, so one thread per port
does it, and takes the kit's lock for each turn. While a port is open, the virtual clock follows the real one.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from mailserver.testing.overlay import Overlay
from mailserver.testing.passing import Passing
from mailserver.testing.reactor import MemoryReactor
from mailserver.testing.script import Act, Script

_RECEIVE = 65_536
# A timer in the far future need not be looked at before that.
_LOOK = 0.5
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class LoopbackPort:
    """``host`` and ``port`` are where to connect. Scripted like a host; see `mailserver.testing.overlay`."""

    host = "127.0.0.1"

    def __init__(
        self, reactor: MemoryReactor, passing: Passing, place: tuple[str, int], turned: threading.Condition
    ) -> None:
        self._reactor = reactor
        self._passing = passing
        self._place = place
        self._turned = turned
        self._script = Script()
        self._selector = selectors.DefaultSelector()
        self._listening = socket.create_server((self.host, 0))
        self._listening.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._listening, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self.port: int = self._listening.getsockname()[1]
        self.failure: BaseException | None = None
        self._bridges: set[_Bridge] = set()
        self._open = True
        self._thread = threading.Thread(target=self._serve, name=f"mailkit-{self.port}", daemon=True)
        self._thread.start()

    # Scripting.

    def answers(self, command: str, *replies: str) -> LoopbackPort:
        """Refuse `command` with `replies`, one after the other, the last one from then on; a positive one means
        the server's own answer. Raises ValueError for what is no reply."""
        with self._turned:
            if any(isinstance(reply, bytes) for reply in replies):
                raise ValueError("our own server says replies, and no octets of your choice")
            self._script.answers(command, replies)
        return self

    def resets(self, command: str, times: int | None = 1) -> LoopbackPort:
        """Reset the connection where an answer to `command` is due; None: always."""
        return self._does(command, Act.RESET, times)

    def closes(self, command: str, times: int | None = 1) -> LoopbackPort:
        """Close it in good order there, without a word."""
        return self._does(command, Act.CLOSE, times)

    def silent(self, command: str, times: int | None = 1) -> LoopbackPort:
        """Say nothing there."""
        return self._does(command, Act.SILENCE, times)

    def _does(self, command: str, act: Act, times: int | None) -> LoopbackPort:
        with self._turned:
            self._script.does(command, act, times)
        return self

    def check(self) -> None:
        """Raises what ended the thread, if anything did."""
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """Stop listening, cut what is connected, and end the thread. Not to be called with the kit's lock held."""
        self._open = False
        self._wake.send(b"x")
        self._thread.join()
        for one in (self._listening, self._wake, self._woken):
            one.close()
        self._selector.close()

    # On the thread.

    def _serve(self) -> None:
        try:
            while self._open:
                with self._turned:
                    pause = min(self._passing.until_something(), _LOOK)
                ready = self._selector.select(pause)
                with self._turned:
                    for key, _mask in ready:
                        if key.data is not None:
                            key.data()
                    self._passing.keep_up(time.monotonic())
                    self._turned.notify_all()
        except BaseException as error:
            self.failure = error
        finally:
            with self._turned:
                for bridge in list(self._bridges):
                    bridge.cut()
                self._passing.keep_up(None)
                self._turned.notify_all()

    def _accept(self) -> None:
        try:
            connected, peer = self._listening.accept()
        except OSError:  # gone before it was taken
            return
        connected.setblocking(False)
        bridge = _Bridge(connected, self._selector, self._bridges)
        source = (str(peer[0]), int(peer[1]))
        if self._reactor.accept(self._place, bridge, source, self._overlay) is None:
            connected.close()

    def _overlay(self, protocol: Any) -> None:
        if hasattr(protocol, "handler"):
            protocol.handler = Overlay(protocol, self._script)


class _Bridge(Protocol):
    """Between a socket and a connection in memory."""

    transport: Any = None

    def __init__(self, connected: socket.socket, selector: selectors.BaseSelector, bridges: set[_Bridge]) -> None:
        self._socket = connected
        self._selector = selector
        self._bridges = bridges
        self._out = b""
        self._watched = 0
        self._read_all = self._ended = False
        bridges.add(self)
        self._watch()

    def turn(self) -> None:
        """The socket can be read or written."""
        if not self._read_all:
            self._read()
        self._write()

    def _read(self) -> None:
        try:
            octets = self._socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        if octets:
            self.transport.write(octets)
        else:
            self._read_all = True
            self.transport.loseConnection()

    def _write(self) -> None:
        try:
            while self._out:
                self._out = self._out[self._socket.send(self._out) :]
        except BlockingIOError:
            pass
        except OSError:
            self._out = b""
        if self._ended and not self._out:
            self._forget()
        else:
            self._watch()

    def _watch(self) -> None:
        reading = 0 if self._read_all or self._ended else selectors.EVENT_READ
        wanted = reading | (selectors.EVENT_WRITE if self._out else 0)
        if wanted != self._watched:
            if self._watched:
                self._selector.unregister(self._socket)
            if wanted:
                self._selector.register(self._socket, wanted, self.turn)
            self._watched = wanted

    def _forget(self) -> None:
        if self in self._bridges:
            self._bridges.discard(self)
            self._out, self._ended = b"", True
            self._watch()
            self._socket.close()

    def cut(self) -> None:
        """End it now."""
        self._forget()
        if self.transport is not None:  # else it was never accepted
            self.transport.abortConnection()

    # What comes from the server.

    def dataReceived(self, data: bytes) -> None:
        if not self._ended:
            self._out += data
            self._write()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._ended:
            return
        self._ended = True
        if not reason.check(ConnectionDone):
            self._out = b""
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        self._write()
