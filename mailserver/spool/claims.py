"""Claims: what is due, read from disk and put in flight. It is found in two places:

- the *backlog*: packed messages that are not in flight. An earlier process left them, or they were stored
  while nobody had subscribed. They are walked once by rowid; in steady state there are none and nothing is read.
- the rows of unpacked messages (`mailserver.spool.due`).
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from mailserver.message.claim import Claim, Progress
from mailserver.message.envelope import Recipient
from mailserver.spool.content import SpoolContent
from mailserver.spool.due import WAITING, DueRows
from mailserver.spool.flight import Flights
from mailserver.spool.packing import dump, join_recipient, unpack_envelope, unpack_outcome, unpack_recipients
from mailserver.spool.reader import Reader
from mailserver.spool.wanted import Wanted

_WINDOW = 5_000
_TOGETHER = 32
# How much content one call reads into memory: 64 messages at the default cap, never less than one.
_OCTETS = 16_777_216
_EDGE = f"SELECT rowid FROM messages WHERE rowid > ? ORDER BY rowid LIMIT 1 OFFSET {_WINDOW}"  # noqa: S608 (a constant)
_BACKLOG = """SELECT arrived, id, rowid FROM messages WHERE rowid > ? AND rowid <= ? AND unpacked = 0
    ORDER BY rowid LIMIT ?"""
_MESSAGES = """SELECT id, unpacked, total, arrived, envelope, recipients,
    EXISTS (SELECT 1 FROM sent WHERE sent.id = messages.id), file, head, body, size, octets
    FROM messages WHERE id IN (SELECT value FROM json_each(?))"""
_ROWS = f"""SELECT message, number, mailbox, originals, due, attempts, notified, destination, outcome
    FROM recipients WHERE message IN (SELECT value FROM json_each(?)) AND {WAITING}
    ORDER BY message, number"""  # noqa: S608 (constants)

Reading = Callable[[tuple[Any, ...]], SpoolContent]


class Backlog:
    """``found`` holds (arrived, queue id) of messages to claim, oldest first."""

    def __init__(self, reader: Reader, flights: Flights) -> None:
        self._reader = reader
        self._flights = flights
        self._position: int | None = 0
        self.found: deque[tuple[float, str]] = deque()
        self.fill(_TOGETHER)

    @property
    def exhausted(self) -> bool:
        """Whether there is none, and none to be looked for."""
        return self._position is None and not self.found

    def restart(self) -> None:
        """There may be new ones anywhere."""
        self._position = 0
        self.found.clear()

    def fill(self, limit: int) -> None:
        """Walk on, one window at most, until `limit` are found."""
        if self._position is None or len(self.found) >= limit:
            return
        edge = self._reader.rows(_EDGE, (self._position,))
        end = edge[0][0] if edge else (1 << 62)
        page = self._reader.rows(_BACKLOG, (self._position, end, limit))
        for arrived, queue_id, _rowid in page:
            if self._flights.get(queue_id) is None and queue_id not in self._flights.coming:
                self.found.append((arrived, queue_id))
        if len(page) == limit:
            self._position = page[-1][2]
        else:
            self._position = end if edge else None


class Claims:
    """The due side of one spool. ``read(columns)`` makes a content from file, head, body, size and octets."""

    def __init__(self, reader: Reader, flights: Flights, read: Reading, longest: float) -> None:
        self._reader = reader
        self._flights = flights
        self._read = read
        self.backlog = Backlog(reader, flights)
        self.rows = DueRows(reader, flights, longest)

    def next_due(self, now: float) -> float | None:
        """See `ISpool.next_due`."""
        if not self.backlog.exhausted:
            return now
        due = self.rows.next(now)
        return None if due == math.inf else due

    def claim(self, now: float, limit: int, wanted: Wanted) -> list[Claim]:
        """See `ISpool.claim`."""
        untried = wanted.only is None or "" in wanted.only
        if untried:
            self.backlog.fill(limit)
        due = self.rows.find(now, limit, wanted)
        found = heapq.merge(self.backlog.found if untried else (), due)
        claims: list[Claim] = []
        loaded: set[str] = set()
        octets = 0
        # What was found may have been held or removed since: then the next one has its turn.
        while len(claims) < limit and octets < _OCTETS:
            some = [queue_id for _since, queue_id in islice(found, min(_TOGETHER, limit - len(claims)))]
            if not some:
                break
            loaded.update(some)
            for claim in self._load(some, now, wanted):
                octets += 0 if claim.content.file else claim.content.stored
                claims.append(claim)
        self._left(loaded, due, now)
        return claims

    def _left(self, ids: set[str], due: Sequence[tuple[float, str]], now: float) -> None:
        """What was found beyond the messages of `ids` must be found again."""
        found = self.backlog.found
        while found and found[0][1] in ids:
            found.popleft()
        if any(queue_id not in ids for _since, queue_id in due):
            self.rows.written(now)

    def _load(self, ids: Sequence[str], now: float, wanted: Wanted) -> list[Claim]:
        listed = dump(ids)
        messages = {columns[0]: columns for columns in self._reader.rows(_MESSAGES, (listed,))}
        waiting: dict[str, list[Any]] = {}
        if any(columns[1] for columns in messages.values()):
            for queue_id, *columns in self._reader.rows(_ROWS, (listed,)):
                if self.rows.is_due(columns[3], now) and wanted.takes(columns[6]):
                    waiting.setdefault(queue_id, []).append(columns)
        claims = []
        for queue_id in dict.fromkeys(ids):
            claim = self._claim(messages[queue_id], waiting.get(queue_id, ())) if queue_id in messages else None
            if claim is not None:
                claims.append(claim)
        return claims

    def _claim(self, message: tuple[Any, ...], rows: Sequence[Any]) -> Claim | None:
        queue_id, unpacked, total, arrived, envelope, packed, fates, *columns = message
        flight = self._flights.get(queue_id)
        progress: dict[int, Progress] = {}
        if unpacked:
            active = flight.numbers if flight is not None else ()
            recipients = _recipients([row for row in rows if row[0] not in active], progress)
        else:
            recipients = () if flight is not None else unpack_recipients(packed)
        if not recipients:
            return None
        content = flight.content if flight is not None else self._content(columns)
        self._flights.begin(queue_id, content, [one.number for one in recipients], total, bool(fates))
        return Claim(queue_id, unpack_envelope(envelope), recipients, content, arrived, progress, again=True)

    def _content(self, columns: Sequence[Any]) -> SpoolContent:
        content = self._read(tuple(columns))
        content.charge()
        return content


def _recipients(rows: Sequence[Any], progress: dict[int, Progress]) -> tuple[Recipient, ...]:
    recipients = []
    for number, mailbox, originals, _due, attempts, notified, _destination, outcome in rows:
        recipients.append(join_recipient(number, mailbox, originals))
        if attempts or notified or outcome is not None:
            last = unpack_outcome(outcome) if outcome is not None else None
            progress[number] = Progress(attempts, bool(notified), last)
    return tuple(recipients)
