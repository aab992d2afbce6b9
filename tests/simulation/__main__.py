"""``python -m tests.simulation``: many seeds (``make simulate``), or with ``--seed N`` the story of one.

The queue as it is in production, five days of retries in a few milliseconds, with everything that can go wrong.
Every seed that breaks an invariant is named, the first is told, and the whole ends with 1.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from multiprocessing import Pool
from time import monotonic

from tests.simulation.run import Ran, simulate

# Of the seeds that fail, so many tell their story; all are named.
_TOLD = 1
_EVERY = 500


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=(__doc__ or "").split("\n\n")[1]
    )
    parser.add_argument("--seed", type=int, help="play this one, and tell its story")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many (default: 10000)")
    parser.add_argument("--start", type=int, default=0, help="the first of them (default: 0)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at once (default: one a core)")
    options = parser.parse_args()
    if options.seed is not None:
        return _one(options.seed)
    return _many(range(options.start, options.start + options.seeds), options.processes)


def _one(seed: int) -> int:
    ran = simulate(seed)
    print(ran.told())
    print(f"seed {seed}: {ran.days:.2f} days, {ran.lives} lives; " + (", ".join(ran.wrongs) or "all is well"))
    return bool(ran.wrongs)


def _many(seeds: Iterable[int], processes: int) -> int:
    began, bad, days, lives, count = monotonic(), [], 0.0, 0, 0
    with Pool(processes) as pool:
        for wrongs, seed, its_days, its_lives in pool.imap_unordered(_played, seeds, chunksize=20):
            count, days, lives = count + 1, days + its_days, lives + its_lives
            if wrongs:
                bad.append(seed)
                print(f"seed {seed}: {'; '.join(wrongs)}", flush=True)
            if count % _EVERY == 0:
                print(f"{count} seeds, {monotonic() - began:.0f} s, {len(bad)} bad", flush=True)
    print(f"{count} seeds, {days / 365:.1f} years, {lives} lives, {monotonic() - began:.0f} s, {len(bad)} bad")
    for seed in sorted(bad)[:_TOLD]:
        print(f"\nThe story of seed {seed} (python -m tests.simulation --seed {seed}):\n{simulate(seed).told()}")
    return bool(bad)


def _played(seed: int) -> tuple[list[str], int, float, int]:
    ran: Ran = simulate(seed)
    return list(ran.wrongs), seed, ran.days, ran.lives


if __name__ == "__main__":
    sys.exit(main())
