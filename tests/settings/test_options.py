"""`option` on a plugin's own dataclass, and what it says about itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailserver.settings import option
from mailserver.settings.options import conform, entries, problems
from mailserver.settings.problem import Problem, key_path, quoted, shown
from mailserver.smtp.address import Domain


@dataclass(frozen=True)
class Options:
    blocked: tuple[Domain, ...] = option(default=(), doc="Sender domains refused at MAIL.", applies="live")
    score: float = option(default=1, doc="A weight.", minimum=0.5, maximum=2)
    count: int = option(default=3, doc="How often.", minimum=1)
    most: int = option(default=3, doc="How many.", maximum=9, unit="octets")
    file: Path = option(default=Path("x"), doc="Where.")  # noqa: RUF009  it makes a field
    kind: str = option(default="a", doc="Which.", choices={"a": "", "b": "", "c": "not yet"})
    names: Sequence[str] = option(default=("all",), doc="Who.", word="all")
    magic: bool = option(default=False, doc="Wonders.", reserved="wonders take longer")

    def __post_init__(self) -> None:
        conform(self)


def complaints(**values) -> list[str]:
    return [str(problem) for problem in problems(Options(**values), "plugins.demo")]


def test_text_becomes_the_type():
    made = Options(blocked=["Example.org"], file="y", names="all")
    assert made.blocked == (Domain.parse("example.org"),)
    assert made.file == Path("y")
    assert made.names == ("all",)
    assert complaints(blocked=["Example.org"], file="y", names="all", score=2, count=1, kind="b") == []


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"blocked": ["a b"]}, 'blocked: found "a b", allowed: text that is a domain'),
        (
            {"blocked": "example.org"},
            'blocked: found "example.org", allowed: a list, each of it text that is a domain',
        ),
        ({"score": "1"}, 'score: found "1", allowed: a number from 0.5 to 2'),
        ({"score": 0.4}, "score: found 0.4, allowed: a number from 0.5 to 2"),
        ({"score": True}, "score: found true, allowed: a number from 0.5 to 2"),
        ({"count": 0}, "count: found 0, allowed: a whole number, at least 1"),
        ({"count": 1.0}, "count: found 1.0, allowed: a whole number, at least 1"),
        ({"most": 10}, "most: found 10, allowed: a whole number of octets, at most 9"),
        ({"file": 1}, "file: found 1, allowed: a path in quotes"),
        ({"kind": "d"}, 'kind: found "d", allowed: "a", "b"'),
        ({"kind": "c"}, 'kind: found "c", allowed: "a", "b" ("c" is reserved: not available in this version)'),
        ({"names": "some"}, 'names: found "some", allowed: "all" or a list, each of it text in quotes'),
        ({"names": [1]}, "names: found 1, allowed: text in quotes"),
        ({"magic": True}, "magic: reserved: not available in this version (wonders take longer)"),
    ],
)
def test_what_does_not_fit(values, line):
    assert complaints(**values) == [f"plugins.demo.{line}"]


def test_an_entry_knows_what_the_reference_needs():
    found = entries(Options)
    assert list(found) == ["blocked", "score", "count", "most", "file", "kind", "names", "magic"]
    assert found["blocked"].about.applies == "live"
    assert found["score"].about.applies == "restart"
    assert not found["score"].required


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('a"b\\c\r\n\x1b\u202e\U000e0001é', '"a\\"b\\\\c\\u000d\\u000a\\u001b\\u202e\\U000e0001é"'),
        (True, "true"),
        ([1, "a", [False]], '[1, "a", [false]]'),
        ({"a": 1}, "a table"),
        ("x" * 1000, '"' + "x" * 80 + '"…'),
        pytest.param(10**5000, "a number too long to show", id="digits"),
        (list(range(1000)), shown(list(range(1000)))),
    ],
)
def test_values_are_shown_on_one_short_line(value, text):
    assert shown(value) == text
    assert len(text) < 100
    assert text.isprintable()


def test_key_paths_are_written_as_in_the_file():
    assert key_path("routes", "example.org", "host") == 'routes."example.org".host'
    assert key_path("", "a\n") == '""."a\\u000a"'
    assert quoted("") == '""'


def test_a_problem_names_its_place():
    assert str(Problem("a.b", "1", "2", "f", 3)) == "f:3: a.b: found 1, allowed: 2"
    assert str(Problem("a.b", "", "wrong", "f")) == "f: a.b: wrong"
    assert str(Problem("", "", "wrong")) == "wrong"
