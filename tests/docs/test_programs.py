"""Every program of the manual runs, installed from the wheel, and does what its page says."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.fresh import Fresh
from tests.docs.manual import Block, blocks, pages
from tests.docs.scenes import SCENES
from tests.docs.stage import Stage

PROGRAMS = [
    block
    for page in pages()
    for block in blocks(page)
    if block.language == "python" and (page, block.name) in SCENES
]


@pytest.mark.daemon
@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: f"{block.page}-{block.name}")
def test_a_program_of_the_manual(block: Block, stage: Callable[[Block], Stage]) -> None:
    SCENES[block.page, block.name](stage(block))


def test_it_is_the_wheel_that_they_run(fresh: Fresh) -> None:
    probe = "import mailserver, twisted.plugins.mailserver_plugin as one; print(mailserver.__file__, one.__file__)"
    ran = fresh.run(fresh.directory, fresh.python, "-c", probe)
    package, plugin = ran.stdout.split()
    assert package.startswith(f"{fresh.venv}/"), ran.stderr
    # Twisted looks beside itself first, where `make test` has installed the same line of plugin.
    with zipfile.ZipFile(fresh.wheel) as wheel:
        assert Path(plugin).read_bytes() == wheel.read("twisted/plugins/mailserver_plugin.py")


def test_what_the_wheel_has(fresh: Fresh) -> None:
    """Types, and every file that the source has beside its modules."""
    with zipfile.ZipFile(fresh.wheel) as wheel:
        packed = set(wheel.namelist())
    source = fresh.directory / "source"
    files = {
        str(path.relative_to(source))
        for top in ("mailserver", "twisted")
        for path in (source / top).rglob("*")
        if path.is_file()
    }
    assert "mailserver/py.typed" in files
    assert files - packed == set()
