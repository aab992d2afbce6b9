"""What is in flight: recipients handed out by claim or by a commit, and not settled yet.

Memory only. A restart forgets it, and whatever was in flight is due again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mailserver.message.claim import Change
from mailserver.message.content import Content
from mailserver.message.state import FINAL
from mailserver.spool.content import SpoolContent


class Flight:
    """One message. ``total`` counts all its recipients; ``fates``: more than its row is written when it ends;
    ``gone``: its row is deleted, only the flight is left."""

    __slots__ = ("content", "fates", "gone", "numbers", "total")

    def __init__(self, content: Content, numbers: set[int], total: int, fates: bool) -> None:
        self.content = content
        self.fates = fates
        self.numbers = numbers
        self.total = total
        self.gone = False

    def ends_with(self, changes: Sequence[Change]) -> bool:
        """Whether `changes` of the holder leave nothing of the message, and no word of it either."""
        if len(changes) != self.total or self.fates:
            return False
        if self.total == 1:
            return changes[0].state in FINAL
        return all(one.state in FINAL for one in changes) and len({one.number for one in changes}) == self.total


class Flights:
    """All flights of one spool, by queue id."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}
        # Given to the commit thread and not heard of since: the row may be on disk before the reactor knows.
        self.coming: set[str] = set()

    def get(self, queue_id: str) -> Flight | None:
        """The flight of a message, if there is one."""
        return self._flights.get(queue_id)

    def active(self, queue_id: str) -> frozenset[int]:
        """The numbers in flight."""
        flight = self._flights.get(queue_id)
        return frozenset(flight.numbers) if flight is not None else frozenset()

    def begin(
        self, queue_id: str, content: Content, numbers: Iterable[int], total: int, fates: bool = False
    ) -> None:
        """More of a message is in flight."""
        flight = self._flights.get(queue_id)
        if flight is None:
            self._flights[queue_id] = Flight(content, set(numbers), total, fates)
        else:
            flight.numbers.update(numbers)

    def settled(self, queue_id: str, changes: Iterable[Change]) -> str | None:
        """The holder settled these; the answer is a content file that nobody needs any more."""
        flight = self._flights.get(queue_id)
        if flight is None:
            return None
        flight.numbers.difference_update(one.number for one in changes)
        return None if flight.numbers else self._end(queue_id, flight)

    def removed(self, queue_id: str) -> str | None:
        """The holder ended the whole message; the answer is its content file, if there is one."""
        flight = self._flights[queue_id]
        flight.gone = True
        return self._end(queue_id, flight)

    def gone(self, queue_id: str, file: str | None) -> str | None:
        """The row is deleted; the answer is its content file, unless an open attempt still reads it."""
        flight = self._flights.get(queue_id)
        if flight is None:
            return file
        flight.gone = True
        return None

    def _end(self, queue_id: str, flight: Flight) -> str | None:
        del self._flights[queue_id]
        if isinstance(flight.content, SpoolContent):
            flight.content.release()
        return flight.content.file if flight.gone else None

    def recipients(self) -> int:
        """How many recipients are in flight."""
        return sum(len(flight.numbers) for flight in self._flights.values())

    def after(self, queue_id: str, limit: int) -> list[str]:
        """The first `limit` messages in flight with an id greater than `queue_id`."""
        return sorted(one for one in self._flights if one > queue_id)[:limit]
