"""How one setting is declared, converted and checked.

A field of a settings dataclass is declared by :func:`option`, which keeps beside the default everything that
the reference, the commented example and the error messages say. Plugin authors use it on their own dataclass.
A field's type is ``bool``, ``int``, ``float``, ``str``, ``Path``, a class with ``parse(str)`` that raises
ValueError (such as `mailserver.smtp.address.Domain`), or a sequence of one of these.

:func:`conform` turns lists into tuples and text into paths and parsed values, and leaves what does not fit;
:func:`problems` then names everything that does not fit. Numbers are never made from text, nor from booleans.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import (
    Any,
    Literal,
    NamedTuple,
    TypedDict,
    TypeVar,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from mailserver.settings.forms import Form
from mailserver.settings.problem import Problem, quoted, shown

_KEY = "mailserver.option"
RESERVED = "reserved: not available in this version"
_PLAIN: dict[Any, str] = {bool: "true or false", str: "text in quotes", Path: "a path in quotes"}
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Option:
    """What a setting says about itself. ``choices`` maps each word to "", or to why it is reserved."""

    doc: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: Mapping[str, str] = dataclasses.field(default_factory=dict)
    applies: Literal["live", "restart"] = "restart"
    reserved: str = ""
    form: Form | None = None
    word: str = ""

    @property
    def words(self) -> list[str]:
        """The choices that may be used now."""
        return [word for word, reserved in self.choices.items() if not reserved]


class About(TypedDict, total=False):
    """What :func:`option` takes beside the default and the documentation."""

    unit: str
    minimum: float
    maximum: float
    choices: Sequence[str] | Mapping[str, str]
    applies: Literal["live", "restart"]
    reserved: str
    form: Form
    word: str


@overload
def option(*, doc: str, **about: Unpack[About]) -> Any: ...
@overload
def option(*, default: T, doc: str, **about: Unpack[About]) -> T: ...


def option(*, doc: str, default: Any = dataclasses.MISSING, **about: Unpack[About]) -> Any:
    """A documented field of a settings dataclass; without `default` it must be written.

    `unit` is a word for people (``seconds``, ``octets``); `minimum` and `maximum` are included; `choices` is a
    sequence of words, or a mapping of each word to "" or to why it is reserved; `applies` is ``live`` or
    ``restart``; `reserved` says that the function is not built yet, so that using the name is an error;
    `form` is a :class:`~mailserver.settings.forms.Form` that each text must have; `word` is a text that may
    stand alone in the place of a list.
    """
    choices = about.get("choices", ())
    chosen = dict(choices) if isinstance(choices, Mapping) else dict.fromkeys(choices, "")
    given: dict[str, Any] = {**about, "choices": chosen}
    return dataclasses.field(default=default, metadata={_KEY: Option(doc=doc, **given)})


class Entry(NamedTuple):
    """One option of a dataclass: the type is that of one value, of which `many` says that there is a list."""

    name: str
    about: Option
    kind: Any
    many: bool
    default: Any

    @property
    def required(self) -> bool:
        """Whether it must be written."""
        return self.default is dataclasses.MISSING

    @property
    def allowed(self) -> str:
        """What it may be, in words."""
        one = self.allowed_one
        if self.many:
            return (f'"{self.about.word}" or ' if self.about.word else "") + f"a list, each of it {one}"
        return f'{one}, or ""' if self.default == "" and self.about.form else one

    @property
    def allowed_one(self) -> str:
        """What one value of it may be, in words."""
        if self.about.choices:
            return ", ".join(map(quoted, self.about.words))
        if self.kind in (int, float):
            return _number(self.kind, self.about)
        if self.about.form:
            return self.about.form.allowed
        return _PLAIN.get(self.kind) or f"text that is a {self.kind.__name__.lower()}"


def types_of(owner: Any) -> dict[str, tuple[Any, bool]]:
    """For each field of a settings dataclass: the type of one value, and whether there is a list of them."""
    return _types_of(owner)


@cache  # the hints are evaluated from text, which takes longer than all the checks together
def _types_of(owner: Any) -> dict[str, tuple[Any, bool]]:
    found = {}
    for name, hint in get_type_hints(owner).items():
        origin = get_origin(hint)
        many = isinstance(origin, type) and issubclass(origin, Sequence)
        found[name] = (get_args(hint)[0] if many else hint, many)
    return found


def entries(owner: Any) -> dict[str, Entry]:
    """The options of one dataclass by their names, in their order."""
    return _entries(owner)


@cache
def _entries(owner: Any) -> dict[str, Entry]:
    return {
        item.name: Entry(item.name, item.metadata[_KEY], *types_of(owner)[item.name], item.default)
        for item in dataclasses.fields(owner)
        if _KEY in item.metadata
    }


def conform(owner: Any) -> None:
    """Convert the fields of a (frozen) settings dataclass in place; call it from ``__post_init__``."""
    options = entries(type(owner))
    for item in dataclasses.fields(owner):
        kind, many = types_of(type(owner))[item.name]
        given = getattr(owner, item.name)
        if not many:
            given = _converted(given, kind)
        elif isinstance(given, (list, tuple)):
            given = tuple(_converted(value, kind) for value in given)
        elif item.name in options and given and given == options[item.name].about.word:
            given = (given,)
        object.__setattr__(owner, item.name, given)


class Section:
    """A table of settings: converts what it was given when it is made."""

    def __post_init__(self) -> None:
        conform(self)


def _converted(value: Any, kind: Any) -> Any:
    if not isinstance(value, str):
        return value
    if kind is Path:
        return Path(value)
    if hasattr(kind, "parse"):
        try:
            return kind.parse(value)
        except ValueError:
            return value
    return value


def problems(owner: Any, at: str = "") -> Iterator[Problem]:
    """Everything wrong with the options of one settings dataclass, whose key path is `at`."""
    for entry in entries(type(owner)).values():
        value, key = getattr(owner, entry.name), f"{at}.{entry.name}" if at else entry.name
        if type(value) is type(entry.default) and value == entry.default:
            continue
        if value is None and entry.required:
            yield Problem(key, "", f"missing; write {entry.name} = … with {entry.allowed}")
        elif entry.about.reserved:
            yield Problem(key, "", f"{RESERVED} ({entry.about.reserved})")
        elif entry.many and not isinstance(value, tuple):
            yield Problem(key, shown(value), entry.allowed)
        else:
            for one in value if entry.many else (value,):
                if not _fits(one, entry):
                    yield Problem(key, shown(one), entry.allowed_one + _why_reserved(one, entry))


def _why_reserved(value: Any, entry: Entry) -> str:
    reserved = isinstance(value, str) and value in entry.about.choices
    return f" ({shown(value)} is {RESERVED})" if reserved else ""


def _fits(value: Any, entry: Entry) -> bool:
    about = entry.about
    if not _is(value, entry.kind) or not _within(value, about):
        return False
    if about.choices:
        return value in about.words
    if about.form and not (about.word and value == about.word):
        try:
            about.form.parse(str(value))
        except ValueError:
            return False
    return True


def _is(value: Any, kind: Any) -> bool:
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def _within(value: Any, about: Option) -> bool:
    if not isinstance(value, (int, float)):
        return True
    low = -math.inf if about.minimum is None else about.minimum
    high = math.inf if about.maximum is None else about.maximum
    return not (isinstance(value, float) and not math.isfinite(value)) and low <= value <= high


def _number(kind: Any, about: Option) -> str:
    what = ("a whole number" if kind is int else "a number") + (f" of {about.unit}" if about.unit else "")
    if about.minimum is not None and about.maximum is not None:
        return f"{what} from {about.minimum:.15g} to {about.maximum:.15g}"
    if about.minimum is not None:
        return f"{what}, at least {about.minimum:.15g}"
    return what if about.maximum is None else f"{what}, at most {about.maximum:.15g}"
