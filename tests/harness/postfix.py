"""A Postfix of its own for tests: unpacked by tests/peers.sh, configured here, started and stopped by the test.

What it takes for near.test it puts into one Maildir. What it takes for mail.test it sends on: to port 2525 of the
server under test, but for bob@mail.test, whose mail goes to port 2587 with STARTTLS and AUTH as Alice. Postfix
wants to begin as root; its programs then run as the users ``postfix`` and ``nobody``, who must reach the
directory, so it is none of pytest's.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import smtplib
import subprocess
import tempfile
from pathlib import Path

from tests.harness.daemon import DOMAIN, HOST, PASSWORD, free_address, until
from tests.harness.peer import PORT, wait_port

_MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
command_directory = {programs}/usr/sbin
daemon_directory = {programs}/usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
import_environment = MAIL_CONFIG LD_LIBRARY_PATH POSTLOG_SERVICE POSTLOG_HOSTNAME TZ
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = postfix.test
mydestination =
alias_maps =
mynetworks = 127.0.0.0/8
message_size_limit = 0
virtual_mailbox_limit = 0
virtual_mailbox_domains = near.test
virtual_mailbox_base = {directory}
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:{nobody}
virtual_gid_maps = static:{nobody}
smtp_dns_support_level = disabled
smtp_line_length_limit = 0
transport_maps = inline:{{ {{bob@{domain} = submit:[{server}]:2587}}, {{{domain} = smtp:[{server}]:2525}} }}
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
smtpd_tls_chain_files = {key}, {chain}
"""
_MASTER = """
{address}:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
smtp unix - - n - - smtp
submit unix - - n - - smtp
    -o smtp_tls_security_level=secure
    -o smtp_tls_secure_cert_match={host}
    -o smtp_tls_CAfile={chain}
    -o smtp_sasl_auth_enable=yes
    -o smtp_sasl_security_options=noanonymous
    -o {{ smtp_sasl_password_maps = static:{{alice@{domain}:{password}}} }}
"""
_OF_POSTFIX = "active bounce corrupt defer deferred flush hold incoming private saved trace"


class Postfix:
    """`server` is the address of the server under test, `chain` and `key` are certificate files."""

    def __init__(self, server: str, chain: Path, key: Path) -> None:
        self.address = free_address()
        self.directory = Path(tempfile.mkdtemp(prefix="postfix"))
        self.place = f"{self.address}:{PORT}"
        self._facts = {
            "directory": self.directory,
            "address": self.address,
            "port": PORT,
            "server": server,
            "chain": chain,
            "key": key,
            "nobody": pwd.getpwnam("nobody").pw_uid,
            "domain": DOMAIN,
            "host": HOST,
            "password": PASSWORD,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, master: str) -> Postfix:
        """`master` is the program."""
        programs = Path(master).resolve().parent.parent / "postfix"
        self._make(programs)
        self._process = subprocess.Popen([master, "-d", "-c", self.directory / "etc"], start_new_session=True)
        wait_port(self.address, PORT)
        return self

    def _make(self, programs: Path) -> None:
        owner, nobody = pwd.getpwnam("postfix"), pwd.getpwnam("nobody")
        queue = self.directory / "queue"
        for name in ("etc", "data", "box", "queue", "queue/pid", "queue/public", "queue/maildrop"):
            (self.directory / name).mkdir()
        for name in _OF_POSTFIX.split():
            (queue / name).mkdir()
            os.chown(queue / name, owner.pw_uid, -1)
        os.chown(self.directory / "data", owner.pw_uid, -1)
        os.chown(self.directory / "box", nobody.pw_uid, nobody.pw_gid)
        shutil.chown(queue / "maildrop", owner.pw_uid, "postdrop")
        shutil.chown(queue / "public", owner.pw_uid, "postdrop")
        self.directory.chmod(0o755)
        for name, text in (("main.cf", _MAIN), ("master.cf", _MASTER)):
            (self.directory / "etc" / name).write_text(text.format(programs=programs, **self._facts))

    def stop(self) -> None:
        """With all its processes; its log is shown."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(20)
        log = self.directory / "log"
        if log.exists():
            print(log.read_text())
        shutil.rmtree(self.directory)

    def client(self) -> smtplib.SMTP:
        """A client of it, connected."""
        return smtplib.SMTP(self.address, PORT, local_hostname="client.test", timeout=20)

    def log(self) -> str:
        """All that it has logged."""
        return (self.directory / "log").read_text()

    def wait_letters(self, count: int) -> list[Path]:
        """The files of its Maildir in the order in which they came, once there are `count` of them."""
        found = until(lambda: [*self.directory.glob("box/new/*")], lambda files: len(files) >= count)
        return sorted(found, key=lambda path: path.stat().st_mtime_ns)
