"""The control socket: the commands of `mailserver.admin.control` over a Unix socket.

One JSON object a line, at most 1 MiB. Request: ``{"command": NAME, "arguments": {…}}``. Answer:
``{"reply": …}``; or ``{"record": …}`` any number of times and ``{"end": true}``; or ``{"error": SENTENCE}``.
Requests of a connection are answered one after the other, in order; what is begun is finished, also when the
client has gone.

The socket is 0600 in a directory that is closed to others (`mailserver.admin.socketplace`), and the peer's user
id (SO_PEERCRED) must be root's or this process's. Whoever opens it holds the lock of the instance, so a socket
that is there already is a dead server's, and is replaced.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import ServerFactory
from twisted.protocols.basic import LineReceiver

from mailserver.admin.command import ControlError
from mailserver.admin.control import Control
from mailserver.admin.socketplace import place_problem
from mailserver.interfaces import MailServerError

MAX_LINE = 1_048_576
# More administrators at once than that are a script gone wild.
MAX_CONNECTIONS = 32


def peer_uid(connection: socket.socket) -> int:
    """The user id of the process at the other end of a Unix socket, as the kernel knows it."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


class ControlProtocol(LineReceiver):
    """One connection."""

    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE
    factory: Any
    transport: Any

    def __init__(self, control: Control, log: Any) -> None:
        self._control = control
        self._log = log
        self._gone = False

    def connectionMade(self) -> None:
        """Only root and our own user may speak."""
        if peer_uid(self.transport.socket) not in (0, os.geteuid()):
            self._refuse("this control socket is for root and the server's own user")
        elif len(self.factory.open) >= MAX_CONNECTIONS:
            self._refuse(f"{MAX_CONNECTIONS} administrators are connected already; try again later")
        else:
            self.factory.open.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        """Records of a stream have nobody to go to any more."""
        self._gone = True
        self.factory.open.discard(self)

    def lineReceived(self, line: bytes) -> None:
        """A request. The next one is not read before this one is answered."""
        self.pauseProducing()
        Deferred.fromCoroutine(self._serve(line)).addBoth(lambda _: self._gone or self.resumeProducing())

    def lineLengthExceeded(self, line: bytes) -> None:
        """A request of more than a mebibyte."""
        self._refuse(f"a request has at most {MAX_LINE} octets")

    async def _serve(self, line: bytes) -> None:
        name = ""
        try:
            name, arguments = _request(line)
            answer = await self._control.run(name, arguments)
            if isinstance(answer, AsyncIterator):
                await self._stream(answer)
            else:
                self._answer({"reply": answer})
        except MailServerError as refusal:
            self._answer({"error": str(refusal)})
        except Exception as error:
            self._log.failure("a control command failed", error, command=name)
            self._answer({"error": f"internal error ({type(error).__name__}); the server's log says more"})

    async def _stream(self, records: AsyncIterator[Any]) -> None:
        async for record in records:
            if self._gone:
                return
            self._answer({"record": record})
        self._answer({"end": True})

    def _answer(self, answer: dict[str, Any]) -> None:
        if not self._gone:
            self.transport.write(json.dumps(answer).encode() + b"\n")

    def _refuse(self, sentence: str) -> None:
        self._answer({"error": sentence})
        self._gone = True
        self.transport.loseConnection()


def _request(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError("a request is one JSON object on one line") from None
    if not isinstance(request, dict) or not isinstance(request.get("command"), str):
        raise ControlError('a request has a "command" and "arguments"')
    arguments = request.get("arguments") or {}
    if not isinstance(arguments, dict):
        raise ControlError('"arguments" is an object')
    return request["command"], arguments


class _Factory(ServerFactory):
    noisy = False

    def __init__(self, control: Control, log: Any) -> None:
        self._control = control
        self._log = log
        self.open: set[ControlProtocol] = set()

    def buildProtocol(self, addr: Any) -> ControlProtocol:
        """A protocol for one connection."""
        protocol = ControlProtocol(self._control, self._log)
        protocol.factory = self
        return protocol


class ControlSocket:
    """The listening socket. `log` has ``failure(text, error, **facts)``."""

    def __init__(self, path: Path, control: Control, reactor: Any, log: Any) -> None:
        self.path = path
        self._reactor = reactor
        self._log = log
        self._factory = _Factory(control, log)
        self._port: Any = None
        self._directory = -1

    def start(self) -> None:
        """Listen. Raises ControlError with a sentence."""
        try:
            self._directory = _private_directory(self.path)
            # The path of a Unix socket has at most 107 octets, an instance's may be longer.
            short = f"/proc/self/fd/{self._directory}/{self.path.name}"
            self._port = self._reactor.listenUNIX(short, self._factory, MAX_CONNECTIONS, 0o600)
        except (OSError, CannotListenError) as error:
            self._close_directory()
            reason = error.socketError if isinstance(error, CannotListenError) else error
            words = reason.strerror or reason
            raise ControlError(f"the control socket {self.path} cannot be made: {words}") from error

    async def stop(self) -> None:
        """Stop listening, remove the socket, end the connections."""
        port, self._port = self._port, None
        if port is None:
            return
        try:
            await port.stopListening()
        except OSError as error:
            # Somebody removed the socket or its directory. The rest of a stop must go on.
            self._log.failure("the control socket was gone", error, path=self.path)
        self._close_directory()
        for protocol in tuple(self._factory.open):
            protocol.transport.loseConnection()

    def _close_directory(self) -> None:
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1


def _private_directory(path: Path) -> int:
    """A descriptor of the directory that `path` is in, which is made where it is missing; a dead server's socket
    is removed from it."""
    if problem := place_problem(path):
        raise ControlError(problem)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if path.is_socket():
        path.unlink()
    return os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
