"""One budget of memory for all content of a spool.

What was taken is given back when the content leaves memory: written to its file, discarded, or its message
settled. Nothing waits for the budget: when it is spent, new content goes to files at once.
"""

from __future__ import annotations


class MemoryBudget:
    """Octets that content may hold in memory. Used on the reactor thread only."""

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, octets: int) -> bool:
        """Take all of it or nothing; the answer says which."""
        if octets > self.left:
            return False
        self.left -= octets
        return True

    def overdraw(self, octets: int) -> None:
        """Take what is in memory already (a content read back): the budget may go below zero."""
        self.left -= octets

    def give(self, octets: int) -> None:
        """Give back."""
        self.left += octets
