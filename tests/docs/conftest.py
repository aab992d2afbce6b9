"""The fixtures of the manual's tests: one fresh environment for the whole run, and a stage for each program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs.fresh import Fresh
from tests.docs.manual import Block
from tests.docs.stage import Stage


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Fresh:
    """An environment with the wheel; parallel test processes share it."""
    base = tmp_path_factory.getbasetemp()
    return Fresh.shared((base if worker_id == "master" else base.parent) / "fresh")


@pytest.fixture
def stage(fresh: Fresh, tmp_path: Path) -> Iterator[Callable[[Block], Stage]]:
    """Call it with a program for a directory in which that can run; what still runs at the end is killed."""
    made: list[Stage] = []

    def make(block: Block) -> Stage:
        made.append(Stage(fresh, tmp_path, block))
        return made[-1]

    yield make
    for one in made:
        one.close()
