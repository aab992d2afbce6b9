"""A real Exim as the server that sends to us: over the MX port, and over port 587 with STARTTLS and a login."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.daemon import DOMAIN, HOST, PASSWORD, Daemon
from tests.interop.contents import CONTENTS, USUAL, delivered, whole

pytestmark = [pytest.mark.daemon, pytest.mark.peer("exim")]

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
# No Received of its own, so that what arrives can be compared octet for octet.
SETTINGS = """
exim_path = {program}
primary_hostname = exim.test
spool_directory = {directory}
log_file_path = {directory}/log-%s
received_header_text =
qualify_domain = client.test
local_from_check = false
keep_environment =
message_size_limit = 50M

begin routers
bob:
  driver = manualroute
  local_parts = bob
  route_list = * {server}
  self = send
  transport = submission
others:
  driver = manualroute
  route_list = * {server}
  self = send
  transport = relay

begin transports
relay:
  driver = smtp
  port = 2525
  hosts_try_fastopen =
  message_linelength_limit = 100000
  hosts_avoid_tls = *
submission:
  driver = smtp
  port = 2587
  hosts_try_fastopen =
  message_linelength_limit = 100000
  hosts_require_tls = *
  hosts_require_auth = *
  tls_verify_certificates = {chain}
  tls_verify_cert_hostnames =
  tls_sni = {host}

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  client_send = ^alice@{domain}^{password}
"""
NAMES = (*USUAL, "no-final-newline", "empty-body")


@pytest.fixture(scope="module")
def daemon(lasting_daemons: Callable[..., Daemon]) -> Daemon:
    return lasting_daemons().start()


@pytest.fixture
def exim(daemon: Daemon, peer: Callable[[str], str]) -> Iterator[Callable[..., str]]:
    """Sends a content at once, and answers what the log says of it."""
    # It gives up being root for its own user, and then starts itself again; that user reaches no directory of
    # pytest's, and perhaps not the checkout.
    with tempfile.TemporaryDirectory(prefix="exim") as name:
        directory = Path(name)
        shutil.chown(directory, "Debian-exim")
        unpacked = Path(peer("exim")).parent.parent / "exim4-daemon-light/usr/sbin/exim4"
        program = shutil.copy(unpacked, directory)
        settings = directory / "exim.conf"
        chain = Path(shutil.copy(daemon.ca_file, directory))
        settings.write_text(
            SETTINGS.format(
                program=program,
                directory=directory,
                server=daemon.address,
                chain=chain,
                host=HOST,
                domain=DOMAIN,
                password=PASSWORD,
            )
        )

        def send(content: bytes, sender: str, *recipients: str) -> str:
            ran = subprocess.run(
                [program, "-C", str(settings), "-odf", "-oi", "-f", sender, *recipients],
                input=content, capture_output=True, timeout=60, check=False,
            )  # fmt: skip
            log = directory / "log-main"
            said = log.read_text() if log.exists() else ""
            assert ran.returncode == 0, (ran, said)
            return said

        yield send


@pytest.mark.parametrize("name", NAMES)
def test_exim_to_the_mx_port(name: str, daemon: Daemon, exim: Callable[..., str]) -> None:
    before = len(daemon.letters())
    log = exim(CONTENTS[name], "zoe@far.test", ALICE)
    assert "250 2.0.0 Accepted as" in log
    assert " K " in log  # by BDAT, as Exim does wherever CHUNKING is offered
    assert delivered(daemon, before) == whole(CONTENTS[name])


@pytest.mark.parametrize("name", NAMES)
def test_exim_with_starttls_and_a_login(name: str, daemon: Daemon, exim: Callable[..., str]) -> None:
    before = len(daemon.letters("bob"))
    log = exim(CONTENTS[name], ALICE, BOB)
    assert "A=plain" in log
    assert "CV=yes" in log
    assert delivered(daemon, before, "bob") == whole(CONTENTS[name])


def test_exim_to_several_recipients(daemon: Daemon, exim: Callable[..., str]) -> None:
    before = len(daemon.letters())
    log = exim(CONTENTS["plain"], "zoe@far.test", f"nobody@{DOMAIN}", ALICE, f"alice+tag@{DOMAIN}")
    assert f"** nobody@{DOMAIN} R=others T=relay" in log
    assert "550 5.1.1 No such user here" in log
    assert delivered(daemon, before) == CONTENTS["plain"]
    assert len(daemon.letters()) == before + 1
