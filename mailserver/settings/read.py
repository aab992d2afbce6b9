"""From the text of ``mailserver.toml`` to the tree.

The caller reads the file: :func:`decode` makes text of its octets, :func:`read` makes :class:`Settings` of the
text. Both raise only :class:`SettingsError`, with every problem at once: wrong syntax, unknown names (with the
nearest known one), missing names, values of a wrong type or outside their bounds, and what does not fit
together. Types are never coerced: ``"25"`` is no number and ``1`` is not true.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mailserver.settings.check import TABLES_OF_TABLES
from mailserver.settings.forms import HostPort
from mailserver.settings.model import Settings
from mailserver.settings.options import entries, types_of
from mailserver.settings.plugin import OUR_WORD, BrokenPlugin, OptionTypes, Plugin, options_from
from mailserver.settings.problem import Problem, SettingsError, key_path, shown

MAX_OCTETS = 1_048_576
"""A longer file is no settings file."""

_SYNTAX = re.compile(
    r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL
)
_TWICE = re.compile(r"Cannot declare \((.*)\) twice", re.DOTALL)
_FRIENDLY = MappingProxyType(
    {
        "Cannot overwrite a value": "this name stands twice in its table; keep one of the two",
        "Invalid value": "this is no value: texts stand in quotes, true and false are in small letters",
        "Expected '=' after a key in a key/value pair": "a line is NAME = VALUE, or begins a table: [NAME]",
        "Expected newline or end of document after a statement": "one NAME = VALUE stands on a line; texts are in"
        " quotes, and a comment begins with #",
    }
)
_UNFINISHED = "a value is missing, or a quote or bracket is not closed"
_NAMED_BY = {"listeners": "name", "certificates": "name", "routes": "domain", "plugins": "name"}


def decode(octets: bytes, file: str) -> str:
    """The text of a settings file: UTF-8, a byte order mark taken off. Raises SettingsError."""
    if len(octets) > MAX_OCTETS:
        raise SettingsError(
            [Problem("", f"{len(octets)} octets", f"a settings file of at most {MAX_OCTETS}", file)]
        )
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        found = f"an octet 0x{octets[error.start]:02x} that is no UTF-8"
        raise SettingsError([Problem("", found, "a text file in UTF-8", file, line)]) from None


def read(text: str, file: str, instance: Path, option_types: OptionTypes | None = None) -> Settings:
    """The settings in `text`; `file` is its name in messages. Raises SettingsError.

    `option_types` answers the options type of a plugin by its name; without it the tables of plugins are not
    judged, and their options stay None: for whoever only looks, and runs no plugin.
    """
    table = _parse(text, file)
    try:
        return read_table(table, instance, option_types)
    except SettingsError as error:
        raise SettingsError(_placed(error.problems, text, file)) from None


def read_table(table: Mapping[str, Any], instance: Path, option_types: OptionTypes | None = None) -> Settings:
    """The same for a file that is parsed already. Raises SettingsError, whose problems have no place."""
    reader = _Reader(option_types)
    given = reader.whole(table)
    try:
        settings = Settings(instance=instance, **given)
    except SettingsError as error:
        reader.problems += error.problems
    else:
        reader.problems += _any_ports(settings)
        if not reader.problems:
            return settings
    raise SettingsError(reader.problems)


def _any_ports(settings: Settings) -> Iterator[Problem]:
    """Port 0 is for programs, which can ask where they listen; nobody could find a server of a file there."""
    for listener in settings.listeners:
        for text in listener.listen:
            if HostPort.parse(text).port == 0:
                key = key_path("listeners", listener.name, "listen")
                yield Problem(key, shown(text), "a port from 1 to 65535")


def _placed(problems: Sequence[Problem], text: str, file: str) -> list[Problem]:
    """The same problems with their file and lines, in the order of the file."""
    lines = lines_of(text)
    found = [dataclasses.replace(problem, file=file, line=_line(lines, problem.key)) for problem in problems]
    return sorted(found, key=lambda problem: problem.line or 0)


def _parse(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise SettingsError([Problem("", "", "nested too deeply", file)]) from None
    except ValueError as error:  # TOMLDecodeError, and what int() says about thousands of digits
        raise SettingsError([_syntax(str(error), text, file)]) from None


def _syntax(message: str, text: str, file: str) -> Problem:
    found = _SYNTAX.fullmatch(message)
    if not found:
        return Problem("", "", _plain(message), file)
    if not found["line"]:
        end = _friendly(found["what"]) if found["what"] != "Invalid value" else _UNFINISHED
        return Problem("", "", f"{end}, at the end of the file", file, text.count("\n") + 1)
    return Problem("", "", f"column {found['column']}: {_friendly(found['what'])}", file, int(found["line"]))


def _friendly(what: str) -> str:
    """The commonest mistakes in the words of whoever repairs them."""
    if twice := _TWICE.fullmatch(what):
        table = key_path(*re.findall(r"'([^']*)'", twice[1]))
        return f"[{table}] stands twice; merge the two into one"
    return _FRIENDLY.get(what) or _plain(what)


def _plain(text: str) -> str:
    """One line that cannot move a terminal's cursor."""
    return "".join(ch if ch.isprintable() else "?" for ch in text)[:200]


class _Reader:
    """Turns tables into the dataclasses of the model, without judging values: that is the model's work."""

    def __init__(self, option_types: OptionTypes | None = None) -> None:
        self.problems: list[Problem] = []
        self._option_types = option_types

    def whole(self, table: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of Settings, as far as `table` has them."""
        types = types_of(Settings)
        self._unknown(table, [name for name in types if name != "instance"], "")
        given: dict[str, Any] = {"host_name": table.get("host_name")}
        for name, value in table.items():
            kind, many = types.get(name, (None, False))
            if many:
                given[name] = self._named(kind, name, value)
            elif dataclasses.is_dataclass(kind) and isinstance(value, dict):
                given[name] = self._section(kind, name, value, {})
            elif dataclasses.is_dataclass(kind):
                self.problems.append(Problem(name, shown(value), f"a table, [{name}]"))
        return given

    def _named(self, kind: Any, table: str, members: Any) -> tuple[Any, ...]:
        """The tables of tables: each name becomes a field of its member."""
        example = '[routes."example.org"]' if table == "routes" else f"[{table}.NAME]"
        if not isinstance(members, dict):
            self.problems.append(Problem(table, shown(members), f"tables, {example}"))
            return ()
        made = []
        for name, value in members.items():
            if isinstance(value, dict) and table == "plugins":
                made.append(self._plugin(name, key_path(table, name), value))
            elif isinstance(value, dict):
                made.append(self._section(kind, key_path(table, name), value, {_NAMED_BY[table]: name}))
            else:
                self.problems.append(Problem(key_path(table, name), shown(value), f"a table, {example}"))
        return tuple(made)

    def _plugin(self, name: str, at: str, table: Mapping[str, Any]) -> Plugin:
        """A plugin's table: our word, and the options of its own type."""
        plugin = Plugin(name=name, optional=table.get(OUR_WORD, False))
        if self._option_types is None:
            return plugin
        try:
            kind = self._option_types(name)
        except BrokenPlugin as error:
            # An optional one breaks again when it is to be used, and the log says so.
            if plugin.optional is not True:
                self.problems.append(Problem(at, "", str(error)))
            return plugin
        self._unknown(table, [*(entries(kind) if kind else ()), OUR_WORD], at)
        if kind is None:
            return plugin
        options, wrong = options_from(kind, at, table)
        self.problems += wrong
        return dataclasses.replace(plugin, options=options)

    def _section(self, kind: Any, at: str, table: Mapping[str, Any], named: dict[str, str]) -> Any:
        """One table; what is missing becomes None, which the model takes for missing."""
        options = entries(kind)
        self._unknown(table, list(options), at)
        missing = {entry.name: None for entry in options.values() if entry.required}
        return kind(**named, **{**missing, **{name: table[name] for name in table if name in options}})

    def _unknown(self, table: Mapping[str, Any], known: list[str], at: str) -> None:
        for name in table:
            if name not in known:
                key = f"{at}.{key_path(name)}" if at else key_path(name)
                advice = _quotes(at, name, table[name]) or _advice(name, known, at)
                self.problems.append(Problem(key, "", advice))


def _quotes(at: str, name: str, value: object) -> str:
    """What to do about ``[routes.b.example]``, which TOML reads as a table in a table."""
    table, _, rest = at.partition(".")
    if table != "routes" or not rest or not isinstance(value, dict):
        return ""
    return f'unknown name; a domain stands in quotes: [routes."{rest}.{name}"]'


def _advice(name: str, known: list[str], at: str) -> str:
    """What to do about an unknown name: the likely spelling, or the table that it belongs to."""
    if name == "host_name" and at:
        return "unknown name here; it stands at the top of the file, before the first [table]"
    if near := difflib.get_close_matches(name[:64].lower(), known, 1, 0.7):
        return f"unknown name; did you mean {near[0]}?"
    homes = [table for table, names in _homes().items() if name in names]
    if homes:
        return f"unknown name here; it belongs in {' or '.join(homes)}"
    return f"unknown name; known are {', '.join(known)}"


def _homes() -> dict[str, set[str]]:
    """The names within each table."""
    homes = {}
    for table, (kind, _) in types_of(Settings).items():
        if dataclasses.is_dataclass(kind):
            shape = f"[{table}.…]" if table in TABLES_OF_TABLES else f"[{table}]"
            homes[shape] = set(entries(kind))
    return homes


def lines_of(text: str) -> dict[str, int]:
    """The line on which each key path is written, found without a full parser.

    Each line is read by itself, so that the inside of a multi-line text may look like a name; a path that
    appears twice is left out, because a wrong line is worse than none.
    """
    found: dict[str, int] = {}
    opened: dict[str, int] = {}
    twice = {""}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("["):
            path = _keys(line)
            table = path or table
        else:
            left, equals, _ = line.partition("=")
            name = _keys(f"{left}=0") if equals else ()
            path = (*table, *name) if name else ()
        key = key_path(*path).lower()  # domains are folded in the tree
        twice.update({key} & found.keys())
        found.setdefault(key, number)
        for end in range(1, len(path)):
            opened.setdefault(key_path(*path[:end]).lower(), number)
    return {key: number for key, number in (opened | found).items() if key not in twice}


def names_of(key: str) -> tuple[str, ...]:
    """The names in a key path, as a Problem has it."""
    return _keys(f"{key}=0") if key else ()


def _keys(line: str) -> tuple[str, ...]:
    """The names that a line of TOML opens or sets; empty for any other line."""
    try:
        value: Any = tomllib.loads(line)
    except (ValueError, RecursionError):
        return ()
    path = []
    while isinstance(value, dict) and len(value) == 1:
        name, value = next(iter(value.items()))
        path.append(name)
    return tuple(path)


def _line(lines: Mapping[str, int], key: str) -> int | None:
    """The line of `key`, or of the table that it is missing from."""
    return lines.get(key.lower()) or lines.get(key.lower().rpartition(".")[0])
