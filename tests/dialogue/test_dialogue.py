"""Every script of this directory against the real daemon. How to read and write one: tests/dialogue/player.py."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dialogue.player import Differs, Player, Script
from tests.harness.daemon import DOMAIN, PASSWORD, Daemon, until

pytestmark = pytest.mark.daemon

SCRIPTS = sorted(Path(__file__).parent.glob("*.smtp"))
PORTS = {
    "mx": 2525, "submission": 2587, "submissions": 2465, "lmtp": 2424,
    "proxied": 2526, "xclient": 2527, "plain": 2528,
}  # fmt: skip
SETTINGS = """
[reception]
max_message_size = 100_000
auth_failure_delay = 0.05
error_limit = 10

[relay]
networks = ["192.0.2.0/24"]

[listeners.lmtp]
role = "lmtp"
listen = ["{address}:2424"]

[listeners.proxied]
role = "mx"
listen = ["{address}:2526"]
proxy_from = ["127.0.0.0/8"]

[listeners.xclient]
role = "mx"
listen = ["{address}:2527"]
xclient_from = ["127.0.0.0/8"]

[listeners.plain]
role = "mx"
listen = ["{address}:2528"]
extensions_off = ["8BITMIME", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES", "PIPELINING", "SIZE", "SMTPUTF8"]
"""


class Server:
    """The daemon as a place for scripts."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon

    def connect(self, listener: str) -> socket.socket:
        connection = socket.create_connection((self.daemon.address, PORTS[listener]), 20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.tls(connection) if listener == "submissions" else connection

    def tls(self, connection: socket.socket) -> ssl.SSLSocket:
        return self.daemon.client_tls().wrap_socket(connection)

    def log_in(self, account: str) -> socket.socket:
        connection = self.connect("submissions")
        credentials = base64.b64encode(f"\0{account}\0{PASSWORD}".encode())
        connection.sendall(b"EHLO client.test\r\nAUTH PLAIN " + credentials + b"\r\n")
        said = b""
        while b"\r\n235 " not in said or not said.endswith(b"\r\n"):
            more = connection.recv(65536)
            if not more:
                raise Differs(f"no login: {said!r}")
            said += more
        return connection

    def mailbox(self, account: str) -> list[Path]:
        until(self.daemon.queue, lambda rows: not rows)
        return self.daemon.letters(account)


@pytest.fixture(scope="module")
def server(lasting_daemons: Callable[..., Daemon]) -> Server:
    daemon = lasting_daemons()
    daemon.write_settings(SETTINGS.format(address=daemon.address))
    return Server(daemon.start())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_dialogue(path: Path, server: Server) -> None:
    Player(server, Script.read(path)).play()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_says_what_it_shows(path: Path) -> None:
    assert Script.read(path).title.endswith(".")


def test_the_accounts_of_the_scripts_are_those_of_the_daemon() -> None:
    assert {script.account for script in map(Script.read, SCRIPTS)} <= {"", f"alice@{DOMAIN}"}
