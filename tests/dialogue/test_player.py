"""The player must find what is wrong: each script here plays against a server that says fixed lines."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.dialogue.player import Differs, Player, Script, octets

LETTER = b"Return-Path: <zoe@far.test>\nReceived: from a\n\tby b\nSubject: x\n\ndots ...\n"


class Scripted:
    """A server that says the first of `replies`, and the others after a line each, whatever the line is. A last
    one of None: it says nothing more, and does not hang up either."""

    def __init__(self, directory: Path, replies: list[bytes | None], letters: int = 0) -> None:
        self._directory = directory
        self._replies = replies
        self._letters = [0, letters]
        self.heard = b""
        self._thread = threading.Thread(target=lambda: None)

    def connect(self, listener: str) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.settimeout(1)
        self._thread = threading.Thread(target=self._serve, args=(ours,), daemon=True)
        self._thread.start()
        return theirs

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as lines:
            first, *replies = self._replies
            connection.sendall(first or b"")
            for reply in replies:
                self.heard += lines.readline()
                if reply is None:
                    lines.read()
                    return
                connection.sendall(reply)

    def join(self) -> None:
        self._thread.join(5)

    def tls(self, connection: socket.socket) -> ssl.SSLSocket:
        raise ssl.SSLError("no handshake")

    def log_in(self, account: str) -> socket.socket:
        return self.connect("submissions")

    def mailbox(self, account: str) -> list[Path]:
        files = []
        for number in range(self._letters.pop(0)):
            files.append(self._directory / str(number))
            files[-1].write_bytes(LETTER)
        return files


REPLIES: list[bytes | None] = [
    b"220 hello\r\n",
    b"250-one\r\n250 two\r\n",
    b"250 ok\r\n",
    b"221 2.0.0 Goodbye\r\n",
]
GOOD = "S: 220 ...\nC: EHLO x\nS*: 250\nhas: one\nhas: t...\nlacks: three\nC: NOOP\nS: 250 ok\n"


@pytest.fixture
def play(tmp_path: Path) -> Iterator[object]:
    def run(text: str, replies: list[bytes | None] = REPLIES, letters: int = 0) -> bytes:
        path = tmp_path / "some.smtp"
        path.write_text("# A title.\n" + text)
        server = Scripted(tmp_path, replies, letters)
        Player(server, Script.read(path)).play()
        server.join()
        return server.heard

    return run


def test_what_is_as_written(play) -> None:
    assert play(GOOD) == b"EHLO x\r\nNOOP\r\nQUIT\r\n"
    assert play(GOOD + "C: QUIT\nS: 221 ...\nwait close\n") == b"EHLO x\r\nNOOP\r\nQUIT\r\n"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("S: 220 ...", "S: 221 ...", 2),
        ("S: 250 ok", "S: 250 o", 9),
        ("S: 250 ok", "S 2x: 250 ok", 9),
        ("S*: 250", "S*: 251", 4),
        ("S*: 250", "S: 250-one", 5),  # `has` asks about a whole reply
        ("has: one", "has: on", 5),
        ("lacks: three", "lacks: two", 7),
        ("C: NOOP\n", "C: NOOP\nhalf-close\nwait close\n", 10),
        ("S: 250 ok", "mailbox alice 1", 9),
        ("S: 250 ok", "wait close", 9),
        ("S: 250 ok", "tls", 9),
    ],
)
def test_what_is_not(old: str, new: str, line: int, play) -> None:
    with pytest.raises(Differs, match=rf"^some\.smtp:{line}: "):
        play(GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ([*REPLIES[:2], b"250 ok\r\n250 and more\r\n", REPLIES[3]], "says '250 and more'"),
        ([*REPLIES[:3], b"221 2.0.0 Goodbye\r\nand more\r\n"], "expected the end"),
        ([*REPLIES[:2], b""], "the server closed|reset by peer"),
        ([*REPLIES[:2], b"250 ok\n"], "without CR"),
        ([*REPLIES[:2], None], "timed out"),
    ],
    ids=["a reply too many", "words after the end", "closed early", "bare LF", "silence"],
)
def test_a_server_that_is_wrong(replies: list[bytes | None], reason: str, play) -> None:
    with pytest.raises(Differs, match=reason):
        play(GOOD, replies)


def test_a_server_that_speaks_in_clear_before_the_handshake(play) -> None:
    with pytest.raises(Differs, match="before the handshake"):
        play("S: 220 ...\ntls\n", [b"220 hello\r\n250 forged\r\n"])


@pytest.mark.parametrize("nonsense", ["X: 220", "220 hello", "mailbox alice", "close", "S 220", "c: NOOP"])
def test_a_line_that_means_nothing(nonsense: str, play) -> None:
    with pytest.raises(Differs, match=r"^some\.smtp:2: this means nothing"):
        play(nonsense + "\n")


def test_letters_are_counted_and_compared(play) -> None:
    letter = "mailbox alice 1\nL: Subject: x\nL:\nL: dots ...\n"
    play(GOOD + letter, letters=1)
    with pytest.raises(Differs, match="2 letters for alice instead of 1"):
        play(GOOD + letter, letters=2)
    with pytest.raises(Differs, match="the letter is"):
        play(GOOD + letter.replace("Subject: x", "Subject: y"), letters=1)
    with pytest.raises(Differs, match="the letter is"):
        play(GOOD + "mailbox alice 1\nL: Subject: x\n", letters=1)
    with pytest.raises(Differs, match="no letter to compare"):
        play(GOOD + letter.replace("1", "0"))


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        (r"a\r\n\0\x41\\n", b"a\r\n\0A\\n"),
        ("{x*3}{.*2}", b"xxx.."),
        (r"{base64:\0a\0b}", b"AGEAYg=="),
        ("grüße", "grüße".encode()),
    ],
)
def test_the_octets_of_a_client(text: str, sent: bytes) -> None:
    assert octets(text) == sent


def test_lines_in_one_write_repeated_and_raw(play) -> None:
    text = "S: 220 ...\nC+: A\nC 2x: B\nS*: 250\nS 2x: 250 ok\nC!: C\\r\\n\nS: 250 ok\n"
    assert play(text, [*REPLIES[:2], *REPLIES[2:3] * 3, REPLIES[3]]) == b"A\r\nB\r\nB\r\nC\r\nQUIT\r\n"
