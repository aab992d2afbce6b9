"""One exception tree: drawn in the docstring of mailserver.interfaces, and public names of the package."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mailserver
import mailserver.interfaces
from mailserver import MailServerError

ROOT = Path(__file__).parent.parent


def tree() -> Iterator[tuple[int, type[MailServerError]]]:
    """Each class with its depth, every module imported."""
    for path in sorted((ROOT / "mailserver").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if not name.endswith("__main__"):
            importlib.import_module(name)
    waiting = [(0, MailServerError)]
    while waiting:
        depth, kind = waiting.pop()
        if kind.__module__.startswith("mailserver."):
            yield depth, kind
            waiting += [(depth + 1, child) for child in kind.__subclasses__()]


KINDS = list(tree())


def test_the_tree_is_drawn() -> None:
    page = (mailserver.interfaces.__doc__ or "").partition("::\n")[2]
    drawn = re.findall(r"^    ((?:[│ ]   )*(?:[├└]── )?)([A-Z]\w+)", page, re.M)
    assert sorted((len(lead) // 4, name) for lead, name in drawn) == sorted(
        (depth, kind.__name__) for depth, kind in KINDS
    )


@pytest.mark.parametrize("kind", [kind for _, kind in KINDS], ids=lambda kind: kind.__name__)
def test_each_is_a_public_name_and_says_what_it_is(kind: type[MailServerError]) -> None:
    assert getattr(mailserver, kind.__name__) is kind
    assert kind.__doc__
