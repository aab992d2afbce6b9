"""``python -m tests.fuzz``: the targets under atheris, for a bounded time each (``make fuzz``).

Each runs in a process of its own. What it finds stands in ``crash-…`` in the current directory, and makes the
whole end with 1: mend it, and put the octets into the corpus, where the tests play them for good.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from tests.fuzz.targets import CORPUS, TARGETS


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("target", nargs="*", metavar="TARGET", help=f"one of {', '.join(TARGETS)}; none: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return _fuzz(options.inside, options.seconds)
    if unknown := set(options.target) - set(TARGETS):
        parser.error(f"there is no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    bad = []
    for name in options.target or TARGETS:
        print(f"{name}: {options.seconds} s", flush=True)
        command = [sys.executable, "-m", "tests.fuzz", "--inside", name, "--seconds", str(options.seconds)]
        if subprocess.run(command, check=False).returncode:
            bad.append(name)
    print(f"something was found in {', '.join(bad)}" if bad else "nothing was found")
    return bool(bad)


def _fuzz(name: str, seconds: int) -> int:
    import atheris

    with atheris.instrument_imports(include=["mailserver"]):
        module = import_module(TARGETS[name])
    with tempfile.TemporaryDirectory() as grown:
        arguments = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=2048"]
        dictionary = Path(__file__).with_name("smtp.dict")
        arguments += ["-print_final_stats=1", "-verbosity=0", f"-dict={dictionary}", grown, str(CORPUS / name)]
        atheris.Setup([sys.argv[0], *arguments], module.run)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
