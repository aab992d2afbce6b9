"""What people read about the settings, made from the type: nothing here knows a setting by itself.

``python -m mailserver.settings.reference`` writes ``etc/mailserver.toml`` (the commented example) and
``docs/settings.md`` below the current directory; a test compares them with what would be written now.
:func:`first_settings` is the short file of a new instance.
"""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mailserver.settings.model import Settings
from mailserver.settings.options import Entry, entries, types_of
from mailserver.settings.problem import quoted

EXAMPLE, REFERENCE = "etc/mailserver.toml", "docs/settings.md"

_SECOND_LISTENER = """\
#[listeners.submission]
#role = "submission"
#listen = ["127.0.0.1:2587"]
#tls = "starttls"

#[listeners.submissions]
#role = "submission"
#listen = ["127.0.0.1:2465"]
#tls = "implicit"
"""
# What a table of tables is called in the example, and the values of it that are no defaults.
_EXAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "listeners": ("listeners.mx", {"role": "mx", "listen": ("127.0.0.1:2525",), "tls": "starttls"}),
    "certificates": (
        "certificates.default",
        {"chain": "certificates/default.crt", "key": "certificates/default.key"},
    ),
    "routes": ('routes."example.org"', {"host": "192.0.2.25:25"}),
    "plugins": ("plugins.blocked-senders", {}),
}
_TITLES = {
    "listeners": "[listeners.NAME]",
    "certificates": "[certificates.NAME]",
    "routes": '[routes."DOMAIN"]',
    "plugins": "[plugins.NAME]",
}

_HEAD = """\
# The settings of the mail server, with their defaults. Made from the type: see docs/settings.md.
#
# A line that begins with "#" and no space is a setting at its default: take the "#" away and change it.
# Durations are seconds, sizes are octets. Relative paths begin at the directory of the instance.
# Unknown names are errors: `mailserverctl config check` says all that is wrong with the file.
"""

_INTRODUCTION = """\
# Settings

<!-- Made by `python -m mailserver.settings.reference`; change mailserver/settings/model.py instead. -->

All settings stand in the file `mailserver.toml` of the instance directory, in
[TOML](https://toml.io/en/v1.0.0). [etc/mailserver.toml](../etc/mailserver.toml) is the same list as a file to
copy from. Only `host_name` must be written; everything else has a default.

- Durations are numbers of seconds, sizes numbers of octets. Text stands in quotes, numbers never do.
- Relative paths begin at the instance directory.
- Unknown names are errors, and so are the *reserved* ones at the end of this page.
- `mailserverctl config check` names everything that is wrong with a file, each with its line, what was found
  and what is allowed. A server with a wrong file does not start.
- *live* settings may change while a server runs, by the application that embeds it; under `twistd` every change of
  the file takes a restart, but for new certificates ([certificates.md](certificates.md)).
- A password is never in this file: where one is needed, a setting names the file that has it.
"""


def tables() -> Iterator[tuple[str, Any]]:
    """The tables of the file with their dataclasses."""
    for name, (kind, _) in types_of(Settings).items():
        if dataclasses.is_dataclass(kind):
            yield name, kind


def toml(value: Any, word: str = "") -> str:
    """`value` in TOML; a list that is only `word` is that word."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, tuple):
        if word and value == (word,):
            return quoted(word)
        return "[" + ", ".join(map(toml, value)) + "]"
    return quoted(str(value))


def _default(entry: Entry) -> str:
    return "" if entry.required else toml(entry.default, entry.about.word)


def example() -> str:
    """The text of ``etc/mailserver.toml``."""
    parts = [_HEAD]
    parts += [f'{_commented(entry)}{entry.name} = "mx.example.org"\n' for entry in entries(Settings).values()]
    for name, kind in tables():
        title, values = _EXAMPLES.get(name, (name, {}))
        header = f"#[{title}]" if name in _EXAMPLES else f"[{title}]"
        parts.append(f"{_wrapped(_about(kind))}{header}\n")
        for entry in entries(kind).values():
            value = toml(values[entry.name]) if entry.name in values else _default(entry)
            parts.append(f"{_commented(entry)}#{entry.name} = {value}\n")
        if name == "listeners":
            parts.append(_SECOND_LISTENER)
    return "\n".join(parts)


def _commented(entry: Entry) -> str:
    default = "must be written" if entry.required else f"default: {_default(entry)}"
    facts = f"Allowed: {entry.allowed}; {default}; applies: {entry.about.applies}."
    return _wrapped(entry.about.doc) + _wrapped(facts)


def _wrapped(text: str) -> str:
    lines = textwrap.wrap(text, 110, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def _about(kind: Any) -> str:
    return " ".join((inspect.getdoc(kind) or "").replace("``", "").split())


def reference() -> str:
    """The text of ``docs/settings.md``."""
    parts = [
        _INTRODUCTION,
        _section("The whole server", "At the top of the file, before the first table.", Settings),
    ]
    for name, kind in tables():
        about = " ".join((inspect.getdoc(kind) or "").replace("``", "`").split())
        parts.append(_section(f"`{_TITLES.get(name, f'[{name}]')}`", about, kind))
    return "\n".join([*parts, _reserved()])


def _section(title: str, about: str, kind: Any) -> str:
    rows = [f"## {title}\n\n{about}\n\n| name | allowed | default | applies | meaning |\n|---|---|---|---|---|\n"]
    for entry in entries(kind).values():
        if not entry.about.reserved:
            default = "*must be written*" if entry.required else f"`{_default(entry)}`"
            rows.append(
                f"| `{entry.name}` | {entry.allowed} | {default} | {entry.about.applies} | {entry.about.doc} |\n"
            )
    return "".join(rows)


def _reserved() -> str:
    rows = [
        "## Reserved\n\nNames that are fixed, but have no function in this version. Using one is an error.\n\n"
    ]
    rows.append("| name | what it will be |\n|---|---|\n")
    for table, kind in tables():
        title = _TITLES.get(table, f"[{table}]")
        for entry in entries(kind).values():
            if entry.about.reserved:
                rows.append(f"| `{title}` `{entry.name}` | {entry.about.reserved} |\n")
            for word, reserved in entry.about.choices.items():
                if reserved:
                    rows.append(f"| `{title}` `{entry.name} = {quoted(word)}` | {reserved} |\n")
    return "".join(rows)


def first_settings(host_name: str, mx: str = "127.0.0.1:2525", submission: str = "127.0.0.1:2587",
                   submissions: str = "127.0.0.1:2465") -> str:  # fmt: skip
    """The file that a new instance begins with: short, and mail does not leave the machine yet."""
    return f"""\
# The settings of this mail server. Everything that can stand here is explained in docs/settings.md and
# etc/mailserver.toml of the checkout; `mailserverctl config check` says what is wrong with this file.

# The name of this machine in DNS, as it introduces itself to others.
host_name = {quoted(host_name)}

# Mail from other servers. In production: listen = ["*:25"]
[listeners.mx]
role = "mx"
listen = [{quoted(mx)}]
tls = "starttls"

# Mail from your own users, who log in. In production: listen = ["*:587"]
[listeners.submission]
role = "submission"
listen = [{quoted(submission)}]
tls = "starttls"

# The same with TLS from the first octet. In production: listen = ["*:465"]
[listeners.submissions]
role = "submission"
listen = [{quoted(submissions)}]
tls = "implicit"

# Made by this server for itself: clients must be told to trust it, until you put a real one here.
[certificates.default]
chain = "certificates/default.crt"
key = "certificates/default.key"

[relay]
# "hold": mail for other hosts waits in the queue and does not leave this machine. To let it out: "on".
outgoing = "hold"

# A static route sends the mail of one domain to a host that you name, and does so under "hold" too.
#[routes."example.net"]
#host = "127.0.0.1:2526"
#tls = "off"
"""


def write(directory: Path) -> None:
    """Write both files below `directory`."""
    for path, text in ((EXAMPLE, example()), (REFERENCE, reference())):
        (directory / path).parent.mkdir(exist_ok=True)
        (directory / path).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(Path.cwd())
