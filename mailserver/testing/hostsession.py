"""One session at a scripted host: a small SMTP server that shares no code with ours.

It takes whatever comes in a sensible order, and says what its script says. Its replies to pipelined commands
leave one by one, as some real hosts do it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any
from typing import Protocol as Shape

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from mailserver.testing.script import Act, Step, wire_of

_PATH = re.compile(rb":\s*<(.*?)>(?:\s|$)")
_END = b"\r\n.\r\n"


class Host(Shape):
    """What a session asks its host."""

    name: str
    keywords: tuple[str, ...]
    context: Any
    transcript: list[str]
    logins: list[tuple[str, str]]

    def step(self, command: str) -> Step | None:
        """What the script says."""

    def take(self, sender: str, recipients: list[str], raw: bytes, tls: bool) -> None:
        """A message came, and was answered with 250."""


class HostSession(Protocol):
    """Its states are the content that is coming in, or None between contents."""

    transport: Any

    def __init__(self, host: Host) -> None:
        self._host = host
        self._buffer = b""
        self._content: bytearray | None = None
        self._over = False
        self._tls = False
        self._reset()

    def _reset(self) -> None:
        self._sender: str | None = None
        self._recipients: list[str] = []

    # Octets.

    def connectionMade(self) -> None:
        self._say("GREETING", f"220 {self._host.name} ESMTP")

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while not self._over and (self._read_content() if self._content is not None else self._read_line()):
            pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over = True

    def _read_line(self) -> bool:
        line, end, rest = self._buffer.partition(b"\r\n")
        if end:
            self._buffer = rest
            self._host.transcript.append(line.decode("utf-8", "backslashreplace"))
            verb, _, argument = line.partition(b" ")
            command = verb.upper().decode("ascii", "replace")
            self._VERBS.get(command, HostSession._unknown)(self, argument)
        return bool(end)

    def _read_content(self) -> bool:
        content = self._content
        assert content is not None
        begin = max(len(content) - len(_END), 0)
        content += self._buffer
        self._buffer = b""
        end = content.find(_END, begin)
        if end < 0:
            return False
        self._buffer = bytes(content[end + len(_END) :])
        self._content = None
        self._end_of_content(bytes(content[: end + 2]).replace(b"\r\n..", b"\r\n.")[2:])
        return True

    # Answers.

    def _say(self, command: str, usual: str) -> bool:
        """What the script has for this command, or the usual; answers whether the command was accepted."""
        step = self._host.step(command)
        if isinstance(step, Act):
            self._act(step)
            return False
        wire = wire_of(usual if step is None else step)
        self.transport.write(wire)
        if wire.startswith(b"421"):
            self._act(Act.CLOSE)
        return wire[:1] in (b"2", b"3")

    def _act(self, act: Act) -> None:
        self._over = True  # a host that is silent reads no further either
        if act is Act.RESET:
            self.transport.abortConnection()
        elif act is Act.CLOSE:
            self.transport.loseConnection()

    # Commands.

    def _ehlo(self, argument: bytes) -> None:
        self._reset()
        keywords = list(self._host.keywords)
        if self._host.context is not None and not self._tls:
            keywords.append("STARTTLS")
        self._say("EHLO", "\n".join([f"250 {self._host.name}", *keywords]))

    def _helo(self, argument: bytes) -> None:
        self._reset()
        self._say("HELO", f"250 {self._host.name}")

    def _starttls(self, argument: bytes) -> None:
        if self._host.context is None:
            self._say("STARTTLS", "502 5.5.1 not here")
        elif self._say("STARTTLS", "220 2.0.0 ready for TLS"):
            self._buffer = b""
            self._tls = True
            self.transport.startTLS(self._host.context)

    def _auth(self, argument: bytes) -> None:
        _, _, initial = argument.partition(b" ")
        if self._say("AUTH", "235 2.7.0 welcome"):
            _, user, password = base64.b64decode(initial).decode().split("\0")
            self._host.logins.append((user, password))

    def _mail(self, argument: bytes) -> None:
        if self._say("MAIL", "250 2.1.0 ok"):
            self._sender, self._recipients = _path(argument), []

    def _rcpt(self, argument: bytes) -> None:
        if self._say("RCPT", "250 2.1.5 ok" if self._sender is not None else "503 5.5.1 MAIL first"):
            self._recipients.append(_path(argument))

    def _data(self, argument: bytes) -> None:
        if self._say("DATA", "354 go ahead" if self._recipients else "554 5.5.1 no valid recipients"):
            # So that a dot in the first line is found as any other.
            self._content = bytearray(b"\r\n")

    def _end_of_content(self, raw: bytes) -> None:
        sender, recipients = self._sender or "", self._recipients
        self._reset()
        if self._say(".", "250 2.0.0 taken"):
            self._host.take(sender, recipients, raw, self._tls)

    def _rset(self, argument: bytes) -> None:
        self._reset()
        self._say("RSET", "250 2.0.0 ok")

    def _noop(self, argument: bytes) -> None:
        self._say("NOOP", "250 2.0.0 ok")

    def _vrfy(self, argument: bytes) -> None:
        self._say("VRFY", "252 2.1.5 send some mail")

    def _quit(self, argument: bytes) -> None:
        if self._say("QUIT", "221 2.0.0 bye"):
            self._act(Act.CLOSE)

    def _unknown(self, argument: bytes) -> None:
        self.transport.write(b"500 5.5.1 what?\r\n")

    _VERBS: dict[str, Callable[[HostSession, bytes], None]] = {  # noqa: RUF012  never changed
        "EHLO": _ehlo, "HELO": _helo, "STARTTLS": _starttls, "AUTH": _auth, "MAIL": _mail, "RCPT": _rcpt,
        "DATA": _data, "RSET": _rset, "NOOP": _noop, "VRFY": _vrfy, "QUIT": _quit,
    }  # fmt: skip


def _path(argument: bytes) -> str:
    found = _PATH.search(argument)
    return found[1].decode("utf-8", "replace") if found else ""
