r"""Plays a dialogue script, ``*.smtp``, against a server: what the client says and what must come back.

====================  ==========================================================================================
``# text``            a comment. ``# listener: NAME`` and ``# auth: ACCOUNT`` say where it is played: the listener
                      (mx if nothing is said), and that the client has logged in over TLS before the first line
``C: text``           the client sends this line, with CRLF
``C+: text``          the same, but it goes in one write with the client's next line
``C!: text``          the client sends exactly these octets, in a write of their own: \\r \\n \\t \\0 \\\\ \\xHH
``C 9x: text``        the line nine times, in one write
``S: text``           the server's next line is this one; ``...`` stands for anything
``S 9x: text``        nine lines like that
``S*: 250``           a whole reply of any number of lines with that code; about these lines, without the code,
``has: text``         … one of them is so
``lacks: text``       … none of them is so
``tls``               the TLS handshake
``half-close``        the client sends nothing more
``wait close``        the server ends the connection and says nothing before
``mailbox bob 1``     so many letters have come to this account since the script began, and no more will come
``L: text``           the lines of the newest of them, all of them, but for the fields that a delivery prepends;
                      ``...`` as in S
====================  ==========================================================================================

In a client's line ``{x*600}`` is 600 times x, and ``{base64:text}`` is what it says, with the escapes of ``C!``.
A session that is still open at the end of a script is ended with QUIT: a reply too many is found there.
Whatever is not as written raises :class:`Differs`, which names the line of the script.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

_LINE = re.compile(r"(?P<who>C\+|C!|S\*|[CSL]|has|lacks)(?: (?P<times>\d+)x)?:(?: (?P<text>.*))?")
_REPEATED = re.compile(r"\{(\\?.)\*(\d+)\}")
_BASE64 = re.compile(r"\{base64:([^}]*)\}")
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.S)
_ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
# What a delivery prepends.
_PREPENDED = re.compile(r"(?:(?:Return-Path|Delivered-To|Received): [^\n]*\n(?:\t[^\n]*\n)*)+")


class Differs(AssertionError):
    """The server, or the script, is not as it should be."""


class Place(Protocol):
    """Where scripts are played."""

    def connect(self, listener: str) -> socket.socket:
        """A connection to the listener."""

    def tls(self, connection: socket.socket) -> ssl.SSLSocket:
        """The handshake."""

    def log_in(self, account: str) -> socket.socket:
        """A session of the listener for submission, logged in."""

    def mailbox(self, account: str) -> list[Path]:
        """The letters of an account, once nothing is under way."""


@dataclass(frozen=True)
class Step:
    """One line of a script: what is to be done with ``text``, how often, and where it stands."""

    number: int
    kind: str
    text: str = ""
    times: int = 1


@dataclass(frozen=True)
class Script:
    """A script that was read. ``title`` is its first comment."""

    path: Path
    title: str
    listener: str
    account: str
    steps: tuple[Step, ...]

    @classmethod
    def read(cls, path: Path) -> Script:
        """Raises Differs for a line that means nothing."""
        steps: list[Step] = []
        told, title = {"listener": "mx", "auth": ""}, ""
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("#"):
                comment = line[1:].strip()
                name, _, value = comment.partition(": ")
                if name in told:
                    told[name] = value
                title = title or comment
            elif line.strip():
                step = _step(path, number, line)
                if step.kind == "L":
                    step = replace(step, text=f"{step.text}\n")
                    if steps and steps[-1].kind == "L":  # the lines of a letter are compared as one
                        step = replace(step, text=steps.pop().text + step.text)
                steps.append(step)
        return cls(path, title, told["listener"], told["auth"], tuple(steps))


def _step(path: Path, number: int, line: str) -> Step:
    if found := _LINE.fullmatch(line):
        return Step(number, found["who"], found["text"] or "", int(found["times"] or 1))
    kind, _, text = line.partition(" ")
    if line not in ("tls", "half-close", "wait close") and not re.fullmatch(r"mailbox \w+ \d+", line):
        raise Differs(f"{path.name}:{number}: this means nothing: {line}")
    return Step(number, kind, text)


def octets(text: str) -> bytes:
    r"""What ``C!`` sends for `text`: escapes, repetitions and base64."""
    text = _REPEATED.sub(lambda found: found[1] * int(found[2]), text)
    text = _BASE64.sub(lambda found: base64.b64encode(_unescaped(found[1])).decode(), text)
    return _unescaped(text)


def _unescaped(text: str) -> bytes:
    def one(found: re.Match[bytes]) -> bytes:
        return bytes.fromhex(found[1][1:].decode()) if len(found[1]) == 3 else _ESCAPES[found[1]]

    return _ESCAPE.sub(one, text.encode())


def like(pattern: str) -> re.Pattern[str]:
    """`pattern` with ``...`` for anything, as a regular expression."""
    return re.compile(".*".join(map(re.escape, pattern.split("..."))))


@dataclass
class Player:
    """Plays one script; made anew for each."""

    place: Place
    script: Script
    _before: dict[str, int] = field(default_factory=dict)
    _held: bytes = b""
    _buffer: bytes = b""
    _reply: list[str] = field(default_factory=list)
    _newest: Path | None = None
    _open: bool = True

    def play(self) -> None:
        """Raises Differs where something is not as written."""
        script = self.script
        mailboxes = {step.text.split()[0] for step in script.steps if step.kind == "mailbox"}
        self._before = {name: len(self.place.mailbox(name)) for name in mailboxes}
        if script.account:
            self._socket = self.place.log_in(script.account)
        else:
            self._socket = self.place.connect(script.listener)
        try:
            for step in self._steps():
                try:
                    self._do(step)
                except (Differs, OSError) as error:
                    raise Differs(f"{script.path.name}:{step.number}: {error}") from None
        finally:
            self._socket.close()

    def _steps(self) -> Iterator[Step]:
        yield from self.script.steps
        if self._open:
            end = self.script.steps[-1].number + 1
            yield from (Step(end, "C", "QUIT"), Step(end, "S", "221 2.0.0 Goodbye"), Step(end, "wait"))

    def _do(self, step: Step) -> None:
        acts: dict[str, Callable[[], None]] = {
            "C": lambda: self._send(octets(step.text) + b"\r\n", step.times),
            "C+": lambda: self._hold(octets(step.text) + b"\r\n"),
            "C!": lambda: self._send(octets(step.text), step.times),
            "S": lambda: self._expect(step),
            "S*": lambda: self._whole_reply(step.text),
            "has": lambda: self._compare(step.text, wanted=True),
            "lacks": lambda: self._compare(step.text, wanted=False),
            "tls": self._start_tls,
            "half-close": self._half_close,
            "wait": self._wait_close,
            "mailbox": lambda: self._mailbox(step.text),
            "L": lambda: self._letter(step.text),
        }
        acts[step.kind]()

    # The client.

    def _hold(self, data: bytes) -> None:
        self._held += data

    def _send(self, data: bytes, times: int = 1) -> None:
        data, self._held = self._held + data * times, b""
        self._socket.sendall(data)

    def _start_tls(self) -> None:
        if self._buffer:
            raise Differs(f"before the handshake the server says {self._buffer!r}")
        self._socket = self.place.tls(self._socket)

    def _half_close(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    # The server.

    def _line(self) -> str:
        while b"\n" not in self._buffer:
            more = self._socket.recv(65536)
            if not more:
                raise Differs(f"the server closed, after {self._buffer!r}")
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        if not line.endswith(b"\r"):
            raise Differs(f"a line without CR: {line!r}")
        return line[:-1].decode("ascii")

    def _expect(self, step: Step) -> None:
        for _ in range(step.times):
            line = self._line()
            if not like(step.text).fullmatch(line):
                raise Differs(f"expected {step.text!r}, the server says {line!r}")

    def _whole_reply(self, code: str) -> None:
        self._reply = []
        while True:
            line = self._line()
            if line[:3] != code:
                raise Differs(f"expected {code}, the server says {line!r}")
            self._reply.append(line[4:])
            if line[3:4] != "-":
                return

    def _compare(self, pattern: str, wanted: bool) -> None:
        if any(map(like(pattern).fullmatch, self._reply)) is not wanted:
            raise Differs(f"{pattern!r} is {'not ' if wanted else ''}in {self._reply}")

    def _wait_close(self) -> None:
        self._open = False
        try:
            more = self._buffer + self._socket.recv(65536)
        except ConnectionResetError:
            more = self._buffer
        if more:
            raise Differs(f"expected the end, the server says {more!r}")

    # The mailboxes.

    def _mailbox(self, text: str) -> None:
        name, _, count = text.partition(" ")
        new = self.place.mailbox(name)[self._before[name] :]
        if len(new) != int(count):
            raise Differs(f"{len(new)} letters for {name} instead of {count}")
        self._newest = new[-1] if new else None

    def _letter(self, expected: str) -> None:
        if self._newest is None:
            raise Differs("there is no letter to compare")
        content = _PREPENDED.sub("", self._newest.read_bytes().decode("utf-8", "backslashreplace"), count=1)
        if not like(expected).fullmatch(content):
            raise Differs(f"the letter is {content!r}")
