"""The pytest plugin as a user's suite sees it."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FAILING = """
def test_mail(mailkit):
    mailkit.receive("bob@remote.test", ["nobody@example.test"], b"")
    assert False
def test_without_a_server(mailkit):
    assert False
def test_without_the_kit():
    import sys
    assert "mailserver.testing.kit" in sys.modules
"""


def run(directory: Path, *options: str) -> str:
    argv = [sys.executable, "-m", "pytest", "-p", "mailserver.testing.plugin", "-p", "no:cacheprovider", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        argv, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    return done.stdout + done.stderr


def test_a_failure_shows_the_log_of_its_kit(tmp_path: Path) -> None:
    (tmp_path / "test_failing.py").write_text(FAILING)
    said = run(tmp_path)
    assert "2 failed, 1 passed" in said
    assert said.count("mailkit log") == 1
    assert "recipient.refused" in said


def test_a_suite_without_mail_does_not_pay_for_it(tmp_path: Path) -> None:
    source = (
        "import sys\ndef test_it():\n    assert not {'twisted', 'mailserver.testing.kit'} & set(sys.modules)\n"
    )
    (tmp_path / "test_other.py").write_text(source)
    assert "1 passed" in run(tmp_path)


def test_the_fixture_says_what_it_is(tmp_path: Path) -> None:
    assert "mailkit -- " in run(tmp_path, "--fixtures")


def test_it_is_an_entry_point_named_like_its_module() -> None:
    """So that `pytest_plugins` in a conftest and the entry point are one plugin, and not the same one twice."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert (
        setup["options.entry_points"]["pytest11"].strip()
        == "mailserver.testing.plugin = mailserver.testing.plugin"
    )
