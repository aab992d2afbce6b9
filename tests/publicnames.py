"""What programs may import, frozen in tests/data/public_names.txt: ``python -m tests.publicnames`` writes it anew.

Public are the names that a package exports (its ``__all__``), and those of the modules directly in `mailserver`
but for :data:`INTERNAL`.
A line is a module and a name, with parameters where it is called (``=`` where one has a default); a class has a
further line for each of its public members.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

from zope.interface.interface import InterfaceClass

ROOT = Path(__file__).parent.parent
# They lie there because they compose the others; no program needs them.
INTERNAL = {"daemon", "portals", "preflight"}
FILE = ROOT / "tests/data/public_names.txt"


def modules() -> list[str]:
    """The public modules: every package, and what lies directly in `mailserver`."""
    source = ROOT / "mailserver"
    packages = [path.parent for path in source.rglob("__init__.py")]
    single = [path.with_suffix("") for path in source.glob("*.py") if path.stem not in INTERNAL | {"__init__"}]
    return sorted(".".join(path.relative_to(ROOT).parts) for path in [*packages, *single])


def names_of(module: ModuleType) -> list[str]:
    """Its exports, else what it defines itself."""
    exported = getattr(module, "__all__", None)
    if exported is not None:
        return sorted(exported)
    home = module.__name__
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (getattr(value, "__module__", None) == home if callable(value) else name.isupper())
    )


def lines() -> Iterator[str]:
    """The file."""
    for home in modules():
        module = importlib.import_module(home)
        for name in names_of(module):
            yield from _described(f"{home}.{name}", getattr(module, name))


def _described(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, InterfaceClass):
        yield name
        for member in sorted(value.names(all=True)):
            method = value[member]
            shown = method.getSignatureString() if hasattr(method, "getSignatureString") else ""
            yield f"  {member}{shown}"
    elif inspect.isclass(value):
        yield name + ("" if issubclass(value, Enum) else _parameters(value))
        yield from _members(value)
    elif inspect.isfunction(value):
        yield name + _parameters(value)
    else:
        yield name


def _members(kind: type) -> Iterator[str]:
    """Of the class and those of our own that it inherits from."""
    found: dict[str, Any] = {}
    for one in reversed(kind.__mro__):
        if one.__module__.startswith("mailserver"):
            found |= dict.fromkeys(getattr(one, "__annotations__", {}))
            found |= vars(one)
    for name in sorted(found):
        value = found[name]
        if not name.startswith("_"):
            inner = getattr(value, "__func__", value)
            yield f"  {name}{_parameters(inner) if inspect.isfunction(inner) else ''}"


def _parameters(value: Any) -> str:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    shown, starred = [], False
    for one in signature.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not starred:
            shown.append("*")
        starred = starred or one.kind in (one.KEYWORD_ONLY, one.VAR_POSITIONAL)
        mark = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
        shown.append(f"{mark}{one.name}{'' if one.default is one.empty else '='}")
    return f"({', '.join(name for name in shown if name not in ('self', 'cls'))})"


def text() -> str:
    return "".join(f"{line}\n" for line in lines())


if __name__ == "__main__":
    FILE.write_text(text())
