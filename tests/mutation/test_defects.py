"""Each deliberate defect in a copy of the package: the test that is named beside it must fail there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.defects import DEFECTS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A tree of links, but for the package, which is copied."""
    for name in ("tests", "pyproject.toml", "twisted", "benchmarks", "etc", "docs", "setup.cfg", "README.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "mailserver", tmp_path / "mailserver", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize("defect", DEFECTS, ids=[one.name for one in DEFECTS])
def test_a_defect_is_found(defect, copy: Path) -> None:
    file = copy / defect.file
    text = file.read_text()
    assert text.count(defect.old) == 1, f"the defect does not fit {defect.file} any more"
    file.write_text(text.replace(defect.old, defect.new))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", defect.test]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTEST_ADDOPTS": ""}
    ran = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    # 1: tests ran and failed. Anything else (no test, no import) would prove nothing.
    assert ran.returncode == 1, ran.stdout[-2000:] + ran.stderr[-2000:]
    assert " failed" in ran.stdout
