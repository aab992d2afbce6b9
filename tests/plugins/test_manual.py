"""What docs/plugins.md says beside its programs (`test_installed` runs those) is so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import mailserver.testing.contracts as contracts
from mailserver.message import CheckContext, Stage
from mailserver.plugins import KINDS, Catalogue
from mailserver.settings import SettingsError
from mailserver.settings.read import read
from tests.harness.daemon import ROOT
from tests.plugins.packages import files_of

PAGES = ("plugins.md", "checkers-and-realms.md")
TEXT = (ROOT / "docs/plugins.md").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_code_is_a_file_that_is_used(page):
    text = (ROOT / "docs" / page).read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    assert all(kind for kind, _ in blocks)
    assert [body for kind, body in blocks if kind != "text"] == list(files_of(page).values())


def test_the_table_of_kinds():
    rows = re.findall(r"^\| ([a-z ]+) \| `([\w.]+)` \|", TEXT, re.M)
    assert [(kind, path) for kind, path in rows if "." in path] == [
        (kind, f"{interface.__module__}.{interface.__name__}") for kind, interface in KINDS.items()
    ]


def test_the_table_of_stages():
    assert re.findall(r"^\| `([A-Z]+)` \|", TEXT, re.M) == [stage.name for stage in Stage]


def test_what_the_context_has():
    (sentence,) = re.findall(r"`mailserver\.message\.CheckContext`: (.*?)\. What is", TEXT, re.S)
    named = re.findall(r"`(\w+)`", sentence)
    assert named == [item.name for item in dataclasses.fields(CheckContext)] + ["header", "size"]


def test_the_contracts():
    named = set(re.findall(r"`(\w+Contract)`", TEXT))
    assert named == {name for name in contracts.__all__ if name.endswith("Contract") and "Spool" not in name}


def test_the_sentence_about_a_broken_plugin(on_path):
    on_path.add("acme-check", {"blocked-senders": "BlockedSenders"})
    with pytest.raises(SettingsError) as caught:
        read("[plugins.blocked-sender]", "mailserver.toml", Path("i"), Catalogue().options_type)
    lines = str(caught.value).splitlines()
    (shown,) = re.findall(r"^```text\n(mailserver\.toml.*?)\n```$", TEXT, re.M)
    assert shown in lines
