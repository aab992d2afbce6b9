"""What slow senders cost a fast one: 200 contents, an octet a second each, beside one client at full speed."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from benchmarks.clients import holding
from benchmarks.load import Load, Source
from benchmarks.measure import Bench
from benchmarks.subjects import ours

SENDERS = 200
_MESSAGES = 400
_RUNS = 3


def run(directory: Path, quick: bool) -> str:
    """Runs without them and with them in turn; answers the report."""
    (directory / "slow").mkdir()
    source = Source()
    load = Load(1, True, _MESSAGES // 4 if quick else _MESSAGES)
    bench = Bench(source, source.reference(load.octets))
    subject = ours(directory / "slow")
    alone: list[float] = []
    beside: list[float] = []
    try:
        bench.sample(load, subject)
        for _ in range(_RUNS):
            alone.append(_rate(bench.sample(load, subject).answered, load))
            with holding("slow", subject.port, SENDERS):
                beside.append(_rate(bench.sample(load, subject).answered, load))
    finally:
        subject.stop()
    before, after = median(alone), median(beside)
    return (
        f"a fast sender alone {before:,.0f} messages/s, beside {SENDERS} that send an octet a second "
        f"{after:,.0f}: {after / before:.2f} of it (1 is meant; medians of {_RUNS} runs)"
    )


def _rate(seconds: float, load: Load) -> float:
    return load.messages / seconds
