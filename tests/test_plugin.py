"""The twistd command: it is listed, and listing it does not import the server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
# What `twistd --help` does, and then which of our modules it needed.
PROBE = """
import sys
from twisted.scripts.twistd import run
sys.argv = ["twistd", "--help"]
try:
    run()
finally:
    print("\\nimported:", *sorted(name for name in sys.modules if name.startswith("mailserver")))
"""


def test_twistd_lists_the_command_without_importing_it() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    listed = [line.split() for line in result.stdout.splitlines()]
    assert any(words[:1] == ["mailserver"] for words in listed), result.stdout + result.stderr
    assert ["imported:"] in listed
