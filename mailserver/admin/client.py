"""The client side of the control socket, blocking, for the command line.

:class:`NotRunning` means that nobody listens: the server is stopped. A sentence from the server leaves as
:class:`~mailserver.admin.command.ControlError`.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from mailserver.admin.command import ControlError


class NotRunning(Exception):
    """No server listens on the control socket."""


class Connection:
    """A connection to a running server. Raises NotRunning, or ControlError where it may not be used."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._socket = _connected(path, timeout)
        self._lines: BinaryIO = self._socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def run(self, command: str, arguments: Mapping[str, Any]) -> Iterator[Any]:
        """The reply as the only item, or the records of a stream as they come."""
        request = json.dumps({"command": command, "arguments": dict(arguments)})
        try:
            # A server that refuses us may have closed already; why, it has said before that.
            with suppress(BrokenPipeError):
                self._socket.sendall(request.encode() + b"\n")
            yield from self._answers()
        except TimeoutError:
            raise ControlError("the server does not answer; its log may say why") from None
        except OSError as error:
            raise ControlError(f"the connection to the server broke: {error.strerror}") from None

    def _answers(self) -> Iterator[Any]:
        while line := self._lines.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise ControlError(answer["error"])
            if "record" in answer:
                yield answer["record"]
                continue
            if "reply" in answer:
                yield answer["reply"]
            return
        raise ControlError("the server closed the connection before it answered; it may have been stopped")


def _connected(path: Path, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        # The path of a Unix socket has at most 107 octets, an instance's may be longer.
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        raise NotRunning from None
    except OSError as error:
        connection.close()
        raise ControlError(f"the control socket {path} cannot be used: {error.strerror}") from None
    return connection
