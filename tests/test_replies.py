"""The catalogue of replies: what is said stands in it, once, with its meaning."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mailserver.reception import refusals
from mailserver.smtp import replies
from mailserver.smtp.reply import Reply

PACKAGE = Path(__file__).parent.parent / "mailserver"
MODULES = (replies, refusals)
# Who makes a reply of other words than ours, or one that is only read: the type itself, EHLO's list of what is
# offered, an application's and a check's own words, what another server said.
OTHERS = {
    "smtp/reply.py", "smtp/limits.py", "smtp/clientreplies.py", "reception/asking.py", "reception/pipeline.py",
    "testing/overlay.py",
}  # fmt: skip


def constants() -> Iterator[tuple[str, Reply]]:
    """Every constant by its name; what reception shares with the core comes once."""
    for module in MODULES:
        for name, one in vars(module).items():
            if isinstance(one, Reply) and not (module is refusals and one in vars(replies).values()):
                yield f"{module.__name__}.{name}", one


def functions() -> Iterator[tuple[str, object]]:
    for module in MODULES:
        for name, made in inspect.getmembers(module, inspect.isfunction):
            if made.__module__ == module.__name__:
                yield f"{module.__name__}.{name}", made


ALL = dict(constants())
MADE = dict(functions())


@pytest.mark.parametrize("name", ALL)
def test_each_has_a_meaning(name: str) -> None:
    one = ALL[name]
    assert re.fullmatch(r"[^\n]{10,200}[.]|.{10,200}\)[.]", one.meaning), one
    assert one.status is None or one.status.klass == one.code // 100
    assert b"mailserver" not in one.wire.lower()


@pytest.mark.parametrize("name", MADE)
def test_what_is_composed_is_named_by_its_parameters(name: str) -> None:
    made = MADE[name]
    assert callable(made)
    parameters = inspect.signature(made).parameters
    one = made(**{parameter: f"<{parameter}>" for parameter in parameters})
    assert isinstance(one, Reply)
    assert all(f"<{parameter}>" in str(one) for parameter in parameters)
    assert inspect.getdoc(made)


def test_each_reason_has_a_reply_of_its_own() -> None:
    said: dict[tuple[int, tuple[str, ...]], str] = {}
    for name, one in ALL.items():
        assert said.setdefault((one.code, one.lines), name) == name


def uses(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def test_each_is_said_somewhere() -> None:
    used = {name for path in PACKAGE.rglob("*.py") for name in uses(path)}
    assert {name.rpartition(".")[2] for name in [*ALL, *MADE]} - used == set()


def compositions(path: Path) -> list[int]:
    """The lines on which a reply is composed."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("reply", "Reply"):
            found.append(node.lineno)
    return found


def homes() -> set[str]:
    modules: tuple[ModuleType, ...] = MODULES
    return {str(Path(module.__file__ or "").relative_to(PACKAGE)) for module in modules}


def test_nothing_is_said_that_is_not_in_it() -> None:
    composing = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if compositions(path)}
    assert homes() <= composing
    assert composing - homes() - OTHERS == set()
