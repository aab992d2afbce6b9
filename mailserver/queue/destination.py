"""How many attempts may run at once: in all, and to each destination.

Local transports are not counted here: they bound themselves by bytes. A destination whose window is full is
closed for claims until an attempt to it ends. A quarter of all places is kept for destinations that have no
attempt running, so that a few hosts which never answer do not stop the mail for all others.
"""

from __future__ import annotations


class Windows:
    """Counts attempts. ``each`` and ``total`` are the bounds."""

    def __init__(self, each: int, total: int) -> None:
        self._each = each
        self._total = total
        self._shared = total - total // 4  # who has a place gets another only below this
        self._open: dict[str, int] = {}
        self._count = 0

    def admit(self, destination: str) -> bool:
        """Take a place for one attempt, if there is one."""
        there = self._open.get(destination, 0)
        if there >= self._each or self._count >= (self._shared if there else self._total):
            return False
        self._open[destination] = there + 1
        self._count += 1
        return True

    def release(self, destination: str) -> None:
        """Give a place back."""
        self._count -= 1
        there = self._open[destination] - 1
        if there:
            self._open[destination] = there
        else:
            del self._open[destination]

    @property
    def full(self) -> bool:
        """True when no destination at all may be tried now."""
        return self._count >= self._total

    def closed(self) -> frozenset[str]:
        """The destinations that take no further attempt now."""
        if self._count >= self._shared:
            return frozenset(self._open)
        return frozenset(name for name, there in self._open.items() if there >= self._each)
