"""What is wrong with settings, in words: one line for each problem, with everything needed to repair it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from mailserver.interfaces import MailServerError

_SHOWN = 80
_is_bare = re.compile("[A-Za-z0-9_-]+").fullmatch
_ESCAPES = {'"': '\\"', "\\": "\\\\"}


@dataclass(frozen=True)
class Problem:
    """One thing wrong: the key path, what was found (as it is written), what is allowed.

    With an empty `found`, `allowed` is a whole sentence. `file` is empty for settings made in code.
    """

    key: str
    found: str
    allowed: str
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        key = f"{self.key}: " if self.key else ""
        return where + key + (f"found {self.found}, allowed: {self.allowed}" if self.found else self.allowed)


class SettingsError(MailServerError):
    """Settings that cannot be used; ``problems`` has all that is wrong, and ``str()`` a line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def key_path(*parts: str) -> str:
    """Names joined by dots, as TOML writes them: ``routes."example.org".host``."""
    return ".".join(part if _is_bare(part) else quoted(part) for part in parts)


def quoted(text: str) -> str:
    """`text` as a TOML string on one line; what does not print is escaped."""
    return '"' + "".join(_ESCAPES.get(ch) or (ch if ch.isprintable() else _escape(ch)) for ch in text) + '"'


def _escape(character: str) -> str:
    point = ord(character)
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


def shown(value: object) -> str:
    """`value` as a settings file would have it, on one line and not too long."""
    if isinstance(value, (str, PurePath)):
        text = str(value)
        return quoted(text) if len(text) <= _SHOWN else quoted(text[:_SHOWN]) + "…"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return _cut("[" + ", ".join(shown(item) for item in value[:_SHOWN]) + "]")
    if isinstance(value, dict):
        return "a table"
    try:
        return _cut(str(value))
    except ValueError:  # an integer with thousands of digits
        return "a number too long to show"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
