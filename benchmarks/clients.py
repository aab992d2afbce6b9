"""Many connections from one process of their own: ``python -m benchmarks.clients KIND PORT COUNT``.

``idle`` says EHLO and then nothing; ``tls`` does the same behind STARTTLS; ``slow`` begins a content and sends an
octet of it each second. It prints a line when all of them stand, and leaves them when its input ends.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.subjects import RECIPIENT, environment

# Opened together, fewer than a listener's backlog.
_GROUP = 100
# Connections from one address: there are some 28,000 ports for each.
_EACH_ADDRESS = 5_000
_ENVELOPE = b"MAIL FROM:<slow@source.test>\r\n", b"RCPT TO:<%s>\r\n" % RECIPIENT.encode(), b"DATA\r\n"


@contextlib.contextmanager
def holding(kind: str, port: int, count: int) -> Iterator[None]:
    """`count` connections of that kind to `port`, while the block runs."""
    argv = [sys.executable, "-m", "benchmarks.clients", kind, str(port), str(count)]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), text=True
    ) as clients:
        assert clients.stdin
        assert clients.stdout
        try:
            if clients.stdout.readline().strip() != str(count):
                raise SystemExit(f"{count:,} connections ({kind}) could not be opened")
            yield
        finally:
            clients.stdin.close()


def _connect(port: int, number: int) -> socket.socket:
    connection = socket.socket()
    connection.settimeout(60)
    connection.bind((f"127.0.0.{2 + number // _EACH_ADDRESS}", 0))
    connection.connect(("127.0.0.1", port))
    return connection


def _reply(connection: socket.socket, code: bytes) -> None:
    octets = b""
    while not octets.endswith(b"\n") or octets.splitlines()[-1][3:4] == b"-":
        piece = connection.recv(4096)
        if not piece:
            break
        octets += piece
    if not octets.startswith(code):
        raise SystemExit(f"{code!r} was expected, and not {octets!r}")


def _say(group: list[socket.socket], octets: bytes, code: bytes) -> None:
    for connection in group:
        connection.sendall(octets)
    for connection in group:
        _reply(connection, code)


def _group(kind: str, port: int, numbers: range) -> list[socket.socket]:
    group = [_connect(port, number) for number in numbers]
    _say(group, b"", b"220")
    _say(group, b"EHLO client.source.test\r\n", b"250")
    if kind == "tls":
        _say(group, b"STARTTLS\r\n", b"220")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        group = [context.wrap_socket(each) for each in group]
        _say(group, b"EHLO client.source.test\r\n", b"250")
    elif kind == "slow":
        for octets in _ENVELOPE:
            _say(group, octets, b"354" if octets == _ENVELOPE[-1] else b"250")
    return group


def main() -> None:
    """Open them, say so, and wait."""
    kind, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    held: list[socket.socket] = []
    for start in range(0, count, _GROUP):
        held += _group(kind, port, range(start, min(start + _GROUP, count)))
    print(count, flush=True)
    if kind != "slow":
        sys.stdin.read()
        return
    while True:
        for connection in held:
            if select.select([sys.stdin], [], [], 1 / count)[0]:
                return
            connection.sendall(b"x")


if __name__ == "__main__":
    main()
