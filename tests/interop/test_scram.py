"""Logins by SCRAM-SHA-256 at the real daemon: GNU SASL in msmtp, and our own client."""

from __future__ import annotations

import smtplib
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.trial.unittest import TestCase

from mailserver.accounts.passwords import hash_password
from mailserver.smtp.plan import Login
from mailserver.transport.client import Client
from mailserver.transport.clientoptions import ClientOptions
from mailserver.transport.failures import LoginFailed
from tests.harness.daemon import DOMAIN, HOST, PASSWORD, Daemon, done

pytestmark = pytest.mark.daemon

CONTENT = "From: <zoë@mail.test>\nSubject: x\n\nhello\n".encode()
ACCEPTED = r" login\.accepted .*mechanism={}(?: |$)"
FIRST, SECOND = "pässword, =first", "the second one"


@pytest.fixture(scope="module")
def daemon(lasting_daemons: Callable[..., Daemon]) -> Daemon:
    made = lasting_daemons()
    before(made)
    return made.start()


def before(daemon: Daemon) -> None:
    """Give alice what was kept of a password before there were keys."""
    store = daemon.accounts()
    done(store.set_password(f"alice@{DOMAIN}", hash_password(PASSWORD, 4)))
    store.close()


@pytest.fixture
def msmtp(daemon: Daemon, peer: Callable[[str], str], tmp_path: Path) -> Callable[..., int]:
    """Send a message as NAME with PASSWORD; the status of the program."""

    def send(name: str, password: str, port: int = 2587, auth: str = "scram-sha-256") -> int:
        settings = tmp_path / "msmtprc"
        settings.write_text(f"""
account default
host {daemon.address}
port {port}
from {name}@{DOMAIN}
tls on
tls_starttls {"on" if port == 2587 else "off"}
tls_trust_file {daemon.ca_file}
tls_host_override {HOST}
auth {auth}
user {name}@{DOMAIN}
password "{password}"
""")
        settings.chmod(0o600)
        command = [peer("msmtp"), "-C", str(settings), f"bob@{DOMAIN}"]
        return subprocess.run(command, input=CONTENT, capture_output=True, check=False, timeout=30).returncode

    return send


@pytest.mark.peer("msmtp")
def test_an_account_its_login_and_a_new_password(daemon: Daemon, msmtp: Callable[..., int]) -> None:
    letters = len(daemon.letters("bob"))
    daemon.ctl("account", "add", f"zoe@{DOMAIN}", "--password-stdin", stdin=f"{FIRST}\n")
    assert msmtp("zoe", FIRST) == 0
    # Typed as on another keyboard: SASLprep makes one of both.
    assert msmtp("zoe", FIRST.replace("ä", "a\u0308"), 2465) == 0
    daemon.wait_log(ACCEPTED.format("SCRAM-SHA-256"), count=2)
    assert msmtp("zoe", "wrong") != 0
    assert msmtp("nobody", FIRST) != 0
    daemon.wait_log(r" login\.refused .*mechanism=SCRAM-SHA-256", count=2)

    daemon.ctl("account", "passwd", f"zoe@{DOMAIN}", "--password-stdin", stdin=f"{SECOND}\n")
    assert msmtp("zoe", FIRST) != 0
    assert msmtp("zoe", SECOND) == 0
    assert msmtp("zoe", FIRST, auth="plain") != 0
    assert msmtp("zoe", SECOND, auth="plain") == 0
    daemon.wait_letters(letters + 4, "bob")
    log = "\n".join(daemon.lines)
    assert FIRST not in log
    assert SECOND not in log


@pytest.mark.peer("msmtp")
def test_an_account_of_before_has_no_keys_until_it_logged_in_once(msmtp: Callable[..., int]) -> None:
    assert msmtp("alice", PASSWORD) != 0
    assert msmtp("alice", PASSWORD, auth="plain") == 0
    assert msmtp("alice", PASSWORD) == 0


def test_it_is_offered_under_tls_only_and_where_the_settings_say_so(
    daemon: Daemon, daemons: Callable[..., Daemon]
) -> None:
    without = daemons("[accounts]\nbcrypt_cost = 4\nscram = false\n").start()
    for server, offered in ((daemon, "PLAIN LOGIN SCRAM-SHA-256"), (without, "PLAIN LOGIN")):
        with smtplib.SMTP(server.address, 2587, timeout=20) as client:
            client.ehlo()
            assert "auth" not in client.esmtp_features
            client.starttls(context=server.client_tls())
            client.ehlo()
            assert client.esmtp_features["auth"].split() == offered.split()


class OurClient(TestCase):
    """Our client at our server, both as they are run."""

    def setUp(self) -> None:
        self.daemon = Daemon(Path(tempfile.mkdtemp()))
        self.addCleanup(self.daemon.kill)
        before(self.daemon)
        self.daemon.start()
        self.daemon.ctl("account", "add", f"zoe@{DOMAIN}", "--password-stdin", stdin=f"{FIRST}\n")

    async def send(self, name: str, password: str) -> None:
        client = Client(
            f"{self.daemon.address}:2587", tls="required", login=Login(f"{name}@{DOMAIN}", password),
            options=ClientOptions(server_name=HOST, ca_file=str(self.daemon.ca_file)),
        )  # fmt: skip
        async with client:
            sent = await client.send(CONTENT, sender=f"{name}@{DOMAIN}", recipients=(f"bob@{DOMAIN}",))
            assert not sent.refused

    async def test_logins(self) -> None:
        await self.send("zoe", FIRST)
        self.daemon.wait_log(ACCEPTED.format("SCRAM-SHA-256"))
        with pytest.raises(LoginFailed):
            await self.send("zoe", "wrong")
        # Without keys the second mechanism is tried, which makes them.
        await self.send("alice", PASSWORD)
        self.daemon.wait_log(ACCEPTED.format("PLAIN"))
        await self.send("alice", PASSWORD)
        self.daemon.wait_log(ACCEPTED.format("SCRAM-SHA-256"), count=2)
