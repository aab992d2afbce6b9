"""Other people's clients against the real daemon: what they send arrives, octet for octet.

Mail for an account ends in its Maildir, below what a delivery prepends; mail for far.test goes on to Postfix's
smtp-sink, mail for near.test to a next hop of our own.
"""

from __future__ import annotations

import getpass
import re
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.daemon import DOMAIN, HOST, PASSWORD, Daemon, free_address, until
from tests.harness.peer import PORT, Peer, wait_port
from tests.interop.contents import CONTENTS, crlf, delivered, expected, relayed, run, whole, wire

pytestmark = pytest.mark.daemon


@pytest.fixture(scope="module")
def near(lasting_hops: Callable[..., Peer]) -> Peer:
    return lasting_hops().up()


@pytest.fixture(scope="module")
def sink_address() -> str:
    return free_address()


@pytest.fixture(scope="module")
def daemon(lasting_daemons: Callable[..., Daemon], near: Peer, sink_address: str) -> Daemon:
    routes = f"""
[routes."near.test"]
host = "{near.place}"
tls = "off"

[routes."far.test"]
host = "{sink_address}:{PORT}"
tls = "off"
"""
    return lasting_daemons(routes).start()


@pytest.fixture
def sink(peer: Callable[[str], str], sink_address: str, tmp_path: Path) -> Iterator[Path]:
    """smtp-sink, which writes what it takes into the files of a directory."""
    directory = tmp_path / "sink"
    directory.mkdir()
    command = [peer("smtp-sink"), "-u", getpass.getuser(), "-d", "message.", f"{sink_address}:{PORT}", "100"]
    with subprocess.Popen(command, cwd=directory) as process:
        wait_port(sink_address, PORT)
        yield directory
        process.terminate()


@pytest.fixture
def message(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "message"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.peer("swaks")
@pytest.mark.parametrize("name", CONTENTS)
def test_swaks_to_an_account(
    name: str, daemon: Daemon, peer: Callable[[str], str], message: Callable[[bytes], Path]
) -> None:
    before = len(daemon.letters())
    run(
        peer("swaks"), "--server", daemon.address, "--port", 2525, "--from", "zoe@far.test",
        "--to", f"alice@{DOMAIN}", "--no-data-fixup", "--data", f"@{message(wire(CONTENTS[name]))}",
    )  # fmt: skip
    assert delivered(daemon, before) == expected(CONTENTS[name])


@pytest.mark.peer("swaks")
@pytest.mark.peer("smtp-sink")
@pytest.mark.parametrize(("port", "tls"), [(2587, "--tls"), (2465, "--tls-on-connect")])
def test_swaks_to_another_host(
    port: int, tls: str, daemon: Daemon, sink: Path, peer: Callable[[str], str], message: Callable[[bytes], Path]
) -> None:
    run(
        peer("swaks"), "--server", daemon.address, "--port", port, tls, "--tls-verify",
        "--tls-ca-path", daemon.ca_file, "--auth", "PLAIN", "--auth-user", f"alice@{DOMAIN}",
        "--auth-password", PASSWORD, "--from", f"alice@{DOMAIN}", "--to", "zoe@far.test",
        "--data", f"@{message(CONTENTS['plain'][:-1])}",
    )  # fmt: skip
    taken = until(lambda: [*sink.glob("message.*")], lambda found: found and found[0].stat().st_size > 0)
    text = until(taken[0].read_bytes, lambda octets: octets.endswith(CONTENTS["plain"] + b"\n"))
    assert b"X-Mail-Args: <alice@mail.test>" in text
    assert b"X-Rcpt-Args: <zoe@far.test>" in text
    assert b"with ESMTPSA id" in text


@pytest.mark.parametrize("name", CONTENTS)
def test_smtplib_to_an_account(name: str, daemon: Daemon) -> None:
    before = len(daemon.letters())
    with daemon.mx() as client:
        client.sendmail("zoe@far.test", [f"alice@{DOMAIN}"], crlf(CONTENTS[name]))
    assert delivered(daemon, before) == expected(CONTENTS[name])


@pytest.mark.parametrize("name", [name for name in CONTENTS if name != "no-header"])
@pytest.mark.parametrize("port", [2587, 2465])
def test_smtplib_to_another_host(name: str, port: int, daemon: Daemon, near: Peer) -> None:
    before = len(near.received)
    if port == 2587:
        client = daemon.submission()
    else:
        client = smtplib.SMTP_SSL(daemon.address, port, context=daemon.client_tls(), timeout=20)
        client.login(f"alice@{DOMAIN}", PASSWORD)
    with client:
        assert client.sendmail(f"alice@{DOMAIN}", ["zoe@near.test"], crlf(CONTENTS[name])) == {}
    assert relayed(near, before) == whole(CONTENTS[name])


def test_what_a_submitted_message_lacks_is_completed(daemon: Daemon, near: Peer) -> None:
    before = len(near.received)
    with daemon.submission() as client:
        client.sendmail(f"alice@{DOMAIN}", ["zoe@near.test"], b"Subject: bare\r\n\r\nbody\r\n")
    content = relayed(near, before)
    assert re.fullmatch(
        rb"Date: \w{3}, \d\d \w{3} \d{4} [\d:]{8} \+0000\n"
        rb"Message-ID: <\w+@mx\.mail\.test>\nSubject: bare\n\nbody\n",
        content,
    )


@pytest.mark.peer("msmtp")
@pytest.mark.parametrize("port", [2587, 2465])
@pytest.mark.parametrize("name", ["large", "dots", "eight-bit", "no-final-newline", "empty-body"])
def test_msmtp(
    name: str, port: int, daemon: Daemon, near: Peer, peer: Callable[[str], str], tmp_path: Path
) -> None:
    before = len(near.received)
    settings = tmp_path / "msmtprc"
    settings.write_text(f"""
account default
host {daemon.address}
port {port}
from alice@{DOMAIN}
tls on
tls_starttls {"on" if port == 2587 else "off"}
tls_trust_file {daemon.ca_file}
tls_host_override {HOST}
auth plain
user alice@{DOMAIN}
password "{PASSWORD}"
set_from_header off
set_date_header off
undisclosed_recipients off
""")
    settings.chmod(0o600)
    run(peer("msmtp"), "-C", settings, "zoe@near.test", input=CONTENTS[name])
    assert relayed(near, before) == whole(CONTENTS[name])


@pytest.mark.peer("curl")
@pytest.mark.parametrize("name", ["large", "dots", "eight-bit", "no-final-newline", "empty-body"])
def test_curl_smtps(
    name: str, daemon: Daemon, near: Peer, peer: Callable[[str], str], message: Callable[[bytes], Path]
) -> None:
    before = len(near.received)
    run(
        peer("curl"), "--silent", "--show-error", f"smtps://{HOST}:2465/client.test",
        "--resolve", f"{HOST}:2465:{daemon.address}", "--cacert", daemon.ca_file,
        "--user", f"alice@{DOMAIN}:{PASSWORD}", "--mail-from", f"alice@{DOMAIN}",
        "--mail-rcpt", "zoe@near.test", "--upload-file", message(crlf(CONTENTS[name])),
    )  # fmt: skip
    assert relayed(near, before) == whole(CONTENTS[name])
