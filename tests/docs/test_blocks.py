"""Every block of code in the manual has a language and a rule; a block without one fails here.

- ``python``: a program with a scene (`scenes`), a test suite (`test_suites`), or a file of a package.
- ``ini``: a file of a package, or one of `FILES`.
- ``toml``: a file of a package, or settings: the reader takes them.
- ``sh``: each command is run, by a scene or by `test_commands`; or only checked, for a reason in `CHECKED`.
- ``text``: what the program in front of it prints, or one of `DRAWN`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mailserver.admin.control import COMMANDS
from mailserver.admin.parser import build
from mailserver.settings.read import read
from tests.docs.commands import CHECKED, WALKS, Line, lines
from tests.docs.manual import ROOT, Block, blocks, pages, unfenced
from tests.docs.scenes import SCENES
from tests.docs.test_suites import SUITES
from tests.plugins.packages import files_of

# Their packages are built, installed and used by tests/plugins/test_installed.py and by `test_suites`.
PACKAGES = ("docs/plugins.md", "docs/checkers-and-realms.md")
# Files that are used as they stand.
FILES = {("docs/embedding.md", "mypy.ini"): "tests/test_user_types.py checks the programs with it"}
# Texts that are neither code nor output, by their first words, with what holds them true.
DRAWN = {
    ("docs/architecture.md", "mailserver/"): "the tree: tests/test_levels.py reads the imports",
    ("docs/architecture.md", "socket → net.server.ServerProtocol"): "a drawing of who calls whom",
    ("docs/sending.md", "MailServerError"): "the tree of errors: tests/transport/test_sending_page.py",
    ("docs/plugins.md", "MAIL FROM:<anybody@spam.example>"): "a dialogue: tests/plugins/test_installed.py",
    ("docs/plugins.md", "mailserver.toml:1: plugins."): "an error message: tests/plugins/test_manual.py",
    ("docs/reports.md", "This is the mail server at"): "a report: tests/message/test_reports_page.py",
    ("docs/reports.md", "Original-Envelope-Id: "): "its fields: tests/message/test_reports_page.py",
}
BLOCKS = [block for page in pages() for block in blocks(page)]


def of(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


def is_file_of_a_package(block: Block) -> bool:
    return block.page in PACKAGES and files_of(Path(block.page).name).get(block.name) == block.text


def test_every_block_has_a_language_that_has_a_rule() -> None:
    assert [str(block) for block in BLOCKS if block.language not in ("python", "ini", "toml", "sh", "text")] == []


@pytest.mark.parametrize("page", pages())
def test_code_is_fenced(page: str) -> None:
    assert unfenced(page) == []


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_a_python_block_runs_somewhere(block: Block) -> None:
    compile(block.text, str(block), "exec")
    assert (
        (block.page, block.name) in SCENES
        or block.name in SUITES.get(block.page, ())
        or is_file_of_a_package(block)
    )


@pytest.mark.parametrize("block", of("ini"), ids=str)
def test_an_ini_block_is_a_file_that_is_used(block: Block) -> None:
    assert (block.page, block.name) in FILES or is_file_of_a_package(block)


@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_a_toml_block_is_settings(block: Block) -> None:
    if not is_file_of_a_package(block):
        head = "" if "host_name" in block.text else 'host_name = "mx.example.org"\n'
        read(head + block.text, str(block), Path("instance"))


@pytest.mark.parametrize("line", [line for block in of("sh") for line in lines(block)], ids=str)
def test_a_command_is_run_or_checked(line: Line) -> None:
    """What is only checked: its reason stands in `CHECKED`, and the command exists."""
    if line.program == "mailserverctl":
        build(COMMANDS).parse_args(line.words[1:])
    if line.program == "make":
        assert re.search(rf"^{line.words[1]}:", (ROOT / "Makefile").read_text(), re.M)
    of_a_scene = any((line.page, word) in SCENES for word in line.words)
    assert line.page in WALKS or of_a_scene or line.command in CHECKED


@pytest.mark.parametrize("block", of("text"), ids=str)
def test_a_text_is_output_or_known(block: Block) -> None:
    printed = [one.prints for one in BLOCKS if one.page == block.page]
    known = [words for page, words in DRAWN if page == block.page and block.text.startswith(words)]
    assert block.text in printed or known


def test_every_rule_is_used() -> None:
    """What was taken out of the manual must not stay here."""
    there = {(block.page, block.name) for block in of("python")}
    assert set(SCENES) - there == set()
    assert {(page, name) for page, names in SUITES.items() for name in names} - there == set()
    said = {line.command for block in of("sh") for line in lines(block)}
    assert set(CHECKED) - said == set()
    assert set(FILES) - {(block.page, block.name) for block in of("ini")} == set()
    drawn = {(block.page, words) for block in of("text") for page, words in DRAWN if block.text.startswith(words)}
    assert set(DRAWN) - drawn == set()
