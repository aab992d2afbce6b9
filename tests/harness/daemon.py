"""The real server for tests: an instance in a directory of the test, ``twistd`` as a child process.

Each daemon listens on a loopback address of its own (127.x.y.z), so that tests run side by side with the
ports of the manual. Everything is waited for by what the server says in its log, or by what appears on disk.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import smtplib
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from mailserver.accounts.passwords import keep_password
from mailserver.accounts.store import AccountStore
from mailserver.admin.client import Connection
from mailserver.clock import SystemClock
from mailserver.net.tls import self_signed
from mailserver.smtp.address import Mailbox
from mailserver.threads import inline

ROOT = Path(__file__).parent.parent.parent
HOST = "mx.mail.test"
DOMAIN = "mail.test"
PASSWORD = "correct horse"
_numbers = itertools.count(1)
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:] or 0)

SETTINGS = """
host_name = "mx.mail.test"

[listeners.mx]
role = "mx"
listen = ["{address}:2525"]
tls = "starttls"
max_connections_per_ip = 0

[listeners.submission]
role = "submission"
listen = ["{address}:2587"]
tls = "starttls"

[listeners.submissions]
role = "submission"
listen = ["{address}:2465"]
tls = "implicit"

[certificates.default]
chain = "certificates/default.crt"
key = "certificates/default.key"

[accounts]
bcrypt_cost = 4

[reception]
auth_failure_delay = 0.05

"""


def free_address() -> str:
    """A loopback address that no other test of this run uses."""
    number = next(_numbers)
    return f"127.{20 + _WORKER}.{os.getpid() % 250 + 1}.{number}"


def done(deferred: Deferred[object]) -> object:
    """The result of a Deferred that has fired."""
    results: list[object] = []
    deferred.addBoth(results.append)
    assert results, "still waiting"
    return results[0]


class Daemon:
    """One instance and its server."""

    def __init__(self, directory: Path, more: str = "") -> None:
        """`more` is appended to the settings."""
        self.instance = directory / "instance"
        self.address = free_address()
        self.config = self.instance / "mailserver.toml"
        self.process: subprocess.Popen[bytes] | None = None
        self.lines: list[str] = []
        self._reader: threading.Thread | None = None
        self._changed = threading.Condition()
        self._make(more)

    def _make(self, more: str) -> None:
        self.instance.mkdir(mode=0o700)
        self.write_settings(more)
        certificates = self.instance / "certificates"
        certificates.mkdir()
        chain, key = self_signed("mx.mail.test", time.time())
        (certificates / "default.crt").write_bytes(chain)
        (certificates / "default.key").write_bytes(key)
        self.ca_file = certificates / "default.crt"
        store = self.accounts()
        done(store.add_domain(DOMAIN))
        for name in ("alice", "bob"):
            address = f"{name}@{DOMAIN}"
            done(store.add_account(address, keep_password(PASSWORD, 4, store.salt(Mailbox.parse(address)))))
        store.close()

    def accounts(self) -> AccountStore:
        """The account store, opened by this process: only while the server is stopped."""
        store = AccountStore(self.instance / "accounts.db", inline, SystemClock())
        store.open()
        return store

    def write_settings(self, more: str = "") -> None:
        """Replace the settings file; tables in `more` with the name of an earlier one take its place."""
        text = SETTINGS.format(address=self.address)
        for table in re.findall(r"^\[([^\]]+)\]", more, re.M):
            text = re.sub(rf"^\[{re.escape(table)}\]\n(?:(?!\[).*\n)*", "", text, flags=re.M)
        self.config.write_text(text + more)

    def command(self, *prefix: str) -> list[str]:
        return self.twistd("-n", "--pidfile=", prefix=prefix)

    def twistd(self, *options: str, prefix: tuple[str, ...] = ()) -> list[str]:
        """``twistd [options] mailserver --config FILE``."""
        run = "from twisted.scripts.twistd import run; run()"
        return [*prefix, sys.executable, "-c", run, *options, "mailserver", "--config", str(self.config)]

    def refused(self, *options: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Start where that must fail: the process that ended, soon (it takes a second on an idle machine)."""
        return subprocess.run(
            self.twistd(*options, prefix=prefix), cwd=self.instance.parent, env=self.environment(),
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

    def start(
        self, *prefix: str, timeout: float = 30, env: dict[str, str] | None = None, stdin: int = subprocess.DEVNULL
    ) -> Daemon:
        """Start, and wait until it listens. `prefix` is a command to run it under (strace)."""
        if self._reader is not None:
            self._reader.join(10)  # the last line of the process before must not end the log of this one
        self.lines.clear()
        self.process = subprocess.Popen(
            self.command(*prefix),
            cwd=self.instance.parent,
            env={**self.environment(), **(env or {})},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        self.wait_log(r" server\.started ", timeout)
        return self

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with self._changed:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self.lines.append("<end of output>")
            self._changed.notify_all()

    def wait_log(self, pattern: str, timeout: float = 20, count: int = 1) -> str:
        """The `count`-th log line that matches, as soon as it is there."""
        until = time.monotonic() + timeout
        with self._changed:
            while True:
                found = [line for line in self.lines if re.search(pattern, line)]
                if len(found) >= count:
                    return found[count - 1]
                left = until - time.monotonic()
                if left <= 0 or (self.lines and self.lines[-1] == "<end of output>"):
                    raise AssertionError(f"no {pattern!r} in the log:\n" + "\n".join(self.lines[-40:]))
                self._changed.wait(left)

    def stop(self, timeout: float = 15) -> int:
        """SIGTERM, and the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """SIGKILL to the whole group; returns when it is gone."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait(10)

    def letters(self, name: str = "alice") -> list[Path]:
        """The delivered files of an account, in the order of their names."""
        box = self.instance / "maildirs" / DOMAIN / name
        return sorted([*box.glob("new/*"), *box.glob("cur/*")], key=lambda path: path.name)

    def wait_letters(self, count: int, name: str = "alice", timeout: float = 20) -> list[Path]:
        """The files, once there are `count` of them."""
        return until(lambda: self.letters(name), lambda found: len(found) >= count, timeout)

    def client_tls(self) -> ssl.SSLContext:
        """A context that trusts this instance's certificate, and wants it to be mx.mail.test's."""
        context = _Named(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.ca_file)
        return context

    def mx(self) -> smtplib.SMTP:
        """A client of port 2525, connected."""
        return smtplib.SMTP(self.address, 2525, local_hostname="client.test", timeout=20)

    def submission(self, name: str = "alice") -> smtplib.SMTP:
        """A client of port 2587, logged in over TLS."""
        client = smtplib.SMTP(self.address, 2587, local_hostname="client.test", timeout=20)
        client.starttls(context=self.client_tls())
        client.login(f"{name}@{DOMAIN}", PASSWORD)
        return client

    def control(self, command: str, **arguments: Any) -> Any:
        """Ask the running server over its control socket, without a process of mailserverctl."""
        with Connection(self.instance / "run/control.sock", 20) as connection:
            return next(iter(connection.run(command, arguments)))

    def queue(self) -> list[dict[str, Any]]:
        """What waits, a row per recipient, as ``queue list`` of the running server shows it."""
        rows: list[dict[str, Any]] = self.control("queue list")["recipients"]
        return rows

    def wait_queue(self, good: Callable[[dict[str, str]], bool], timeout: float = 20) -> list[dict[str, Any]]:
        """The rows of the queue, once `good` of the state of each recipient (``{"a@b.test": "deferred"}``)."""
        rows: list[dict[str, Any]] = until(
            self.queue, lambda rows: good({row["recipient"]: row["state"] for row in rows}), timeout
        )
        return rows

    def ctl(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run mailserverctl on this instance."""
        ran = subprocess.run(
            [sys.executable, "-m", "mailserver.admin", "--instance", str(self.instance), *arguments],
            input=stdin, capture_output=True, text=True, env=self.environment(), timeout=60, check=False,
        )  # fmt: skip
        if check and ran.returncode:
            raise AssertionError(
                f"mailserverctl {' '.join(arguments)}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
            )
        return ran


class _Named(ssl.SSLContext):
    """The client connects to an address, the certificate is for a name; as with a name in DNS."""

    def wrap_socket(self, sock: Any, **options: Any) -> ssl.SSLSocket:  # type: ignore[override]
        return super().wrap_socket(sock, **{**options, "server_hostname": HOST})


def until(get, good, timeout: float = 20):
    """`get()` again and again until `good` of it; for what no log line announces."""
    end = time.monotonic() + timeout
    while not good(value := get()):
        assert time.monotonic() < end, f"still {value!r}"
        time.sleep(0.02)
    return value
