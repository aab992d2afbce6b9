"""What other people's programs send, and what must have arrived of it.

Mail for an account ends in its Maildir, below what a delivery prepends; what is relayed has our Received on top.
"""

from __future__ import annotations

import re
import subprocess
from typing import Any

from tests.harness.daemon import DOMAIN, Daemon
from tests.harness.peer import Peer

HEADER = (
    b"From: <alice@mail.test>\nDate: Tue, 24 Nov 2026 13:00:00 +0000\nMessage-ID: <1@client.test>\nSubject: x\n\n"
)
LINES = b"".join(b"%s line %06d %s\n" % (b"." * (n % 3), n, b"x" * (n % 60)) for n in range(48_000))
CONTENTS = {
    "plain": HEADER + b"one\n\ntwo\n",
    "large": HEADER + LINES,
    "dots": HEADER + b".\n..\n.x\n...\n\n.\n",
    "long-line": HEADER + b"x" * 5000 + b"\n." + b"y" * 998 + b"\n",
    "eight-bit": HEADER + "grüße, 日本\n".encode() + b"\xff\xfe not even UTF-8\n",
    "no-final-newline": HEADER + b"cut off",
    "empty-body": HEADER,
    "no-header": b"just a line of text\nand another\n",
}
assert len(LINES) > 2 << 20
# What every program sends without changing it.
USUAL = ("plain", "large", "dots", "long-line", "eight-bit")
# What a delivery prepends, and nothing else.
PREPENDED = re.compile(rb"Return-Path: <[^\n]*>\nDelivered-To: [^\n]*\nReceived: from [^\n]*\n(?:\t[^\n]*\n)+")


def whole(content: bytes) -> bytes:
    """A content on the wire ends with a line end."""
    return content if content.endswith(b"\n") else content + b"\n"


def crlf(content: bytes) -> bytes:
    return content.replace(b"\n", b"\r\n")


def wire(content: bytes) -> bytes:
    """As swaks sends it with --no-data-fixup: dots doubled, CRLF, and the end (RFC 5321 §4.5.2)."""
    return crlf(re.sub(rb"(?m)^\.", b"..", whole(content))) + b".\r\n"


def delivered(daemon: Daemon, before: int, name: str = "alice") -> bytes:
    """The content of the letter that came after `before` others, without what the delivery prepended."""
    octets = daemon.wait_letters(before + 1, name)[before].read_bytes()
    prepended = PREPENDED.match(octets)
    assert prepended, octets[:500]
    return octets[prepended.end() :]


def expected(content: bytes) -> bytes:
    """Where there is no header an empty line ends ours."""
    return whole(content) if content.startswith(b"From:") else b"\n" + whole(content)


def run(*command: object, **options: Any) -> None:
    ran = subprocess.run([str(word) for word in command], capture_output=True, check=False, timeout=30, **options)
    assert ran.returncode == 0, (ran.stdout[-3000:] + ran.stderr[-3000:]).decode("utf-8", "replace")


def relayed(near: Peer, before: int) -> bytes:
    """The content of the message that `near` took after `before` others, without our Received."""
    one = near.wait(before + 1)[before]
    assert one.sender == f"alice@{DOMAIN}"
    assert one.recipients == ("zoe@near.test",)
    received = re.match(rb"Received: from [^\n]*\n(?:\t[^\n]*\n)+", one.content)
    assert received, one.content[:500]
    return one.content[received.end() :]
