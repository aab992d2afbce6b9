"""The daemon knows nothing of the console, and nothing else of ours knows twisted.web."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CONSOLE = ROOT / "mailserver/admin/console"
PROBE = """
import importlib, sys
importlib.import_module(sys.argv[1])
print(*sorted(name for name in sys.modules if name.startswith(("twisted.web", "mailserver.admin.console"))))
"""


@pytest.mark.parametrize("module", ["mailserver.service", "mailserver.relay", "mailserver.admin.cli"])
def test_the_daemon_and_the_command_line_import_nothing_of_it(module: str) -> None:
    argv = [sys.executable, "-c", PROBE, module]
    run = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.split() == []


def test_nothing_else_names_twisted_web_or_the_console() -> None:
    outside = [path for path in (ROOT / "mailserver").rglob("*.py") if CONSOLE not in path.parents]
    named = re.compile(r"^\s*(?:from|import) (?:twisted\.web|mailserver\.admin\.console)\b", re.MULTILINE)
    assert [path for path in outside if named.search(path.read_text())] == []
    assert [path for path in CONSOLE.glob("*.py") if named.search(path.read_text())] != []


def test_the_style_sheet_is_installed() -> None:
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert settings["options.package_data"]["mailserver.admin.console"] == "style.css"
    assert (CONSOLE / "style.css").is_file()
