"""Memory of sessions that do nothing: 10,000 in one process, and fewer under TLS, whose handshakes cost CPU.

What a process has in memory with them, less what it had before, through their number. While they sit there a
message goes through, and is timed. Each figure from a fresh process.
"""

from __future__ import annotations

import smtplib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.clients import holding
from benchmarks.machine import memory, open_as_many_as_allowed
from benchmarks.measure import Wrong
from benchmarks.subjects import RECIPIENT, Subject, ours, plain_twisted

SESSIONS = {"idle": 10_000, "tls": 2_000}
_MEANT = {"idle": 8, "tls": 60}
_NAMES = {"idle": "plain", "tls": "TLS"}
# What a process has open beside its sessions.
_OTHERS = 200
_SETTLE_SECONDS = 1.5
_SETTINGS = """\
host_name = "bench.test"
[listeners.mx]
role = "mx"
listen = ["127.0.0.1:{port}"]
tls = "starttls"
max_connections = MOST
max_connections_per_ip = 0
[certificates.default]
chain = "certificates/default.crt"
key = "certificates/default.key"
[log]
path = "log/mailserver.log"
"""


def run(directory: Path, quick: bool) -> str:
    """Both kinds on both servers; answers the report."""
    bound = open_as_many_as_allowed()
    settings = _SETTINGS.replace("MOST", str(min(bound - _OTHERS, 2 * SESSIONS["idle"])))
    lines = [f"each process may have {bound:,} descriptors open"]
    makers: tuple[Callable[[Path, str], Subject], ...] = (ours, _plain)
    for kind, wanted in SESSIONS.items():
        count = min(wanted // 4 if quick and kind == "tls" else wanted, bound - 2 * _OTHERS)
        words = [
            _measure(partial(make, directory / f"{kind}-{number}", settings), kind, count)
            for number, make in enumerate(makers)
        ]
        lines.append(
            f"{count:,} sessions, {_NAMES[kind]}: {'; '.join(words)} (we mean at most {_MEANT[kind]} KiB)"
        )
    return "\n".join(lines)


def _measure(make: Callable[[], Subject], kind: str, count: int) -> str:
    subject = make()
    try:
        with holding(kind, subject.port, 100):
            time.sleep(_SETTLE_SECONDS)  # the first of everything takes memory that stays
        before = memory(subject.pid)
        with holding(kind, subject.port, count):
            time.sleep(_SETTLE_SECONDS)
            each = (memory(subject.pid) - before) / count / 1024
            seconds = _message(subject)
    finally:
        subject.stop()
    return f"{subject.name} {each:.1f} KiB each, a message meanwhile {1000 * seconds:.0f} ms"


def _message(subject: Subject) -> float:
    """Send one message; answers the seconds from the connection to the end of it. Raises Wrong."""
    began, there = time.monotonic(), subject.letters()
    with smtplib.SMTP("127.0.0.1", subject.port, timeout=60) as client:
        client.sendmail("anna@source.test", [RECIPIENT], "Subject: hello\r\n\r\nhello\r\n")
    seconds = time.monotonic() - began
    deadline = time.monotonic() + 30
    while subject.letters() == there:
        if time.monotonic() > deadline:
            raise Wrong(f"{subject.name}: a message was taken and is not in the Maildir")
        time.sleep(0.01)
    return seconds


def _plain(directory: Path, _settings: str) -> Subject:
    # Our certificate, so that both pay for the same kind of key.
    instance = directory / "certificates"
    ours(instance).stop()
    files = instance / "instance" / "certificates"
    pem = directory / "both.pem"
    pem.write_bytes((files / "default.key").read_bytes() + (files / "default.crt").read_bytes())
    return plain_twisted(directory, str(pem))
