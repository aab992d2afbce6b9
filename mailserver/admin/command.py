"""How one command is declared: once, for the command line, the control socket and programs alike.

A command has a name, typed arguments with help, an example, who may run it, where it can run, and a handler.
A handler is called with the world and the arguments by name; it answers a reply (a dict, or a list of dicts, of
plain values: what JSON has), or it is an async generator and answers a stream of such dicts. ``said`` in a dict
is its sentence for people. It refuses by raising MailServerError; the text is a sentence.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mailserver.interfaces import MailServerError


class ControlError(MailServerError):
    """A command cannot be done; the text says what, and what to do about it."""


# The default of a secret that is made where none is given.
GENERATED = "generated"


class Place(Enum):
    """Where a command can run: in the running server alone, there or on a stopped instance, or on its files."""

    SERVER = "server"
    EITHER = "either"
    FILES = "files"


@dataclass(frozen=True)
class Argument:
    """One argument.

    ``kind`` is ``str``, ``int``, ``float`` or ``bool`` (a flag); ``many`` makes a list of it. ``positional`` ones
    stand without an option. A ``secret`` is never taken from the command line: it is read from standard
    input or the terminal, or (by default, if that is :data:`GENERATED`) made. A ``local`` one is for the
    command line alone, and is no argument of the handler.
    """

    name: str
    help: str
    kind: type = str
    positional: bool = False
    many: bool = False
    required: bool = False
    default: Any = None
    secret: bool = False
    local: bool = False

    def accept(self, value: Any) -> Any:
        """The value as the handler gets it. Raises ControlError for a wrong type."""
        if self.many:
            if not isinstance(value, list) or (self.required and not value):
                raise ControlError(f"{self.name} must be a list of {self.kind.__name__}")
            return [self._one(each) for each in value]
        return self._one(value)

    def _one(self, value: Any) -> Any:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if isinstance(value, self.kind) and (self.kind is bool or not isinstance(value, bool)):
            return value
        if self.kind is float and whole:
            return float(value)
        raise ControlError(f"{self.name} must be of type {self.kind.__name__}, not {type(value).__name__}")


def _option(name: str) -> str:
    return "--all" if name == "all" else name.upper().replace("_", "-")


Handler = Callable[..., Awaitable[Any] | AsyncIterator[Any]]


@dataclass(frozen=True)
class Command:
    """One command. ``name`` is one word, or a noun and a verb (``account add``). ``who`` may run it:
    ``administrator``, or ``viewer`` for everybody who may look (`mailserver.admin.console`); who reaches the
    control socket is an administrator. The command line runs ``first``, with the same arguments, before it asks
    for a password. Exactly one of the arguments ``one_of`` is given."""

    name: str
    summary: str
    handler: Handler
    arguments: tuple[Argument, ...] = ()
    example: str = ""
    place: Place = Place.EITHER
    who: str = "administrator"
    first: str = ""
    one_of: tuple[str, ...] = ()

    def lacking(self, given: Mapping[str, Any]) -> str:
        """What is wrong where not exactly one of ``one_of`` is given; else ""."""
        if not self.one_of or sum(bool(given.get(name)) for name in self.one_of) == 1:
            return ""
        return f"{self.name} needs one of the two: {' or '.join(map(_option, self.one_of))}"

    def accept(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments by name, checked, with defaults filled in. Raises ControlError."""
        if lacking := self.lacking(given):
            raise ControlError(lacking)
        known = {argument.name for argument in self.arguments if not argument.local}
        if unknown := sorted(set(given) - known):
            raise ControlError(f"{self.name} has no argument {unknown[0]}")
        accepted = {}
        for argument in (each for each in self.arguments if not each.local):
            value = given.get(argument.name)
            if value is not None:
                accepted[argument.name] = argument.accept(value)
            elif argument.required:
                raise ControlError(f"{self.name} needs the argument {argument.name}")
            else:
                accepted[argument.name] = argument.default
        return accepted
