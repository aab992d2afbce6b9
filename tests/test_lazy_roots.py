"""Importing a package costs nothing: each root alone, in its own process, and what it brought into sys.modules."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOTS = sorted(
    ".".join(path.relative_to(ROOT).parent.parts) for path in (ROOT / "mailserver").rglob("__init__.py")
)
PROBE = """
import importlib, json, sys
importlib  # the one module that a lazy root needs
before = set(sys.modules)
importlib.import_module(sys.argv[1])
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def brought(name: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", PROBE, name], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(run.stdout)


@pytest.mark.parametrize("root", ROOTS)
def test_a_root_imports_nothing_else(root: str) -> None:
    parts = root.split(".")
    expected = {".".join(parts[: n + 1]) for n in range(len(parts))}
    assert [name for name in brought(root) if name != "__future__"] == sorted(expected)


@pytest.mark.parametrize("root", ROOTS)
def test_every_public_name_is_there(root: str) -> None:
    module = importlib.import_module(root)
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        module.nonsense  # noqa: B018 (the look-up is the test)


@pytest.mark.parametrize("root", ROOTS)
def test_type_checkers_see_the_same_names(root: str) -> None:
    """`if TYPE_CHECKING:` has one `from … import NAME as NAME` for each name, from where it really comes."""
    module = importlib.import_module(root)
    source = ast.parse(Path(module.__file__).read_text())
    (block,) = (node for node in source.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        assert [name.asname for name in node.names] == [name.name for name in node.names]
        seen |= {name.name: node.module for name in node.names}
    homes = {name: f"{root}.{home}" for name, home in module._HOME.items()}
    if root == "mailserver.message":
        homes["Status"] = "mailserver.smtp.status"
    assert seen == homes


def test_the_queue_side_imports_nothing_of_reception() -> None:
    assert [name for name in brought("mailserver.relay") if name.startswith("mailserver.reception")] == []
