"""How long tests with the kit take.

Two figures. The real time of a retry schedule of five days, which we mean to be at most
:data:`MEANT_MILLISECONDS`, as the median of some runs in one process. And :data:`TESTS` tests under pytest on two
processes: in each a message is relayed at the second attempt, and in every tenth an application speaks SMTP to a
real port; a port that two tests wanted would fail one of them. Exits 1 when a test fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.subjects import ROOT
from mailserver.message.state import State
from mailserver.testing.kit import MailKit

MEANT_MILLISECONDS = 50
TESTS = 1_000
RUNS = 11
_SUITE = f"""
import smtplib
import pytest

@pytest.mark.parametrize("number", range({TESTS}))
def test_mail(mailkit, number):
    mailkit.account("alice@example.test")
    host = mailkit.host("mx.remote.test", serves="remote.test").answers("RCPT", "450 4.2.1 later", "250 2.1.5 ok")
    if number % 10:
        mailkit.submit("alice@example.test", ["bob@remote.test"], b"Subject: hi\\r\\n\\r\\nhi\\r\\n")
    else:
        port = mailkit.listen()
        with smtplib.SMTP(port.host, port.port, timeout=60) as smtp:
            smtp.sendmail("alice@example.test", ["bob@remote.test"], "Subject: hi\\r\\n\\r\\nhi\\r\\n")
    mailkit.advance(hours=1)
    assert len(host.messages) == 1
"""


def five_days() -> tuple[float, float]:
    """Real and CPU seconds for the whole schedule, up to the report that it came to nothing."""
    kit = MailKit()
    kit.account("alice@example.test")
    host = kit.host("mx.remote.test", serves="remote.test").answers("RCPT", "450 4.2.1 later")
    queue_id = kit.submit("alice@example.test", ["bob@remote.test"], b"Subject: hi\r\n\r\nhi\r\n").queue_id
    start, cpu = time.perf_counter(), time.process_time()
    kit.advance(days=5, hours=1)
    seconds = time.perf_counter() - start, time.process_time() - cpu
    assert kit.fate(queue_id)["bob@remote.test"].state is State.EXPIRED
    assert host.connections == kit.fate(queue_id)["bob@remote.test"].attempts
    kit.stop()
    return seconds


def suite(directory: Path) -> float:
    """Seconds for all tests on two processes. Raises SystemExit with what pytest said when one fails."""
    (directory / "test_kit.py").write_text(_SUITE)
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "-p",
        "mailserver.testing.plugin",
        "-p",
        "no:cacheprovider",
    ]
    start = time.perf_counter()
    run = subprocess.run(
        argv,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - start
    if run.returncode or f"{TESTS} passed" not in run.stdout:
        raise SystemExit(run.stdout + run.stderr)
    return seconds


def run(_directory: Path, quick: bool) -> str:
    """Measure, and say it."""
    real, cpu = zip(*(five_days() for _ in range(3 if quick else RUNS)), strict=True)
    figures = f"{1000 * median(real):.0f} ms, of which {1000 * median(cpu):.0f} ms of CPU"
    days = f"five days of retries in the test kit: {figures} (we mean at most {MEANT_MILLISECONDS} ms)"
    # Below no directory of ours: pytest would take the settings of the checkout there.
    with tempfile.TemporaryDirectory(prefix="mailserver-bench-") as directory:
        seconds = suite(Path(directory))
    tests = f"{TESTS:,} tests with the kit on two processes: {seconds:.1f} s, {TESTS // 10} of them on real ports"
    return f"{days}\n{tests}"
