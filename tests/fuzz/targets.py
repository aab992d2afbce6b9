"""The fuzz targets by name, and where their corpus stands."""

from __future__ import annotations

from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
TARGETS = {name: f"tests.fuzz.target_{name}" for name in ("server", "client", "address")}
