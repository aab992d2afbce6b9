"""Plugins: parts of the server from other packages, found as entry points of the group ``mailserver``.

A plugin is a class with ``name`` (that of its entry point) and ``options`` (its settings type, a frozen dataclass
of ``option(...)`` fields); it is called with ``(options, services)``, and its kind is the interface it implements
(:data:`KINDS`), or several. A class without ``options`` is called without arguments, and an object that provides
the interface already is taken as it is: that is how the realms and checkers of an existing Twisted application,
which know nothing of this server, are plugins too.

Only what ``[plugins.NAME]`` names is imported. What is wrong with a plugin is :class:`BrokenPlugin`, whose text is
one sentence that names the plugin and its package; nothing of what a plugin raises gets past that.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import IRealm
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from mailserver.interfaces import (
    ICheck,
    IClock,
    IDirectory,
    IResolver,
    IRouter,
    IStateStore,
    ITransport,
)
from mailserver.message.verdict import Stage
from mailserver.settings.model import Settings
from mailserver.settings.plugin import BrokenPlugin, Plugin, misfit, options_from
from mailserver.settings.problem import key_path

GROUP = "mailserver"
CHECK, TRANSPORT, DIRECTORY, ROUTER = "check", "transport", "directory", "router"
RESOLVER, STATE_STORE, CHECKER, REALM = "resolver", "state store", "credentials checker", "realm"
KINDS: Mapping[str, Any] = types.MappingProxyType(
    {
        CHECK: ICheck,
        TRANSPORT: ITransport,
        DIRECTORY: IDirectory,
        ROUTER: IRouter,
        RESOLVER: IResolver,
        STATE_STORE: IStateStore,
        CHECKER: ICredentialsChecker,
        REALM: IRealm,
    }
)
"""Each kind of plugin with the interface that makes it one."""

# These are Twisted's: what is old and works is not measured with our ruler.
_NOT_VERIFIED = frozenset({CHECKER, REALM})
_the_object = re.compile(r"The object <.*?> has failed to implement interface \S+: ")
# One server has one of each.
SINGLE = frozenset({DIRECTORY, RESOLVER, STATE_STORE})


@dataclass(frozen=True, slots=True)
class Services:
    """What a plugin may use of the server, given to it when it is made.

    ``name`` is the plugin's own; ``instance`` the directory of the instance, where relative paths begin;
    ``threads(kind, f, *args)`` with the kind ``plugin`` runs what blocks; ``log.event(name, **fields)`` writes
    one line. ``state`` is None for a state store, ``resolver`` for that and a resolver; ``directory`` is there
    for checks, checkers and realms. A plugin is made before the server starts, and under twistd before it
    becomes a daemon and gives up root: it opens nothing and starts nothing until it is used.
    """

    name: str
    instance: Path
    host_name: str
    reactor: Any
    clock: IClock
    threads: Any
    log: Any
    state: IStateStore | None = None
    resolver: IResolver | None = None
    directory: IDirectory | None = None


@dataclass(frozen=True, slots=True)
class Installed:
    """An entry point of an installed package; nothing is imported for it."""

    name: str
    target: str
    package: str
    version: str
    entry: EntryPoint = field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"plugin {self.name} ({self.target} of {self.package} {self.version})"


def installed() -> dict[str, list[Installed]]:
    """Every plugin that is installed, by name; more than one of a name where packages quarrel about it."""
    found: dict[str, list[Installed]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        package, version = (entry.dist.name, entry.dist.version) if entry.dist else ("?", "?")
        one = Installed(entry.name, entry.value, package, version, entry)
        if one not in found.setdefault(entry.name, []):
            found[entry.name].append(one)
    return found


@dataclass(frozen=True, slots=True)
class Loaded:
    """A plugin that was imported and looked at: ``options`` is its settings type, None where it takes none."""

    installed: Installed
    target: Any
    kinds: tuple[str, ...]
    options: type | None

    def make(self, plugin: Plugin, services: Services) -> Any:
        """The plugin itself. Raises BrokenPlugin."""
        try:
            made = self._made(plugin, services)
        except BrokenPlugin:
            raise
        except (Exception, SystemExit) as error:
            raise BrokenPlugin(f"{self.installed} raised when it was made: {said_by(error)}") from error
        for kind in self.kinds:
            self._verify(made, kind)
        return made

    def _made(self, plugin: Plugin, services: Services) -> Any:
        if not isinstance(self.target, type):
            return self.target
        if not hasattr(self.target, "options"):
            return self.target()
        options = plugin.options
        if options is None and self.options is not None:
            # Settings made in code may name a plugin and say nothing more.
            options, wrong = options_from(self.options, key_path("plugins", plugin.name), {})
            if wrong:
                raise BrokenPlugin(f"{self.installed} needs options: {'; '.join(map(str, wrong))}")
        return self.target(options, services)

    def _verify(self, made: Any, kind: str) -> None:
        interface = KINDS[kind]
        if not interface.providedBy(made):
            raise BrokenPlugin(f"{self.installed} made a {type(made).__name__}, which is no {interface.__name__}")
        if kind in _NOT_VERIFIED:
            return
        try:
            verifyObject(interface, made)
        except Invalid as error:
            raise BrokenPlugin(f"{self.installed} does not fit {interface.__name__}: {_missed(error)}") from error
        if kind == CHECK and not _are_stages(made.stages):
            raise BrokenPlugin(f"{self.installed} names no stages: write stages = (Stage.MAIL,) or their like")


def _are_stages(stages: object) -> bool:
    return (
        isinstance(stages, (tuple, list, set, frozenset))
        and bool(stages)
        and all(isinstance(stage, Stage) for stage in stages)
    )


def _missed(error: Invalid) -> str:
    """What zope.interface says is missing, without the address of the object."""
    text = " ".join(str(error).split())
    return _the_object.sub("", text).replace(f"{ICheck.__module__}.", "")


def said_by(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Catalogue:
    """The plugins of this environment; each is imported once, when it is asked for by name."""

    def __init__(self, found: Mapping[str, Sequence[Installed]] | None = None) -> None:
        self._found = installed() if found is None else found
        self._loaded: dict[str, Loaded] = {}

    def options_type(self, name: str) -> type | None:
        """For `mailserver.settings.read.read`. Raises BrokenPlugin."""
        return self.load(name).options

    def load(self, name: str) -> Loaded:
        """The plugin with that name, imported. Raises BrokenPlugin."""
        if name not in self._loaded:
            self._loaded[name] = _load(self._only(name))
        return self._loaded[name]

    def _only(self, name: str) -> Installed:
        found = self._found.get(name, ())
        if not found:
            near = difflib.get_close_matches(name, self._found, 1, 0.7)
            there = f"did you mean {near[0]}?" if near else f"installed are: {', '.join(self._found) or 'none'}"
            raise BrokenPlugin(f"plugin {name} is not installed in this Python environment; {there}")
        if len(found) > 1:
            both = " and ".join(f"{one.package} {one.version}" for one in found)
            raise BrokenPlugin(f"plugin {name} is in more than one package: {both}; uninstall all but one")
        return found[0]


def _load(found: Installed) -> Loaded:
    try:
        target = found.entry.load()
    except (Exception, SystemExit) as error:
        raise BrokenPlugin(f"{found} cannot be imported: {said_by(error)}") from error
    is_class = isinstance(target, type)
    kinds = tuple(
        kind
        for kind, interface in KINDS.items()
        if (interface.implementedBy(target) if is_class else interface.providedBy(target))
    )
    if not kinds:
        known = ", ".join(interface.__name__ for interface in KINDS.values())
        what = "a class" if is_class else f"a {type(target).__name__}"
        raise BrokenPlugin(f"{found} is {what} that implements none of {known}")
    options = getattr(target, "options", None) if is_class else None
    if is_class and hasattr(target, "options"):
        _look_at(found, target, options)
    return Loaded(found, target, kinds, options)


def _look_at(found: Installed, target: Any, options: Any) -> None:
    name = getattr(target, "name", None)
    if name != found.name:
        raise BrokenPlugin(f"{found} calls itself {name!r}: name must be the name of its entry point")
    if options is not None and (wrong := misfit(options)):
        raise BrokenPlugin(f"{found} has options that do not fit: {getattr(options, '__name__', options)} {wrong}")


class Plugins:
    """The plugins that the settings name, imported now, each made once, when its kind is asked for.

    `services` is what each gets, under its own name; :meth:`provide` adds what has come to be since. Raises
    BrokenPlugin for what is broken and not marked optional; the others are in ``failed``, each name with its
    sentence.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue, services: Services) -> None:
        self.failed: dict[str, str] = {}
        self._services = services
        self._made: dict[str, Any] = {}
        self._plugins: dict[str, tuple[Plugin, Loaded]] = {}
        for plugin in settings.plugins:
            try:
                self._plugins[plugin.name] = (plugin, catalogue.load(plugin.name))
            except BrokenPlugin as error:
                self._failed(plugin, error)
        for kind in sorted(SINGLE):
            if len(names := self.names(kind)) > 1:
                raise BrokenPlugin(f"a server has one {kind}, and there are several plugins: {', '.join(names)}")

    def provide(self, **more: Any) -> None:
        """More services, for the plugins that are not made yet."""
        self._services = replace(self._services, **more)

    def names(self, kind: str) -> list[str]:
        """The plugins of a kind, in the order of the settings."""
        return [name for name, (_, loaded) in self._plugins.items() if kind in loaded.kinds]

    def of(self, kind: str) -> dict[str, Any]:
        """The plugins of a kind by name, made. Raises BrokenPlugin."""
        made = {name: self._make(name) for name in self.names(kind)}
        return {name: one for name, one in made.items() if one is not None}

    def only(self, kind: str) -> Any:
        """The one plugin of a kind, or None. Raises BrokenPlugin."""
        return next(iter(self.of(kind).values()), None)

    def make_all(self) -> None:
        """Make those that nobody has asked for, so that what is broken is known now. Raises BrokenPlugin."""
        for name in self._plugins:
            self._make(name)

    def _make(self, name: str) -> Any:
        if name not in self._made:
            plugin, loaded = self._plugins[name]
            try:
                self._made[name] = loaded.make(plugin, replace(self._services, name=name))
            except BrokenPlugin as error:
                self._made[name] = None
                self._failed(plugin, error)
        return self._made[name]

    def _failed(self, plugin: Plugin, error: BrokenPlugin) -> None:
        if not plugin.optional:
            raise error
        self.failed[plugin.name] = str(error)


def plugins_of(settings: Settings, machine: Any) -> Plugins:
    """The plugins of one server; `machine` has its reactor, clock, threads and log. Raises BrokenPlugin."""
    catalogue = Catalogue() if settings.plugins else Catalogue({})
    return Plugins(
        settings,
        catalogue,
        Services(
            name="",
            instance=settings.instance.absolute(),
            host_name=settings.host_name,
            reactor=machine.reactor,
            clock=machine.clock,
            threads=machine.threads,
            log=machine.log,
        ),
    )
