"""Links within the manual lead somewhere, and README.md lists every page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.manual import ROOT, pages

_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)", re.S)


def anchors(path: Path) -> set[str]:
    """Those that a reader of Markdown makes of headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: str) -> list[str]:
    return [link for link in _LINK.findall((ROOT / page).read_text()) if "://" not in link]


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: str) -> None:
    lost = []
    for link in links(page):
        place, _, anchor = link.partition("#")
        path = (ROOT / page).parent / place if place else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            lost.append(link)
    assert lost == []


def test_readme_lists_every_page() -> None:
    listed = set(links("README.md"))
    assert {page for page in pages()[1:] if not page.startswith("docs/decisions/")} - listed == set()
