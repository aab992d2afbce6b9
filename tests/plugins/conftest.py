"""The fixture ``on_path``: plugins without an installation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugins.onpath import OnPath


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OnPath:
    """Call ``on_path.add(package, entries, source)``."""
    directory = tmp_path / "packages"
    directory.mkdir()
    return OnPath(directory, monkeypatch)
