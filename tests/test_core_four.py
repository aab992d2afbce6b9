"""The core runs with four packages: Twisted[tls], zope.interface, cryptography, bcrypt, and what these require.

Each module is imported in a process where every other installed distribution is out of reach.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOUR = ("twisted[tls]", "zope.interface", "cryptography", "bcrypt")
PROBE = """
import importlib, importlib.abc, sys
blocked = set(sys.argv[2].split(","))
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is not one of the four packages", name=name)
sys.meta_path.insert(0, Block())
for module in sys.argv[1].split(","):
    importlib.import_module(module)
"""


def core_modules() -> list[str]:
    """Every module but the console and the settings editor, whose libraries are extras."""
    paths = sorted((ROOT / "mailserver").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    extras = ("mailserver.admin.console", "mailserver.settings.edit", "mailserver.testing")
    return [name for name in names if not name.startswith(extras) and not name.endswith("__main__")]


def required(requirement: str, seen: set[str]) -> set[str]:
    """The normalised names of the distribution and all that it requires, extras followed."""
    found = re.match(r"([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?", requirement)
    assert found
    name = re.sub(r"[-_.]+", "-", found[1]).lower()
    extras = {extra.strip() for extra in (found[2] or "").split(",") if extra.strip()}
    if f"{name}[{sorted(extras)}]" in seen:
        return seen
    seen |= {name, f"{name}[{sorted(extras)}]"}
    try:
        needs = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return seen  # for another platform
    for need in needs:
        wanted = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", need)
        if wanted is None or wanted[1] in extras:
            required(need, seen)
    return seen


def blocked() -> set[str]:
    allowed: set[str] = {"mailserver"}
    for requirement in FOUR:
        required(requirement, allowed)
    tops = importlib.metadata.packages_distributions()
    return {
        top
        for top, names in tops.items()
        if top.isidentifier() and not {re.sub(r"[-_.]+", "-", name).lower() for name in names} & allowed
    }


def run(modules: list[str], without: set[str]) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", PROBE, ",".join(modules), ",".join(sorted(without))]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)


def test_the_core_imports_with_the_four_packages_alone() -> None:
    result = run(core_modules(), blocked())
    assert result.returncode == 0, result.stderr


def test_the_others_are_really_out_of_reach() -> None:
    assert {"pytest", "hypothesis"} <= blocked()
    assert not {"twisted", "OpenSSL", "idna", "zope", "bcrypt", "cryptography"} & blocked()
    assert "not one of the four" in run(["hypothesis"], blocked()).stderr


@pytest.mark.parametrize("requirement", FOUR)
def test_the_four_are_what_setup_cfg_requires(requirement: str) -> None:
    name = requirement.partition("[")[0]
    lines = [line.strip().lower() for line in (ROOT / "setup.cfg").read_text().splitlines()]
    assert any(line.startswith(name) and ">=" in line for line in lines)
