"""`make bench`: what the server can do, beside plain Twisted where there is something to compare.

``python -m benchmarks [PART ...] [--quick] [--runs N] [--directory DIR]``; without a part all of them, some seven
minutes. ``--quick`` is for a first look only. Exits 1 when what arrived is not what was sent.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import idle, kit, large, rates, slow
from benchmarks.machine import file_system
from benchmarks.measure import Wrong
from benchmarks.subjects import ROOT, environment

PARTS = {
    "rates": "messages per second, answered and in the Maildir, beside plain Twisted (needs make peers)",
    "idle": "memory of sessions that do nothing, plain and under TLS, beside plain Twisted",
    "slow": "what slow senders cost a fast one (needs make peers)",
    "large": "memory that a message of 100 MiB takes",
    "core": "the protocol alone, without Twisted: commands and content per second",
    "kit": "how long tests with the test kit take",
}


def _core(_directory: Path, quick: bool) -> str:
    """In a process of its own, into which nothing has brought Twisted."""
    argv = [sys.executable, "-m", "benchmarks.core", *(["--quick"] if quick else [])]
    done = subprocess.run(argv, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.rstrip()


def _options() -> argparse.Namespace:
    parts = "\n".join(f"  {name:8}{what}" for name, what in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="benchmarks",
        description=f"What the server can do. The parts:\n{parts}",
        epilog='With make, arguments go into BENCH: make bench BENCH="idle large --quick"',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="which parts; without any, all")
    parser.add_argument("--quick", action="store_true", help="less of everything, one run of each")
    parser.add_argument("--runs", type=int, default=0, help="runs of each load of rates (3)")
    parser.add_argument("--directory", type=Path, help="where to work; by default beside the checkout")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


def main() -> None:
    """The command line."""
    options = _options()
    beside = ROOT.parent if os.access(ROOT.parent, os.W_OK) else ROOT
    directory = Path(tempfile.mkdtemp(prefix="mailserver-bench-", dir=options.directory or beside))
    run: dict[str, Callable[[Path, bool], str]] = {
        "rates": partial(rates.run, runs=options.runs),
        "idle": idle.run,
        "slow": slow.run,
        "large": large.run,
        "core": _core,
        "kit": kit.run,
    }
    busy = os.getloadavg()[0]  # what others do while we measure is in every rate
    print(f"{os.cpu_count()} CPUs, load {busy:.1f}, Python {platform.python_version()}, {file_system(directory)}")
    try:
        for part in PARTS:
            if not options.parts or part in options.parts:
                print(f"\n{part}: {run[part](directory, options.quick)}", flush=True)
    except Wrong as wrong:
        raise SystemExit(f"what arrived is not what was sent: {wrong}") from None
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
