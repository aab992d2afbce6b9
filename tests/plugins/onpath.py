"""Plugins in this process: a module and the metadata of its package, on a path of their own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest


class OnPath:
    """``add`` makes a package with one module; everything is forgotten at the end of the test."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        patch.syspath_prepend(str(directory))
        self._patch = patch

    def add(self, package: str, entries: Mapping[str, str], source: str = "") -> None:
        """`entries` are names of plugins with names in the module, which is called after the package."""
        module = package.replace("-", "_")
        info = self._directory / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        points = "".join(f"{name} = {module}:{target}\n" for name, target in entries.items())
        (info / "entry_points.txt").write_text(f"[mailserver]\n{points}")
        (self._directory / f"{module}.py").write_text(source)
        self._patch.delitem(sys.modules, module, raising=False)
        importlib.invalidate_caches()
