"""Rows that are due, found by their index.

Rows of closed destinations are skipped inside SQLite and rows in flight here. One call looks at no more than
:data:`_WINDOW` rows and the next goes on where it stopped, so that neither kind starves what lies behind it.
What a complete search did not find is remembered, so that asking again while nothing has changed, as the queue
manager does whenever a place becomes free, reads nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from mailserver.spool.flight import Flights
from mailserver.spool.packing import dump
from mailserver.spool.reader import Reader
from mailserver.spool.wanted import Wanted

_WINDOW = 50_000
_PAGE = 1_000
WAITING = "state IN ('queued', 'deferred')"  # word for word as in the index
_KEY = "(due, message, number)"
_OPEN = "destination NOT IN (SELECT value FROM json_each(?))"
_ORDER = "ORDER BY due, message, number LIMIT ?"
Key = tuple[float, str, int]

_START: Key = (-math.inf, "", -1)
_END: Key = (math.inf, "\U0010ffff", 1 << 62)
# S608: every text below is put together from constants.
_SELECT = f"SELECT due, message, number FROM recipients WHERE {WAITING}"  # noqa: S608
_EDGE = f"{_SELECT} AND due <= ? AND {_KEY} > (?, ?, ?) {_ORDER} OFFSET {_WINDOW}"
_DUE = f"{_SELECT} AND due <= ? AND {_KEY} > (?, ?, ?) AND {_KEY} <= (?, ?, ?) AND {_OPEN} {_ORDER}"
_FAR = f"{_SELECT} AND due > ? AND {_OPEN} {_ORDER}"
_CLOSED = f"{_SELECT} AND due <= ? AND destination IN (SELECT value FROM json_each(?)) LIMIT 1"  # noqa: S608
_NAMED = f"""SELECT due, message, number FROM recipients INDEXED BY recipients_destination
    WHERE destination IN (SELECT value FROM json_each(?)) AND {WAITING} AND (due <= ? OR due > ?)
    {_ORDER}"""  # noqa: S608
_NEXT = f"SELECT min(due) FROM recipients WHERE {WAITING} AND due > ?"  # noqa: S608


class DueRows:
    """The rows of one spool. A due time more than `longest` seconds ahead counts as now (0: no such rule)."""

    def __init__(self, reader: Reader, flights: Flights, longest: float) -> None:
        self._reader = reader
        self._flights = flights
        self._longest = longest or math.inf
        self._resume = _START
        # After a complete search: what was closed then, and when there may be more to find.
        self._searched: frozenset[str] | None = None
        self._later = self._after(-math.inf)
        # The same after a complete search for named destinations.
        self._searched_named: list[str] | None = None
        self._later_named = self._later
        # When to ask, closed destinations included.
        self._next = self._later

    def _after(self, when: float) -> float:
        ((due,),) = self._reader.rows(_NEXT, (when,))
        return math.inf if due is None else float(due)

    def is_due(self, due: float, now: float) -> bool:
        """Whether a row with that due time is to be tried now."""
        return due <= now or due > now + self._longest

    def next(self, now: float) -> float:
        """When a search may find something; infinity for never."""
        if now + self._longest < self._next < math.inf:
            return now
        return self._next

    def written(self, due: float) -> None:
        """A commit wrote a row that waits for `due`."""
        self._later = min(self._later, due)
        self._later_named = min(self._later_named, due)
        self._next = min(self._next, due)

    def find(self, now: float, limit: int, wanted: Wanted) -> list[tuple[float, str]]:
        """Since when, and which message, oldest first: at most `limit`, each with a row to be tried now."""
        if wanted.only is not None:
            return self._find_named(now, limit, wanted.named)
        closed = wanted.closed
        if self._nothing_new(now, closed):
            return []
        found: dict[str, float] = {}
        shut = dump(sorted(closed))
        complete = self._search(found, now, limit, shut)
        if len(found) < limit and self._longest < math.inf:
            self._collect(found, self._reader.rows(_FAR, (now + self._longest, shut, _PAGE)), limit, now)
        self._remember(now, closed, shut, complete and len(found) < limit)
        return [(due, message) for message, due in found.items()]

    def _find_named(self, now: float, limit: int, named: list[str]) -> list[tuple[float, str]]:
        """Few rows have these destinations while many others wait: they are found by their own index."""
        far = now + self._longest
        calm = now < self._later_named and (self._later_named <= far or self._later_named == math.inf)
        if calm and named == self._searched_named:
            return []
        found: dict[str, float] = {}
        most = _PAGE + self._flights.recipients()
        page = self._reader.rows(_NAMED, (dump(named), now, far, most))
        self._collect(found, [key for key in page if key[0] <= now], limit)
        if len(found) < limit:
            self._collect(found, [key for key in page if key[0] > far], limit, now)
        complete = len(page) < most and len(found) < limit
        self._searched_named = named if complete else None
        self._later_named = self._after(now)
        return [(due, message) for message, due in found.items()]

    def _nothing_new(self, now: float, closed: Collection[str]) -> bool:
        if self._searched is None or not self._searched.issubset(closed):
            return False
        return now < self._later and (self._later <= now + self._longest or self._later == math.inf)

    def _search(self, found: dict[str, float], now: float, limit: int, shut: str) -> bool:
        """One window; true when it was all there is."""
        begin = position = self._resume
        edge = self._reader.rows(_EDGE, (now, *begin, 1))
        end = edge[0] if edge else _END
        while True:
            page = self._reader.rows(_DUE, (now, *position, *end, shut, _PAGE))
            self._collect(found, page, limit)
            if len(found) == limit:
                return False
            if len(page) < _PAGE:
                break
            position = page[-1]
        self._resume = edge[0] if edge else _START
        return not edge and begin == _START

    def _collect(self, found: dict[str, float], page: list[Key], limit: int, since: float | None = None) -> None:
        for due, message, number in page:
            flight = self._flights.get(message)
            if flight is None or number not in flight.numbers:
                found.setdefault(message, due if since is None else since)
                if len(found) == limit:
                    return

    def _remember(self, now: float, closed: Collection[str], shut: str, complete: bool) -> None:
        if not complete:
            self._searched = None
            self._next = now
            return
        self._searched = frozenset(closed)
        self._next = self._later = self._after(now)
        if closed and self._reader.rows(_CLOSED, (now, shut)):
            self._next = now
