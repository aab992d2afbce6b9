"""House rules that a program can read: sizes, nothing for later, no path of somebody's machine."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "mailserver").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
SKIPPED = {".git", ".venv", ".peers", "build", "dist", "instance", "__pycache__", "node_modules"}
CACHES = {".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}
LATER = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b")
# Directories in which people and build machines keep their checkouts.
MACHINE = re.compile(r"(?<![\w.{}$/~-])/(?:ho" r"me/[a-z]|wo" r"rk/|Us" r"ers/|ro" r"ot/|tm" r"p/(?:venv|pf)\b)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length in lines of every function, decorators and docstring left out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            length = 1 + (node.end_lineno or 0) - body[0].lineno + 1 if body else 1
            yield node.name, length


def committed() -> Iterator[Path]:
    for path in ROOT.rglob("*"):
        parts = set(path.relative_to(ROOT).parts)
        if path.is_file() and not parts & (SKIPPED | CACHES) and not any(p.endswith(".egg-info") for p in parts):
            yield path


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_sizes(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 450
    assert [(name, length) for name, length in functions(path) if length > 60] == []


def test_the_medians() -> None:
    lengths = [length for path in SOURCES for _, length in functions(path)]
    assert statistics.median(lengths) <= 10
    assert sorted(lengths)[len(lengths) * 9 // 10] <= 30
    assert statistics.median(len(path.read_text().splitlines()) for path in SOURCES) <= 200


def test_nothing_is_left_for_later_and_no_machine_is_named() -> None:
    found = []
    for path in committed():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if LATER.search(line) or MACHINE.search(line):
                found.append(f"{name_of(path)}:{number}: {line.strip()}")
    assert found == []


@pytest.mark.parametrize("word", ["utils", "helpers", "common", "misc", "base"])
def test_no_file_is_named_after_nothing(word: str) -> None:
    assert [name_of(path) for path in SOURCES if path.stem == word or word in path.parent.parts[-1:]] == []


def test_every_module_opens_with_its_manual_page() -> None:
    silent = [name_of(path) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("see /" + "work/main", True),
        ("/" + "home/ann/x", True),
        ("https://x.org/home/a", False),
        ("~/work/", False),
    ],
)
def test_a_path_of_a_machine_is_recognised(line: str, found: bool) -> None:
    assert bool(MACHINE.search(line)) is found
