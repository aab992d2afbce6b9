"""The tree of a settings file that has mistakes, without them, so that what it says of files is judged, too.

Each mistake is taken out with the smallest part of the file that holds it, and its default stands in its place.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from mailserver.settings.model import Settings
from mailserver.settings.problem import Problem, SettingsError
from mailserver.settings.read import names_of, read_table

# A name that is wrong, then its table, then what refers to that.
_ROUNDS = 4
_ANY_HOST = "host.invalid"


def readable(text: str, instance: Path) -> Settings | None:
    """What is left of the settings in `text`, or None where nothing can be made of it. Plugins are left out."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError):
        return None
    table.pop("plugins", None)
    for _ in range(_ROUNDS):
        try:
            return read_table(table, instance)
        except SettingsError as error:
            for problem in error.problems:
                _take_out(table, problem)
    return None


def _take_out(table: dict[str, Any], problem: Problem) -> None:
    path = names_of(problem.key)
    if path == ("host_name",):
        table["host_name"] = _ANY_HOST
        return
    # What is missing is wrong in the table above it.
    while path and not _drop(table, path):
        path = path[:-1]


def _drop(table: Any, path: tuple[str, ...]) -> bool:
    for name in path[:-1]:
        table = table.get(_spelled(table, name)) if isinstance(table, dict) else None
    name = _spelled(table, path[-1]) if isinstance(table, dict) else ""
    return isinstance(table, dict) and table.pop(name, None) is not None


def _spelled(table: dict[str, Any], name: str) -> str:
    """The name as the file has it: domains are folded in the tree."""
    return next((each for each in table if each.lower() == name.lower()), name)
