"""The parts of the benchmarks: they measure what they say, and one can be chosen. No figure is judged."""

from __future__ import annotations

import smtplib
import subprocess
import sys

import pytest

from benchmarks import core, large
from benchmarks.__main__ import PARTS
from benchmarks.subjects import environment


def test_the_mix_is_accepted() -> None:
    mixes = [core.mix(number) for number in range(3)]
    assert {len(mix) for mix in mixes} == {8}
    assert core.commands_per_second(mixes) > 0


def test_a_refused_mix_is_no_figure() -> None:
    with pytest.raises(RuntimeError, match="refused"):
        core.commands_per_second([[b"MAIL FROM:<nobody\r\n"]])


def test_a_content_is_measured_to_its_end() -> None:
    whole = b"a line\r\n..\r\n.\r\n"
    assert core.mib_per_second([whole[:9], whole[9:]], len(whole)) > 0
    with pytest.raises(RuntimeError, match="refused"):
        core.mib_per_second([b"a bare\nline\r\n.\r\n"], 17)


def test_the_core_is_alone() -> None:
    """Importing what measures it brings no Twisted."""
    code = (
        "import sys, benchmarks.core; print(sorted(n for n in sys.modules if n.startswith(('twisted', 'zope'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, check=True)
    assert done.stdout.strip() == b"[]"


def test_the_sink_counts_what_it_takes() -> None:
    sink = large.Sink()
    with smtplib.SMTP("127.0.0.1", sink.port, timeout=30) as client:
        for _ in range(2):
            client.sendmail("a@a.test", ["b@b.test"], b"Subject: hi\r\n\r\n.\r\n" + b"x" * 200_000)
    sink.close()
    assert sink.messages == 2
    assert sink.octets > 400_000


@pytest.mark.parametrize("argument", ["--help", "nothing"])
def test_the_parts_are_named(argument: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", argument],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (0 if argument == "--help" else 2)
    for part in PARTS:
        assert part in done.stdout + done.stderr
