"""A plugin's table, ``[plugins.NAME]``: one word of ours, and the plugin's own options.

The options type comes from the caller of `mailserver.settings.read.read`, which gets a function from a name
to a type (`OptionTypes`): nothing is imported here. A type that fits (:func:`misfit`) is a frozen dataclass whose
fields are all declared by :func:`~mailserver.settings.options.option`; :func:`options_from` makes one from a
table, or says everything that is wrong with it. A value of it is only ever made of values that are right.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailserver.interfaces import MailServerError
from mailserver.settings.options import Section, conform, entries, option, problems, types_of
from mailserver.settings.problem import Problem

_KINDS = (bool, int, float, str, Path)
OUR_WORD = "optional"


class BrokenPlugin(MailServerError):
    """A plugin that cannot be used. The text is one sentence, and names it."""


OptionTypes = Callable[[str], type | None]
"""The options type of the plugin with a name, None where it has none. Raises BrokenPlugin."""


@dataclass(frozen=True, kw_only=True)
class Plugin(Section):
    """A part of the server from another package: ``[plugins.NAME]``, where NAME is its entry point in the group
    ``mailserver``. Its own options stand beside these: ``mailserverctl plugin show NAME``."""

    name: str = ""
    optional: bool = option(
        default=False, doc="true: where it is broken, the server starts without it and the log says why."
    )
    options: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if dataclasses.is_dataclass(self.options):
            conform(self.options)


def misfit(kind: Any) -> str:
    """What keeps `kind` from being an options type, as the rest of a sentence; "" where nothing does."""
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
        return "is no dataclass"
    if not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]  # every dataclass has it
        return "is not frozen: write @dataclass(frozen=True)"
    try:
        wrong = [_misfit_of(item.name, kind) for item in dataclasses.fields(kind)]
    except Exception as error:
        return f"has types that cannot be read ({type(error).__name__}: {error})"
    return next(filter(None, wrong), "")


def _misfit_of(name: str, kind: Any) -> str:
    if name == OUR_WORD:
        return f"has a field {OUR_WORD}, which is the server's own word in the table of a plugin"
    if name not in entries(kind):
        return f"has a field {name} that is not declared by option(...)"
    one = types_of(kind)[name][0]
    if one not in _KINDS and not hasattr(one, "parse"):
        return f"has a field {name} of a type that no settings file can hold ({one})"
    return ""


def options_from(kind: type, at: str, table: Mapping[str, Any]) -> tuple[Any, list[Problem]]:
    """The options in `table`, and everything wrong with it; a draft is judged before the type's own code runs."""
    draft: Any = object.__new__(kind)
    for name, entry in entries(kind).items():
        object.__setattr__(draft, name, table.get(name, None if entry.required else entry.default))
    conform(draft)
    if wrong := list(problems(draft, at)):
        return None, wrong
    try:
        return kind(**{name: getattr(draft, name) for name in entries(kind)}), []
    except Exception as error:  # what the type's own __post_init__ asks for
        return None, [Problem(at, "", " ".join(str(error).split()) or type(error).__name__)]
