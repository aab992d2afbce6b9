"""docs/rfc.md names tests that exist, and a reason for whatever is not done."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.manual import ROOT

PAGE = ROOT / "docs/rfc.md"
STANDARDS = (
    "5321", "2920", "1870", "6152", "3030", "6531", "3461", "2034", "3207", "4954", "4616", "5802", "7677", "2033",
    "8314", "3463", "5248", "3848", "9422", "6409", "PROXY", "XCLIENT",
)  # fmt: skip
# What a reader may rely on has a test, or is a decision not to do something.
NEEDS_TEST, NEEDS_REASON = {"yes", "partly"}, {"partly", "no", "later"}


class Row(NamedTuple):
    line: int
    section: str
    requirement: str
    status: str
    remark: str
    tests: tuple[str, ...]


def rows(text: str) -> list[Row]:
    """Those of all tables; the heads of tables are none."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("| ") and not line.startswith("| section |"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == 5, f"line {number}: {len(cells)} cells"
            *facts, tests = cells
            named = tuple(re.findall(r"`([^`]+)`", tests))
            assert re.sub(r"`[^`]+`", "", tests).strip() == "", f"line {number}: {tests}"
            found.append(Row(number, *facts, named))
    return found


def wrong(row: Row) -> list[str]:
    """What is wrong with a row."""
    found = []
    if row.status not in NEEDS_TEST | NEEDS_REASON:
        found.append(f"the status {row.status!r} is none")
    if row.status in NEEDS_TEST and not row.tests:
        found.append("no test shows it")
    if row.status in NEEDS_REASON and len(row.remark) < 10:
        found.append(f"{row.status!r} without a reason")
    if not row.section or not row.requirement:
        found.append("an empty cell")
    return found + [f"there is no test {name}" for name in row.tests if not exists(name)]


def exists(name: str) -> bool:
    """Whether it is a test, ``tests/path.py::name`` or ``tests/path.py::Class::name``, or a script."""
    path, *names = name.split("::")
    if not path.startswith("tests/") or not (ROOT / path).is_file():
        return False
    return path.endswith(".smtp") if not names else tuple(names) in defined(ROOT / path)


def defined(path: Path) -> set[tuple[str, ...]]:
    """The tests of a module: functions, and methods behind their class."""
    if path not in _DEFINED:
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        body = ast.parse(path.read_text(encoding="utf-8")).body
        _DEFINED[path] = {(node.name,) for node in body if isinstance(node, functions)} | {
            (node.name, inner.name)
            for node in body if isinstance(node, ast.ClassDef)
            for inner in node.body if isinstance(inner, functions)
        }  # fmt: skip
    return _DEFINED[path]


_DEFINED: dict[Path, set[tuple[str, ...]]] = {}
ROWS = rows(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"line{row.line}")
def test_a_row_is_good(row: Row) -> None:
    assert wrong(row) == []


def test_the_page_is_whole() -> None:
    headings = " ".join(re.findall(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), re.M))
    assert [name for name in STANDARDS if name not in headings] == []
    assert len(ROWS) > 150


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("| §1 | x | yes | | |", "no test shows it"),
        ("| §1 | x | maybe | because of this | |", "the status 'maybe' is none"),
        ("| §1 | x | no | | |", "'no' without a reason"),
        ("| §1 | x | later | | |", "'later' without a reason"),
        ("| §1 | x | partly | | `tests/docs/test_rfc.py::test_a_row_is_good` |", "'partly' without a reason"),
        ("| §1 | x | yes | | `tests/docs/test_rfc.py::test_nothing` |", "there is no test "),
        ("| §1 | x | yes | | `tests/docs/test_rfc.py` |", "there is no test "),
        ("| §1 | x | yes | | `tests/smtp/test_none.py::test_a_row_is_good` |", "there is no test "),
        ("| §1 | x | yes | | `tests/dialogue/none.smtp` |", "there is no test "),
        ("| §1 | x | yes | | `mailserver/smtp/server.py::ServerCore` |", "there is no test "),
        ("| | x | yes | | `tests/dialogue/size.smtp` |", "an empty cell"),
    ],
)
def test_a_row_that_is_not(row: str, reason: str) -> None:
    (read,) = rows(row)
    assert any(told.startswith(reason) for told in wrong(read)), wrong(read)


def test_a_good_row_passes() -> None:
    name = "tests/docs/test_rfc.py::test_a_row_is_good"
    assert [wrong(row) for row in rows(f"| §1 | x | yes | | `{name}` `tests/dialogue/size.smtp` |")] == [[]]
