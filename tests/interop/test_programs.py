"""Programs that send mail for programmers: nodemailer, aiosmtplib and git send-email, against the real daemon.

Mail goes to accounts: over the MX port without a login, over ports 587 (STARTTLS) and 465 with one.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest

from tests.harness.daemon import DOMAIN, HOST, PASSWORD, Daemon
from tests.interop.contents import CONTENTS, USUAL, crlf, delivered, expected, run

pytestmark = pytest.mark.daemon

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
# git send-email wants a certificate for the name that it connects to; ours is for another.
UNVERIFIED = {
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "sendemail.smtpSSLCertPath",
    "GIT_CONFIG_VALUE_0": "",
}
# It reads {transport, message, file} and says what nodemailer answered.
NODE = """
const fs = require('fs'), nodemailer = require('nodemailer');
const {transport, message, file} = JSON.parse(fs.readFileSync(0));
nodemailer.createTransport(transport).sendMail({...message, raw: fs.readFileSync(file)}).then(
  (info) => process.stdout.write(JSON.stringify({accepted: info.accepted, rejected: info.rejected})),
  (error) => { process.stderr.write(String(error)); process.exit(1); });
"""


@pytest.fixture(scope="module")
def daemon(lasting_daemons: Callable[..., Daemon]) -> Daemon:
    return lasting_daemons().start()


@pytest.fixture
def nodemailer(
    daemon: Daemon, peer: Callable[[str], str], tmp_path: Path
) -> Callable[[dict[str, Any], dict[str, Any], bytes], Any]:
    def send(transport: dict[str, Any], envelope: dict[str, Any], content: bytes) -> Any:
        path = tmp_path / "message"
        path.write_bytes(crlf(content))
        trusting = {"ca": daemon.ca_file.read_text(), "servername": HOST}
        task = {
            "transport": {"host": daemon.address, "name": "client.test", "tls": trusting, **transport},
            "message": {"envelope": envelope},
            "file": str(path),
        }
        ran = subprocess.run(
            [peer("node-nodemailer"), "-e", NODE], input=json.dumps(task), capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return send


@pytest.mark.peer("node")
@pytest.mark.peer("node-nodemailer")
@pytest.mark.parametrize("name", USUAL)
def test_nodemailer_to_the_mx_port(name: str, daemon: Daemon, nodemailer: Any) -> None:
    before, others = len(daemon.letters()), len(daemon.letters("bob"))
    recipients = [ALICE, f"nobody@{DOMAIN}", BOB]
    told = nodemailer(
        {"port": 2525, "ignoreTLS": True}, {"from": "zoe@far.test", "to": recipients}, CONTENTS[name]
    )
    assert told == {"accepted": [ALICE, BOB], "rejected": [f"nobody@{DOMAIN}"]}
    assert delivered(daemon, before) == delivered(daemon, others, "bob") == expected(CONTENTS[name])


@pytest.mark.peer("node")
@pytest.mark.peer("node-nodemailer")
@pytest.mark.parametrize("name", USUAL)
@pytest.mark.parametrize(
    ("port", "method"), [(2587, "PLAIN"), (2587, "LOGIN"), (2465, "PLAIN")], ids=["587", "587-login", "465"]
)
def test_nodemailer_with_a_login(name: str, port: int, method: str, daemon: Daemon, nodemailer: Any) -> None:
    before = len(daemon.letters("bob"))
    secure = {"secure": True} if port == 2465 else {"requireTLS": True}
    login = {"auth": {"user": ALICE, "pass": PASSWORD}, "authMethod": method}
    nodemailer({"port": port, **secure, **login}, {"from": ALICE, "to": [BOB]}, CONTENTS[name])
    assert delivered(daemon, before, "bob") == expected(CONTENTS[name])


async def _by_aiosmtplib(daemon: Daemon, port: int, recipients: list[str], content: bytes) -> Any:
    context = daemon.client_tls()
    context.check_hostname = False  # it connects to an address, the certificate is for a name
    client = aiosmtplib.SMTP(
        hostname=daemon.address, port=port, local_hostname="client.test", tls_context=context,
        use_tls=port == 2465, start_tls=port == 2587, timeout=30,
    )  # fmt: skip
    async with client:
        if port != 2525:
            await client.login(ALICE, PASSWORD)
        return await client.sendmail(ALICE, recipients, crlf(content))


@pytest.mark.parametrize("port", [2525, 2587, 2465])
@pytest.mark.parametrize("name", USUAL)
def test_aiosmtplib(name: str, port: int, daemon: Daemon) -> None:
    before, others = len(daemon.letters()), len(daemon.letters("bob"))
    refused, text = asyncio.run(_by_aiosmtplib(daemon, port, [BOB, f"nobody@{DOMAIN}", ALICE], CONTENTS[name]))
    assert {one: answer.code for one, answer in refused.items()} == {f"nobody@{DOMAIN}": 550}
    assert text.startswith("2.0.0 Accepted as ")
    assert delivered(daemon, before) == delivered(daemon, others, "bob") == expected(CONTENTS[name])


@pytest.fixture
def patch(peer: Callable[[str], str], tmp_path: Path) -> bytes:
    """What `git format-patch` makes of a commit, as the file 0001.patch of the directory."""
    git = [peer("git"), "-C", tmp_path, "-c", "user.name=Älice", "-c", f"user.email={ALICE}"]
    run(*git, "init", "--quiet")
    (tmp_path / "greeting").write_text("grüße\n.\n..\n" + "x" * 900 + "\n")
    run(*git, "add", ".")
    run(*git, "commit", "--quiet", "-m", "greeting: say it in German\n\nGrüße.")
    run(*git, "format-patch", "--quiet", "--root", "-o", tmp_path / "out")
    (found,) = (tmp_path / "out").iterdir()
    return found.rename(tmp_path / "0001.patch").read_bytes()


@pytest.mark.peer("git")
@pytest.mark.peer("git-send-email")
@pytest.mark.parametrize(("encryption", "port"), [("tls", 2587), ("ssl", 2465)])
def test_git_send_email(
    encryption: str, port: int, patch: bytes, daemon: Daemon, peer: Callable[[str], str], tmp_path: Path
) -> None:
    before = len(daemon.letters("bob"))
    run(
        peer("git-send-email"), "--quiet", "--from", f"Älice <{ALICE}>", "--to", BOB,
        "--confirm=never", "--suppress-cc=all",
        "--smtp-server", daemon.address, "--smtp-server-port", port, "--smtp-encryption", encryption,
        "--smtp-user", ALICE, "--smtp-pass", PASSWORD, "--smtp-domain=client.test", "0001.patch",
        cwd=tmp_path, env={**os.environ, **UNVERIFIED},
    )  # fmt: skip
    letter = delivered(daemon, before, "bob")
    assert b"Content-Transfer-Encoding: 8bit\n" in letter
    assert letter.partition(b"\n\n")[2] == patch.partition(b"\n\n")[2]
