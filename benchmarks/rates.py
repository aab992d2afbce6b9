"""Messages per second: our server beside plain Twisted, on the same file system, in interleaved runs.

Every letter is compared with what was sent; :class:`~benchmarks.measure.Wrong` when one is missing or differs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load import Load, Source
from benchmarks.measure import Bench
from benchmarks.report import Series, table
from benchmarks.subjects import Subject, ours, plain_twisted

# Messages per run: some two seconds each for the peer, so that the fifth of a second of a start is not the news.
_MESSAGES = {1: 600, 10: 2_000, 100: 2_000}
_TRACED = 200
LIMIT_SECONDS = 300

Results = dict[Load, dict[str, Series]]


def loads(quick: bool) -> list[Load]:
    """One message per connection, then many; 1, 10 and 100 connections at once."""
    share = 4 if quick else 1
    return [Load(count, kept, _MESSAGES[count] // share) for kept in (False, True) for count in _MESSAGES]


def measure(bench: Bench, subjects: Sequence[Subject], runs: int, quick: bool) -> Results:
    """All runs, interleaved: each load on each server in turn, then all of it again."""
    end = time.monotonic() + LIMIT_SECONDS
    results: Results = {load: {each.name: Series() for each in subjects} for load in loads(quick)}
    for run in range(runs):
        for load, servers in results.items():
            for subject in subjects if run % 2 == 0 else reversed(subjects):
                if time.monotonic() < end:
                    _say(f"run {run + 1} of {runs}: {subject.name}, {load}")
                    servers[subject.name].samples.append(bench.sample(load, subject))
    return results


def count_syncs(bench: Bench, subjects: Sequence[Subject], results: Results, directory: Path) -> None:
    """A short run of each under strace."""
    for load, servers in results.items():
        for subject in subjects:
            _say(f"counting syncs: {subject.name}, {load}")
            short = Load(load.connections, load.kept, _TRACED)
            servers[subject.name].syncs = bench.syncs(short, subject, directory / "strace")


def _say(words: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{words}")
        sys.stderr.flush()


def run(directory: Path, quick: bool, runs: int = 0) -> str:
    """Everything; answers the report."""
    runs = runs or (1 if quick else 3)
    source = Source()
    bench = Bench(source, source.reference(loads(quick)[0].octets))
    subjects: list[Subject] = []
    try:
        subjects.append(ours(directory))
        subjects.append(plain_twisted(directory))
        for subject in subjects:
            bench.sample(Load(10, True, 100), subject)  # the first of everything is slower
        results = measure(bench, subjects, runs, quick)
        count_syncs(bench, subjects, results, directory)
    finally:
        for subject in subjects:
            subject.stop()
    _say("")
    sent = f"{bench.compared:,} letters arrived, each with the octets that were sent, none twice"
    medians = f"messages of 4 KiB, medians of {runs} interleaved runs; differences under 20 % mean nothing"
    return "\n".join((medians, "", table(results, subjects[-1].name), "", sent))
