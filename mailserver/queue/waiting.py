"""Attempts that were claimed and found no place: they wait in memory, destination by destination.

Bounded: what does not fit goes back to the spool. The destinations take turns, so that one with a long
queue does not hold up the others; within one the oldest goes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from mailserver.queue.destination import Windows

Job = TypeVar("Job")


class Waiting(Generic[Job]):
    """At most `most` jobs."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._jobs: dict[str, deque[Job]] = {}

    def __len__(self) -> int:
        return self._count

    def destinations(self) -> Iterator[str]:
        """Where somebody waits to be sent."""
        return iter(self._jobs)

    def add(self, destination: str, job: Job) -> bool:
        """Let `job` wait; False when there is no room."""
        if self._count >= self._most:
            return False
        self._count += 1
        self._jobs.setdefault(destination, deque()).append(job)
        return True

    def next(self, windows: Windows) -> Job | None:
        """A job that `windows` has a place for, which is then taken; None when there is none."""
        if windows.full:
            return None
        for destination in self._jobs:
            if windows.admit(destination):
                return self._take(destination)
        return None

    def _take(self, destination: str) -> Job:
        jobs = self._jobs.pop(destination)
        job = jobs.popleft()
        self._count -= 1
        if jobs:
            self._jobs[destination] = jobs  # to the end of the line
        return job
