"""Which destinations a claim is for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wanted:
    """All but the `closed` ones, or of those named in `only` the ones that are not closed. A recipient that was
    never tried has the destination ``""``."""

    closed: Collection[str] = frozenset()
    only: Collection[str] | None = None

    def takes(self, destination: str) -> bool:
        """Whether a recipient with that destination may be claimed."""
        return destination not in self.closed and (self.only is None or destination in self.only)

    @property
    def named(self) -> list[str]:
        """The destinations of a claim that names them, in order."""
        return sorted(set(self.only or ()).difference(self.closed))
