"""The real server's certificates: by name, replaced while it runs, and what a session ticket is worth there."""

from __future__ import annotations

import base64
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.daemon import PASSWORD, ROOT, Daemon
from tests.harness.handshake import any_server, der_of, issue, write_pair

pytestmark = pytest.mark.daemon

OTHER = """
[certificates.other]
chain = "certificates/other.crt"
key = "certificates/other.key"
"""
LOGIN = base64.b64encode(f"\0alice@mail.test\0{PASSWORD}".encode())


@pytest.fixture
def daemon(daemons: Callable[..., Daemon]) -> Daemon:
    daemon = daemons(OTHER)
    write_pair(daemon.instance / "certificates", "other", "mail.other.test", "*.wild.test")
    return daemon.start()


class Client:
    """Lines over TLS, begun at once or by STARTTLS."""

    def __init__(
        self, daemon: Daemon, port: int, name: str | None = None, session: ssl.SSLSession | None = None
    ) -> None:
        plain = socket.create_connection((daemon.address, port), timeout=20)
        if port != 2465:
            lines = plain.makefile("rb")
            assert lines.readline().startswith(b"220 ")
            for command, last in ((b"EHLO x\r\n", b"250 "), (b"STARTTLS\r\n", b"220 ")):
                plain.sendall(command)
                while not lines.readline().startswith(last):
                    pass
        self.socket = CONTEXT.wrap_socket(plain, server_hostname=name, session=session)
        self._lines = self.socket.makefile("rb")
        if port == 2465:
            assert self._lines.readline().startswith(b"220 ")

    def say(self, command: bytes) -> bytes:
        """The last line of the reply."""
        self.socket.sendall(command + b"\r\n")
        while (line := self._lines.readline())[3:4] == b"-":
            pass
        return line

    @property
    def shown(self) -> bytes:
        shown = self.socket.getpeercert(binary_form=True)
        assert shown is not None
        return shown

    def close(self) -> None:
        self._lines.close()
        self.socket.close()


# One for all: a session of the ssl module is good in its own context alone.
CONTEXT = any_server()


def shown(daemon: Daemon, port: int, name: str | None = None) -> str:
    client = Client(daemon, port, name)
    got = client.shown
    client.close()
    files = (daemon.instance / "certificates").glob("*.crt")
    return next((file.stem for file in files if der_of(file) == got), "an old one")


def replace(daemon: Daemon, name: str, *names: str) -> None:
    new = daemon.instance / "new"
    new.mkdir(exist_ok=True)
    for file in write_pair(new, name, *names):
        file.replace(daemon.instance / "certificates" / file.name)


@pytest.mark.parametrize("port", [2525, 2587, 2465])
def test_who_asks_for_a_name_gets_its_certificate(daemon: Daemon, port: int) -> None:
    asked = {None: "default", "mail.other.test": "other", "a.wild.test": "other", "who.test": "default"}
    assert {name: shown(daemon, port, name) for name in asked} == asked


@pytest.mark.peer("openssl")
def test_openssl_gets_it_too(daemon: Daemon, peer: Callable[[str], str]) -> None:
    command = [peer("openssl"), "s_client", "-connect", f"{daemon.address}:2525", "-starttls", "smtp"]
    said = subprocess.run(
        [*command, "-servername", "MAIL.other.test", "-verify_hostname", "mail.other.test", "-CAfile",
         daemon.instance / "certificates/other.crt", "-brief"],
        input="QUIT\n", capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert "Verification: OK" in said.stderr + said.stdout


def test_new_files_are_for_new_connections_and_sessions_go_on(daemon: Daemon) -> None:
    before = Client(daemon, 2465)
    assert before.say(b"EHLO x").startswith(b"250 ")
    replace(daemon, "default", "mx.mail.test")
    replace(daemon, "other", "mail.other.test")
    assert shown(daemon, 2465) == "an old one"
    said = daemon.ctl("certificate", "reload").stdout
    assert "default (until 20" in said
    assert "other (until 20" in said
    for port in (2525, 2587, 2465):
        assert (shown(daemon, port), shown(daemon, port, "mail.other.test")) == ("default", "other")
    daemon.wait_log(r" certificate\.reloaded name=default expires=\d{4}-\d\d-\d\d")
    assert before.say(b"AUTH PLAIN " + LOGIN).startswith(b"235 ")
    before.close()


def test_broken_files_change_nothing_and_are_named(daemon: Daemon) -> None:
    key = daemon.instance / "certificates/default.key"
    good = key.read_bytes()
    key.write_bytes(issue(["mx.mail.test"])[1])
    ran = daemon.ctl("certificate", "reload", check=False)
    assert ran.returncode == 1
    assert "certificates.default: the key" in ran.stderr
    assert "stays in use" in ran.stderr
    assert shown(daemon, 2525) == "default"
    assert "does not belong" in daemon.control("status")["certificates"][0]["problem"]
    daemon.wait_log(r" certificate\.refused name=default problem=.*does not belong")
    key.write_bytes(good)
    assert daemon.ctl("certificate", "reload").returncode == 0
    assert daemon.control("status")["certificates"][0]["problem"] == ""


def test_the_hook_of_certbot(daemon: Daemon, tmp_path: Path) -> None:
    """etc/certbot-deploy-hook, as certbot calls it."""
    lineage = tmp_path / "live"
    lineage.mkdir()
    for name, octets in zip(("fullchain.pem", "privkey.pem"), issue(["mx.mail.test"]), strict=True):
        (lineage / name).write_bytes(octets)
    ctl = tmp_path / "mailserverctl"
    ctl.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mailserver.admin "$@"\n')
    ctl.chmod(0o755)
    named = {"RENEWED_LINEAGE": lineage, "MAILSERVER_INSTANCE": daemon.instance, "MAILSERVERCTL": ctl}
    ran = subprocess.run(
        [ROOT / "etc/certbot-deploy-hook"],
        env={**daemon.environment(), **{name: str(value) for name, value in named.items()}},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "new connections get default (until 20" in ran.stdout
    certificates = daemon.instance / "certificates"
    assert stat.S_IMODE((certificates / "default.key").stat().st_mode) == 0o600
    assert der_of(certificates / "default.crt") == der_of(lineage / "fullchain.pem")
    assert shown(daemon, 2465) == "default"


def test_a_ticket_is_good_at_its_listener_and_carries_no_login(daemon: Daemon) -> None:
    first = Client(daemon, 2465)
    assert first.say(b"EHLO x").startswith(b"250 ")
    assert first.say(b"AUTH PLAIN " + LOGIN).startswith(b"235 ")
    ticket = first.socket.session
    assert ticket is not None
    first.close()
    again = Client(daemon, 2465, session=ticket)
    assert again.socket.session_reused
    assert again.say(b"MAIL FROM:<alice@mail.test>").startswith(b"503 ")
    assert again.say(b"EHLO x").startswith(b"250 ")
    assert again.say(b"MAIL FROM:<alice@mail.test>").startswith(b"530 ")
    again.close()
    for port in (2525, 2587):
        elsewhere = Client(daemon, port, session=ticket)
        assert not elsewhere.socket.session_reused
        elsewhere.close()


def test_old_tls_is_refused(daemon: Daemon) -> None:
    old = any_server()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection((daemon.address, 2465), timeout=20) as plain,
        pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"),
    ):
        old.wrap_socket(plain)
