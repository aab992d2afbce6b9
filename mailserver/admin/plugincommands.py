"""Commands about plugins: which there are, what one is and may be told, and how a new one begins.

``plugin list`` imports nothing but what the settings name; ``plugin show`` imports the one that is asked for.
"""

from __future__ import annotations

import inspect
import keyword
import sys
from pathlib import Path
from typing import Any

from mailserver.admin import instance, plugintemplate
from mailserver.admin.command import Argument, Command, ControlError, Place
from mailserver.admin.world import Files
from mailserver.settings.options import entries
from mailserver.settings.plugin import BrokenPlugin, Plugin
from mailserver.settings.problem import SettingsError, key_path
from mailserver.settings.reference import toml


def _catalogue() -> Any:
    # Imported here: it brings Twisted's part for logins, which no other command needs.
    from mailserver.plugins import Catalogue  # noqa: PLC0415

    return Catalogue()


def _named(files: Files) -> dict[str, Plugin]:
    """The plugins that the settings name; none where there is no instance, or its settings cannot be read."""
    try:
        return {plugin.name: plugin for plugin in instance.load(files.instance).plugins}
    except (ControlError, SettingsError):
        return {}


async def _list(files: Files) -> list[dict[str, Any]]:
    from mailserver.plugins import installed  # noqa: PLC0415

    found, named, catalogue = installed(), _named(files), _catalogue()
    rows = []
    for name in sorted(found.keys() | named.keys()):
        packages = " and ".join(f"{one.package} {one.version}" for one in found.get(name, ()))
        kinds, state = "", "not in the settings"
        if name in named:
            kinds, state = _state(name, catalogue)
        optional = name in named and named[name].optional
        rows.append({"name": name, "package": packages, "kind": kinds, "optional": optional, "state": state})
    return rows


def _state(name: str, catalogue: Any) -> tuple[str, str]:
    try:
        return ", ".join(catalogue.load(name).kinds), "in the settings"
    except BrokenPlugin as error:
        return "", f"broken: {error}"


async def _show(files: Files, name: str) -> dict[str, Any]:
    loaded = _catalogue().load(name)
    found = loaded.installed
    named = _named(files).get(name)
    about = " ".join((inspect.getdoc(loaded.target) or "").split()) if isinstance(loaded.target, type) else ""
    return {
        "name": found.name,
        "kind": ", ".join(loaded.kinds),
        "package": f"{found.package} {found.version}",
        "object": found.target,
        "about": about,
        "settings": f"[{key_path('plugins', name)}]" + ("" if named else " (not in the file)"),
        "options": [
            {
                "option": entry.name,
                "allowed": entry.allowed,
                "default": "must be written" if entry.required else toml(entry.default, entry.about.word),
                "applies": entry.about.applies,
                "meaning": entry.about.doc,
            }
            for entry in (entries(loaded.options).values() if loaded.options else ())
        ],
    }


async def _new(files: Files, name: str, directory: str | None) -> dict[str, Any]:
    if not plugintemplate.is_name(name):
        raise ControlError(
            f"{name!r} is no name for a plugin: take at most {plugintemplate.MAX_NAME} small letters and digits,"
            " with single hyphens between them, as in blocked-senders"
        )
    module = plugintemplate.module_of(name)
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or module == "mailserver":
        raise ControlError(f"{name} is the name of a module that Python has already; take another")
    package = Path(directory or ".") / name
    try:
        package.mkdir(parents=True)
        for path, text in plugintemplate.files_of(name).items():
            (package / path).parent.mkdir(exist_ok=True)
            (package / path).write_text(text, encoding="utf-8")
    except FileExistsError:
        raise ControlError(f"{package} exists; nothing was changed. Take another name, or --directory") from None
    except OSError as error:
        raise ControlError(f"{package} cannot be written: {error.strerror}") from None
    return {
        "package": str(package),
        "said": f"made {package}; install it with `pip install {package}`, then write [plugins.{name}]",
    }


_NAME = Argument("name", "the plugin's name", positional=True, required=True)

COMMANDS = (
    Command(
        "plugin list",
        "Show the plugins that are installed, and which of them the settings name.",
        _list,
        (),
        "plugin list",
        place=Place.FILES,
    ),
    Command(
        "plugin show",
        "Show what a plugin is, and the options of its table in the settings.",
        _show,
        (_NAME,),
        "plugin show blocked-senders",
        place=Place.FILES,
    ),
    Command(
        "plugin new",
        "Write a small package with one check and its test, to begin a plugin with.",
        _new,
        (_NAME, Argument("directory", "where the package's directory is made (by default here)")),
        "plugin new blocked-senders",
        place=Place.FILES,
    ),
)
