"""docs/sending.md: what it says beside its programs, which tests/docs runs."""

from __future__ import annotations

import re
from pathlib import Path

import mailserver.transport.dropin
import mailserver.transport.failures

PAGE = (Path(__file__).parent.parent.parent / "docs/sending.md").read_text()


def listed(text: str) -> list[str]:
    """The points of a list, each on one line, without the marks of code."""
    points = re.findall(r"^- (.*?)(?=\n- |\n\n|\n?\Z)", text, re.M | re.S)
    return [" ".join(point.replace("`", "").split()) for point in points]


def test_the_differences_are_those_of_the_docstring() -> None:
    page = listed(PAGE.partition("Where it differs:")[2])
    assert page == listed((mailserver.transport.dropin.__doc__ or "").partition("Where it differs:")[2])
    assert len(page) > 10


def test_the_tree_is_that_of_the_docstring() -> None:
    drawn = re.findall(r"[├└]── (\w+)", mailserver.transport.failures.__doc__ or "")
    assert re.findall(r"^    [├└]── (\w+)", PAGE, re.M) == drawn
    assert len(drawn) == 6
