"""The test suites in the manual run as a user would run them, where only the wheel is installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.fresh import Fresh
from tests.docs.manual import blocks
from tests.harness.daemon import free_address
from tests.plugins.packages import PYPROJECT, files_of, write

# Written into one directory, page by page; the names are those of the blocks.
SUITES = {"docs/testing.md": ("test_sleeping_host.py", "shop.py", "test_shop.py", "test_my_spool.py")}

pytestmark = pytest.mark.daemon


def passed(fresh: Fresh, directory: Path) -> int:
    """How many tests of a directory pass; none may fail."""
    ran = fresh.run(directory, fresh.python, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = re.search(r"(\d+) passed", ran.stdout)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("page", SUITES)
def test_the_suites_of_the_manual(page: str, fresh: Fresh, tmp_path: Path) -> None:
    """The fixture `mailkit` is there by itself."""
    files = [block for block in blocks(page) if block.name in SUITES[page]]
    assert [block.name for block in files] == list(SUITES[page])
    for block in files:
        (tmp_path / block.name).write_text(block.text)
    tests = sum(block.text.count("def test_") for block in files)
    # One of them stands for four commands; the contract's own tests come on top.
    assert passed(fresh, tmp_path) > tests + 3 + 25


def test_the_check_of_the_manual(fresh: Fresh, tmp_path: Path) -> None:
    """Program 4: built, installed beside the wheel, tested, named in the settings, and asked by the server."""
    files = files_of("plugins.md")
    package = write(tmp_path / "acme-check", {"pyproject.toml": PYPROJECT, **files})
    fresh.install(package)
    assert passed(fresh, package) == 4
    instance = tmp_path / "instance"
    ctl = (str(fresh.venv / "bin/mailserverctl"), "--instance", str(instance))
    assert fresh.run(tmp_path, *ctl, "init", "--domain", "example.org", "--account", "anna").returncode == 0
    settings = instance / "mailserver.toml"
    settings.write_text(f"{settings.read_text().replace('127.0.0.1', free_address())}\n{files['mailserver.toml']}")
    checked = fresh.run(tmp_path, *ctl, "config", "check")
    assert checked.returncode == 0, checked.stderr
    shown = fresh.run(tmp_path, *ctl, "plugin", "show", "blocked-senders").stdout
    assert "Sender domains refused at MAIL." in shown
