"""The life of the daemon: starts that are refused and leave nothing behind, and stops that lose nothing."""

from __future__ import annotations

import os
import re
import resource
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mailserver.net.tls import self_signed
from mailserver.spool.lock import SpoolLock
from tests.harness.daemon import DOMAIN, Daemon, until

pytestmark = pytest.mark.daemon

ALICE = f"alice@{DOMAIN}"
# Root may write everywhere; without these capabilities permissions hold for it, too.
_WITHOUT = "-dac_override,-dac_read_search"
UNPRIVILEGED = () if os.geteuid() else ("setpriv", f"--bounding-set={_WITHOUT}", f"--inh-caps={_WITHOUT}")


def tree(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything below `directory`: mode, time of the last change, octets."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        octets = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(directory))] = (status.st_mode, status.st_mtime_ns, octets)
    return found


def manners(directory: Path) -> list[tuple[str, ...]]:
    """twistd in the foreground, and daemonizing."""
    return [("-n", "--pidfile="), ("--pidfile", str(directory / "x.pid"), "--logfile", str(directory / "x.log"))]


def says(daemon: Daemon, *sentences: str, manner: int = 0, prefix: tuple[str, ...] = ()) -> None:
    """The start is refused with exactly these lines (patterns), and nothing on disk has changed."""
    parent = daemon.instance.parent
    before = tree(parent)
    ran = daemon.refused(*manners(parent)[manner], prefix=prefix)
    assert (ran.returncode, ran.stdout) == (1, "")
    lines = ran.stderr.splitlines()
    assert len(lines) == len(sentences), ran.stderr
    for line, sentence in zip(lines, sentences, strict=True):
        assert re.fullmatch(sentence, line), (sentence, line)
    assert tree(parent) == before


def gone(pid: int) -> bool:
    """A daemon whose parent is process 1 may stay as a zombie where that does not reap."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def number_of(path: Path) -> str:
    """What :func:`numbered` put into a message."""
    found = re.search(rb"^X-Number: (\S+)$", path.read_bytes(), re.M)
    assert found, path
    return found[1].decode()


def numbered(number: str) -> str:
    return f"X-Number: {number}\r\nSubject: load\r\n\r\n{'x' * 500}\r\n"


# Starts that are refused.


@pytest.mark.parametrize("manner", [0, 1], ids=["foreground", "daemonized"])
def test_a_port_in_use(manner: int, daemons: Callable[..., Daemon]) -> None:
    daemon = daemons()
    with socket.create_server((daemon.address, 2525)):
        says(
            daemon,
            rf"{daemon.address}:2525 is in use by another program: stop it or change listeners\.mx\.listen",
            manner=manner,
        )


def test_several_ports_in_use_are_named_at_once(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons()
    with socket.create_server((daemon.address, 2525)), socket.create_server((daemon.address, 2465)):
        says(daemon, rf"{daemon.address}:2525 is in use .*", rf"{daemon.address}:2465 is in use .*")


@pytest.mark.parametrize("manner", [0, 1], ids=["foreground", "daemonized"])
def test_wrong_settings_are_named_all_at_once(manner: int, daemons: Callable[..., Daemon]) -> None:
    daemon = daemons('[relay]\noutgoing = "maybe"\ncolour = 1\n\n[queue]\nretry = [0]\n')
    file = re.escape(str(daemon.config))
    says(
        daemon,
        rf'{file}:\d+: relay\.outgoing: found "maybe", allowed: "on", "hold"',
        rf"{file}:\d+: relay\.colour: unknown name; known are networks, .*",
        rf"{file}:\d+: queue\.retry: found 0, allowed: a number of seconds from 1 to \d+",
        manner=manner,
    )


def test_a_certificate_and_a_key_that_do_not_match(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons()
    _, key = self_signed("other.test", time.time())
    (daemon.instance / "certificates/default.key").write_bytes(key)
    says(daemon, r"certificates\.default: the key \S+default\.key does not belong to the certificate \S+: .*")


def test_a_certificate_that_is_missing(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons()
    daemon.ca_file.unlink()
    says(daemon, r"certificates\.default: the certificate file \S+default\.crt does not exist: .*")


def test_directories_and_files_that_are_not_writable(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons('[log]\npath = "log/mail.log"\n')
    for directory in ("spool", "spool/content", "run", "log"):
        (daemon.instance / directory).mkdir()
    (daemon.instance / "spool/spool.db").touch()
    names = ("spool", "spool/content", "run", "accounts.db", "spool/spool.db", "log")
    for name in names:
        path = daemon.instance / name
        path.chmod(0o500 if path.is_dir() else 0o400)
    places = [re.escape(str(daemon.instance / name)) for name in names]
    sentences = [rf"{place}: is not writable for this user; run: chmod u\+rwX {place}" for place in places]
    says(daemon, *sentences, prefix=UNPRIVILEGED)


def test_an_instance_that_is_not_writable(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons()
    daemon.instance.chmod(0o500)
    place = re.escape(str(daemon.instance))
    says(daemon, rf"{place}: is not writable for this user; run: chmod u\+rwX {place}", prefix=UNPRIVILEGED)


@pytest.mark.parametrize("name", ["spool", "spool/lock"])
def test_what_is_closed_altogether(name: str, daemons: Callable[..., Daemon]) -> None:
    daemon = daemons()
    (daemon.instance / "spool").mkdir()
    (daemon.instance / "spool/lock").touch()
    path = daemon.instance / name
    path.chmod(0)
    says(daemon, rf"{re.escape(str(path))}: is not writable for this user; run: chmod .*", prefix=UNPRIVILEGED)


def test_accounts_that_are_gone_or_broken(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons()
    accounts = daemon.instance / "accounts.db"
    place = re.escape(str(accounts))
    accounts.write_bytes(b"this is no database" * 500)
    (daemon.instance / "spool").mkdir()
    (daemon.instance / "spool/spool.db").write_bytes(b"nor is this")
    says(
        daemon,
        rf"{place}: is no database, or a damaged one; restore it from a backup",
        r"\S+spool/spool\.db: is no database, or a damaged one; restore it from a backup, or move it away",
    )
    (daemon.instance / "spool/spool.db").unlink()
    accounts.write_bytes(b"")
    says(daemon, rf"{place}: is empty, and without it .*; restore it from a backup, or make a new instance .*")
    accounts.unlink()
    says(daemon, rf"{place}: is missing, and without it .*; restore it from a backup, or make a new instance .*")


def test_an_instance_that_is_not_there(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons()
    daemon.config.unlink()
    says(daemon, rf"{re.escape(str(daemon.config))}: there is no such settings file; name it with --config, or .*")


@pytest.mark.parametrize("manner", [0, 1], ids=["foreground", "daemonized"])
def test_a_second_daemon_names_the_first(manner: int, daemons: Callable[..., Daemon]) -> None:
    daemon = daemons().start()
    assert daemon.process is not None
    where = re.escape(str(daemon.instance))
    holder = rf"process {daemon.process.pid} since 20[-\d]+ [:\d]+ UTC"
    says(
        daemon,
        rf"{where}: another server has this instance open \({holder}\); "
        "stop it first, or use another instance directory",
        manner=manner,
    )
    # The first was not disturbed.
    with daemon.mx() as client:
        client.sendmail("zoe@far.test", [ALICE], numbered("1"))
    assert [number_of(path) for path in daemon.wait_letters(1)] == ["1"]


def test_what_fails_after_the_check(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons()
    # What cannot be seen from its first octets.
    (daemon.instance / "accounts.db").write_bytes(b"SQLite format 3\0" + b"this is no database" * 500)
    parent = daemon.instance.parent
    ran = daemon.refused(*manners(parent)[1])
    assert ran.returncode == 1
    assert "StartFailed" in ran.stderr
    assert not (parent / "x.pid").exists()
    assert (
        "accounts.db cannot be opened as an account store: file is not a database"
        in (parent / "x.log").read_text()
    )


def test_nothing_is_written_before_the_service_starts(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons('[log]\npath = "log/mail.log"\n')
    (daemon.instance / "log").mkdir()
    before = tree(daemon.instance)
    program = """
import sys
from mailserver.service import Options, makeService
options = Options()
options.parseOptions(["--config", sys.argv[1]])
print(type(makeService(options)).__name__)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, str(daemon.config)],
        env=daemon.environment(), capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert ran.stdout == "Root\n"
    assert tree(daemon.instance) == before


def test_the_help_teaches(daemons: Callable[..., Daemon]) -> None:
    program = "from twisted.scripts.twistd import run; run()"
    ran = subprocess.run(
        [sys.executable, "-c", program, "mailserver", "--help"],
        env=daemons().environment(), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ran.returncode == 0
    words = " ".join(ran.stdout.split())
    for lesson in ("--config", "mailserverctl init", "mailserverctl status", "config check", "-n --pidfile="):
        assert lesson in words, ran.stdout


# Lives.


def test_daemonized(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons()
    parent = daemon.instance.parent
    subprocess.run(
        daemon.twistd(*manners(parent)[1]), cwd=parent, env=daemon.environment(), timeout=30, check=True
    )
    pid = int((parent / "x.pid").read_text())
    try:
        with daemon.mx() as client:
            client.sendmail("zoe@far.test", [ALICE], numbered("1"))
        daemon.wait_letters(1)
        assert f"{daemon.address}:2525" in str(daemon.control("status")["listeners"])
    finally:
        os.kill(pid, signal.SIGTERM)
    until(lambda: gone(pid), bool)
    assert not (parent / "x.pid").exists()
    assert not (daemon.instance / "run/control.sock").exists()
    assert "Traceback" not in (parent / "x.log").read_text()


def test_several_instances_side_by_side(daemons: Callable[..., Daemon]) -> None:
    one, other = daemons(), daemons()
    one.start()
    other.start()
    for daemon, number in ((one, "1"), (other, "2")):
        with daemon.mx() as client:
            client.sendmail("zoe@far.test", [ALICE], numbered(number))
    assert [number_of(path) for path in one.wait_letters(1)] == ["1"]
    one.stop()
    with other.mx() as client:
        client.sendmail("zoe@far.test", [ALICE], numbered("3"))
    assert [number_of(path) for path in other.wait_letters(2)] == ["2", "3"]
    assert len(one.letters()) == 1


# Stops.


class Load:
    """Twenty connections that send as fast as they are answered. ``taken`` is every number that got 250."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._lock = threading.Condition()
        self.taken: set[str] = set()
        self.endings: list[str] = []
        self._threads = [threading.Thread(target=self._send, args=(n,), daemon=True) for n in range(20)]
        for thread in self._threads:
            thread.start()

    def _send(self, connection: int) -> None:
        ending = "connected again and again"
        try:
            with self._daemon.mx() as client:
                for n in range(10_000):
                    number = f"{connection}-{n}"
                    client.sendmail("zoe@far.test", [ALICE], numbered(number))
                    with self._lock:
                        self.taken.add(number)
                        self._lock.notify_all()
        except smtplib.SMTPServerDisconnected:
            ending = "disconnected"
        except smtplib.SMTPResponseException as error:
            ending = str(error.smtp_code)
        except smtplib.SMTPRecipientsRefused as error:
            ending = str(next(iter(error.recipients.values()))[0])
        except OSError:
            ending = "disconnected"
        with self._lock:
            self.endings.append(ending)

    def wait(self, count: int) -> None:
        with self._lock:
            assert self._lock.wait_for(lambda: len(self.taken) >= count, 20)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(20)
        assert len(self.endings) == 20


def test_sigterm_under_load(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons().start()
    idle = [socket.create_connection((daemon.address, 2525), 20) for _ in range(3)]
    streams = [one.makefile("rb") for one in idle]
    assert all(stream.readline().startswith(b"220 ") for stream in streams)
    load = Load(daemon)
    load.wait(200)
    began = time.monotonic()
    status = daemon.stop(timeout=10)
    assert time.monotonic() - began < 10
    assert status in (0, -signal.SIGTERM)
    for stream in streams:
        assert stream.readline().startswith(b"421 4.3.2 ")
        assert stream.read() == b""
    load.join()
    # A clean end is 421, or a connection that was closed behind one.
    assert set(load.endings) <= {"421", "disconnected"}
    with pytest.raises(ConnectionRefusedError):
        daemon.mx()
    daemon.start()
    letters = daemon.wait_letters(len(load.taken))
    until(daemon.queue, lambda rows: not rows)
    there = Counter(number_of(path) for path in letters)
    assert load.taken <= there.keys()
    # What was stored and never answered may be there as well, once.
    assert set(there.values()) == {1}
    for one in idle:
        one.close()


def test_sigterm_waits_for_a_content_under_way(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons().start()
    busy, idle = daemon.mx(), daemon.mx()
    busy.ehlo()
    busy.mail("zoe@far.test")
    busy.rcpt(ALICE)
    busy.docmd("DATA")
    busy.send(numbered("1")[:300])
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    assert idle.getreply()[0] == 421
    busy.send(numbered("1")[300:] + ".\r\n")
    assert busy.getreply()[0] == 250
    assert busy.getreply()[0] == 421
    assert daemon.process.wait(10) in (0, -signal.SIGTERM)
    busy.close()
    idle.close()
    daemon.start()
    assert [number_of(path) for path in daemon.wait_letters(1)] == ["1"]


def test_sigterm_does_not_wait_for_ever(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons("[timeouts]\ndrain = 0.5\n").start()
    with daemon.mx() as client:
        client.ehlo()
        client.mail("zoe@far.test")
        client.rcpt(ALICE)
        client.docmd("DATA")
        client.send(numbered("1")[:300])
        assert daemon.stop(timeout=5) in (0, -signal.SIGTERM)
        client.close()
    daemon.start()
    assert daemon.queue() == []
    assert daemon.letters() == []


def test_every_connection_may_have_a_descriptor(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path).start("prlimit", "--nofile=256:5000")
    try:
        assert daemon.process is not None
        assert resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE) == (5000, 5000)
    finally:
        daemon.kill()


def test_a_start_waits_for_a_command_that_has_the_instance_for_a_moment(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    (daemon.instance / "spool").mkdir(mode=0o700)
    lock = SpoolLock(daemon.instance / "spool")
    lock.acquire(0.0)
    ended = threading.Timer(1.5, lock.release)
    ended.start()
    try:
        daemon.start()
    finally:
        ended.join()
        daemon.kill()
