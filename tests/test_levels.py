"""Imports point down only: the table of levels in docs/architecture.md, read from the source by `ast`.

Every import counts, also inside functions and under TYPE_CHECKING: a type that points up is a dependency too.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mailserver"

LEVELS = {
    "smtp": 0,
    "message": 1,
    "authenticity": 1,
    "settings": 1,
    "interfaces": 1,
    "clock": 1,  # the system's clock as a value of IClock
    "net": 2,
    "statestore": 2,
    "log": 2,
    "metrics": 2,
    "trail": 2,
    "threads": 2,  # Twisted's pools as a value of IThreads
    "reception": 3,
    "accounts": 3,
    "spool": 3,
    "queue": 3,
    "transport": 3,
    "relay": 4,
    "plugins": 4,
    "portals": 4,
    "daemon": 4,
    "preflight": 4,
    "server": 4,
    "service": 4,
    "admin": 4,
    "testing": 4,
}
VALUES = {"zope", "cryptography"}
MACHINERY = VALUES | {"twisted", "OpenSSL"}
MAIL = MACHINERY | {"bcrypt"}
OUTSIDE = {0: set(), 1: VALUES, 2: MACHINERY, 3: MAIL, 4: MAIL}
# One module's own permission: nobody else in its package has it.
# idna and service_identity come with Twisted[tls], as pyOpenSSL does.
# What of the test kit needs pytest is a plugin and base classes for it.
EXTRA = {
    "smtp.address": {"idna"},
    "settings.edit": {"tomlkit"},
    "net.tls": {"service_identity"},
    "testing.plugin": {"pytest"},
    "testing.contracts.spool": {"pytest"},
}
# The language never waits, never looks at a clock, never touches the system.
NOT_IN_THE_LANGUAGE = {"socket", "ssl", "select", "selectors", "asyncio", "time", "threading", "os"}


def modules() -> list[str]:
    return sorted(
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "__init__.py"
    )


def imports_of(path: Path, package: tuple[str, ...]) -> set[str]:
    """The dotted names that the file imports, relative ones made absolute."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join([*base, *([node.module] if node.module else [])])
            # `from mailserver import spool` names a package by its last word.
            found.update(f"{source}.{alias.name}" if source == "mailserver" else source for alias in node.names)
    return found


def violations(module: str, imported: set[str]) -> list[str]:
    """What of `imported` the module may not import, in words."""
    home = module.split(".", maxsplit=1)[0]
    level = LEVELS[home]
    wrong = []
    for name in sorted(imported):
        top, *rest = name.split(".")
        if top == "mailserver":
            target = rest[0] if rest else ""
            # Names of mailserver/__init__.py (exceptions) live in interfaces.
            wrong += _ours(module, home, level, target if target in LEVELS else "interfaces")
        elif top in sys.stdlib_module_names:
            if level == 0 and top in NOT_IN_THE_LANGUAGE:
                wrong.append(f"{module} imports {name}: the language does no I/O")
            if top == "sqlite3" and level < 3:
                wrong.append(f"{module} imports sqlite3 below level 3")
        elif top not in OUTSIDE[level] | EXTRA.get(module, set()):
            wrong.append(f"{module} (level {level}) imports {name}")
    return wrong


def _ours(module: str, home: str, level: int, target: str) -> list[str]:
    if target == home:
        return []
    if LEVELS[target] > level:
        return [f"{module} (level {level}) imports mailserver.{target} (level {LEVELS[target]})"]
    if level == 3 and LEVELS[target] == 3:
        return [f"{module} imports mailserver.{target}: packages of level 3 meet through interfaces"]
    if level == 0:
        return [f"{module} imports mailserver.{target}: the language knows nothing else of ours"]
    return []


@pytest.mark.parametrize("module", modules())
def test_imports_point_down(module: str) -> None:
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    package = ("mailserver", *module.split(".")[:-1])
    assert module.split(".", maxsplit=1)[0] in LEVELS, f"{module} has no level"
    assert violations(module.removesuffix(".__init__"), imports_of(path, package)) == []


def test_the_package_and_the_plugin_import_nothing_of_ours() -> None:
    # What stands under TYPE_CHECKING are the public names, which tests/test_lazy_roots.py compares.
    foreign = {name for name in imports_of(PACKAGE / "__init__.py", ("mailserver",)) if "." not in name}
    assert foreign == {"__future__", "importlib"}
    plugin = ROOT / "twisted/plugins/mailserver_plugin.py"
    assert imports_of(plugin, ()) == {"twisted.application.service"}
    assert not list((ROOT / "twisted").rglob("__init__.py"))


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("smtp.server", "twisted.internet.defer"),
        ("smtp.server", "time"),
        ("smtp.server", "mailserver.message.envelope"),
        ("smtp.command", "idna"),
        ("message.envelope", "twisted.python"),
        ("message.envelope", "mailserver.net.server"),
        ("interfaces", "sqlite3"),
        ("net.server", "mailserver.reception.session"),
        ("net.server", "bcrypt"),
        ("spool.sqlite", "mailserver.queue.manager"),
        ("queue.manager", "mailserver.service"),
        ("reception.session", "mailserver.accounts"),
        ("transport.smtp", "aiosmtpd"),
        ("settings.read", "tomlkit"),
    ],
)
def test_a_wrong_import_is_found(module: str, imported: str) -> None:
    assert violations(module, {imported}) != []


def test_relative_and_guarded_imports_are_read(tmp_path: Path) -> None:
    source = tmp_path / "manager.py"
    source.write_text(
        "from typing import TYPE_CHECKING\nfrom . import schedule\nfrom ..spool import sqlite\n"
        "from mailserver import service\n"
        "if TYPE_CHECKING:\n    from mailserver.reception.session import Session\n"
        "def f():\n    import mailserver.admin\n"
    )
    assert imports_of(source, ("mailserver", "queue")) == {
        "typing",
        "mailserver.queue",
        "mailserver.spool",
        "mailserver.service",
        "mailserver.reception.session",
        "mailserver.admin",
    }
