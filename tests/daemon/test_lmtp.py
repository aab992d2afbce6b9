"""Another mail server hands mail over to ours by LMTP: the real server, down to the Maildirs."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.harness.daemon import DOMAIN, Daemon

pytestmark = pytest.mark.daemon

LISTENER = '[listeners.lmtp]\nrole = "lmtp"\nlisten = ["{address}:2524"]\n\n[relay]\nnetworks = ["127.0.0.0/8"]\n'


class Hub:
    """A client that reads reply by reply; Python's own reads one for all recipients."""

    def __init__(self, daemon: Daemon) -> None:
        self._socket = socket.create_connection((daemon.address, 2524), 20)
        self._replies = self._socket.makefile("rb")

    def send(self, octets: bytes, replies: int) -> list[int]:
        self._socket.sendall(octets)
        return [self.reply() for _ in range(replies)]

    def reply(self) -> int:
        while (line := self._replies.readline())[3:4] == b"-":
            continue
        return int(line[:3])

    def close(self) -> None:
        self._replies.close()
        self._socket.close()


def test_mail_by_lmtp_reaches_the_maildirs(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons()
    daemon.write_settings(LISTENER.format(address=daemon.address))
    daemon.start()
    hub = Hub(daemon)
    assert hub.reply() == 220
    envelope = (
        "".join(f"RCPT TO:<{name}@{DOMAIN}>\r\n" for name in ("alice", "nobody", "bob"))
        + "RCPT TO:<x@far.test>\r\n"
    )
    start = b"MAIL FROM:<zoe@far.test>\r\n" + envelope.encode()
    assert hub.send(b"EHLO hub.test\r\nLHLO hub.test\r\n" + start, 7) == [500, 250, 250, 250, 550, 250, 550]
    assert hub.send(b"DATA\r\n", 1) == [354]
    assert hub.send(b"Subject: by DATA\r\n\r\n..dot\r\n.\r\n", 2) == [250, 250]
    chunks = b"BDAT 18\r\nSubject: by BDAT\r\nBDAT 8 LAST\r\n\r\n.dot\r\n"
    assert hub.send(start + chunks, 8) == [250, 250, 550, 250, 550, 250, 250, 250]
    assert hub.send(b"QUIT\r\n", 1) == [221]
    hub.close()
    for name in ("alice", "bob"):
        letters = [path.read_bytes() for path in daemon.wait_letters(2, name)]
        assert [b" with LMTP id " in letter for letter in letters] == [True, True]
        assert sorted(letter.partition(b"Subject: ")[2] for letter in letters) == [
            b"by BDAT\n\n.dot\n",
            b"by DATA\n\n.dot\n",
        ]
