"""What a batch of work does to the database: the SQL of the one writing connection.

:meth:`Ledger.commit` is one transaction: settlements and removals owed, with the fates they decide, then the
new messages. Where there is nothing but new messages it is one INSERT, which SQLite commits by itself, as
durably as a COMMIT does and with the same errors. Everything is done in few statements over many rows, because
Python gives up and takes back its global lock around every step of a statement, and beside a busy reactor
thread taking it back may cost milliseconds.

Raises what sqlite3 raises, with the transaction rolled back; the caller decides what that means.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from mailserver.message.prepared import Prepared
from mailserver.spool.fatebook import FateBook
from mailserver.spool.packing import dump, pack_envelope, pack_recipients
from mailserver.spool.rows import Row, Standing
from mailserver.spool.work import Work

PAGE = 4096
_LISTED = "(SELECT value FROM json_each(?))"
_MOST = 64  # rows in one INSERT; powers of two up to it, so that few statements are prepared


def _inserts(start: str, columns: int) -> dict[int, str]:
    row = "(" + ",".join("?" * columns) + ")"
    return {size: f"{start} VALUES {','.join([row] * size)}" for size in range(1, _MOST + 1)}


_INSERT_MESSAGES = _inserts("INSERT INTO messages", 11)
_WRITE_RECIPIENTS = _inserts("INSERT OR REPLACE INTO recipients", 10)
# S608: every text below is put together from constants.
_COUNT_REMOVED = f"""SELECT coalesce(sum(CASE unpacked WHEN 0 THEN total END), 0), coalesce(sum(unpacked), 0),
    count(*) FROM messages WHERE id IN {_LISTED}"""  # noqa: S608
_COUNT_STATES = f"SELECT state, count(*) FROM recipients WHERE message IN {_LISTED} GROUP BY state"  # noqa: S608
_REMOVE_MESSAGES = f"DELETE FROM messages WHERE id IN {_LISTED}"  # noqa: S608
_REMOVE_RECIPIENTS = f"DELETE FROM recipients WHERE message IN {_LISTED}"  # noqa: S608
_UNPACK = f"UPDATE messages SET unpacked = 1 WHERE id IN {_LISTED}"  # noqa: S608
_MESSAGES = f"""SELECT id, unpacked, recipients, arrived, file, EXISTS (SELECT 1 FROM sent
    WHERE sent.id = messages.id) FROM messages WHERE id IN {_LISTED}"""  # noqa: S608
_ROWS = f"""SELECT message, number, mailbox, originals, state, due, attempts, notified, destination, outcome
    FROM recipients WHERE message IN {_LISTED}"""  # noqa: S608
_ALL_STATES = """SELECT state, count(*) FROM recipients GROUP BY state
    UNION ALL SELECT 'queued', coalesce(sum(total), 0) FROM messages WHERE unpacked = 0
    UNION ALL SELECT 'messages', count(*) FROM messages"""


class Ledger:
    """Owns `connection`, which is in autocommit mode; ``fates`` writes there, too. ``counts``: recipients by state
    name, and ``messages``; replaced after each commit, so that another thread may read it. ``pages``: about what
    the last commit wrote."""

    def __init__(self, connection: sqlite3.Connection, fates: FateBook) -> None:
        self.connection = connection
        self.fates = fates
        self.counts: Counter[str] = Counter()
        self.pages = 0
        for name, number in connection.execute(_ALL_STATES):
            self.counts[name] += number

    def commit(self, works: Sequence[Work]) -> None:
        """All of `works`, or nothing."""
        change: Counter[str] = Counter()
        if _only_new(works):
            # One statement is a transaction by itself, and each further one costs a turn of the global lock.
            self.pages = 3
            self._insert(works, change)
        else:
            self._all(works, change)
        counts = self.counts.copy()
        counts.update(change)
        self.counts = counts

    def _all(self, works: Sequence[Work], change: Counter[str]) -> None:
        execute = self.connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            self._settle(works, change)
            self.fates.seen([work.seen for work in works if work.seen is not None])
            self._insert(works, change)
            execute("COMMIT")
        except BaseException:
            # Some errors have rolled back already.
            if self.connection.in_transaction:
                execute("ROLLBACK")
            raise

    # Settlements.

    def _settle(self, works: Sequence[Work], change: Counter[str]) -> None:
        removals = [queue_id for work in works for queue_id in work.removals]
        self.pages = 3 + len(removals)
        if any(work.changes for work in works):
            removals += self._changes(works, set(removals), change)
        if removals:
            self._remove(dump(removals), change)

    def _remove(self, listed: str, change: Counter[str]) -> None:
        execute = self.connection.execute
        packed, unpacked, messages = execute(_COUNT_REMOVED, (listed,)).fetchone()
        change["queued"] -= packed
        change["messages"] -= messages
        if unpacked:
            for state, number in execute(_COUNT_STATES, (listed,)).fetchall():
                change[state] -= number
            execute(_REMOVE_RECIPIENTS, (listed,))
        execute(_REMOVE_MESSAGES, (listed,))

    def _changes(self, works: Sequence[Work], removed: set[str], change: Counter[str]) -> list[str]:
        """Apply the changes; the answer is the messages that have no unfinished recipient left."""
        ids = {settlement.queue_id for work in works for settlement, _active in work.changes} - removed
        standings = self._standings(dump(list(ids)))
        for work in works:
            work.earliest = None
            work.gone, work.settled = [], []
            for settlement, active in work.changes:
                standing = standings.get(settlement.queue_id)
                if standing is None:
                    continue  # every recipient was removed while in flight
                due = standing.apply(settlement, active)
                if due is not None and (work.earliest is None or due < work.earliest):
                    work.earliest = due
        if any(standing.fates for standing in standings.values()):
            self.pages += self.fates.settle(standings)
        finished = [queue_id for queue_id, standing in standings.items() if standing.finished]
        self._note_gone(works, {queue_id: standings.pop(queue_id) for queue_id in finished})
        self._write(standings, change)
        return finished

    def _note_gone(self, works: Sequence[Work], gone: dict[str, Standing]) -> None:
        """The work that spoke last of a message tells that it is gone."""
        for work in reversed(works):
            for settlement, _active in work.changes:
                standing = gone.pop(settlement.queue_id, None)
                if standing is not None:
                    work.gone.append((settlement.queue_id, standing.file))
                    if standing.fates:
                        work.settled.append(settlement.queue_id)

    def _standings(self, listed: str) -> dict[str, Standing]:
        found = self.connection.execute(_MESSAGES, (listed,)).fetchall()
        standings = {}
        for queue_id, unpacked, recipients, arrived, file, fates in found:
            standing = Standing(True, file, {}) if unpacked else Standing.packed(recipients, arrived, file)
            standing.fates = bool(fates)
            standings[queue_id] = standing
        for queue_id, *columns in self.connection.execute(_ROWS, (listed,)).fetchall():
            row = Row.read(columns)
            standings[queue_id].rows[row.number] = row
        return standings

    def _write(self, standings: dict[str, Standing], change: Counter[str]) -> None:
        """Write the rows that changed, and every row of a message that was packed until now."""
        rows: list[tuple[Any, ...]] = []
        unpack: list[str] = []
        for queue_id, standing in standings.items():
            if not standing.before:
                continue
            if not standing.unpacked:
                unpack.append(queue_id)
            numbers = standing.before if standing.unpacked else standing.rows
            rows += [(queue_id, *standing.rows[number].columns()) for number in numbers]
            for number, state in standing.before.items():
                change[state.value] -= 1
                change[standing.rows[number].state.value] += 1
        self._many(_WRITE_RECIPIENTS, rows)
        if unpack:
            self.connection.execute(_UNPACK, (dump(unpack),))
        self.pages += 2 * len(rows) + 2 * len(unpack)

    # New messages.

    def _insert(self, works: Sequence[Work], change: Counter[str]) -> None:
        rows = []
        for work in works:
            work.earlier = None
            for prepared in work.stored:
                if prepared.fates:
                    self.fates.enter(work, prepared)
                    if work.earlier is not None:
                        break  # `store` of a message that is here already
                rows.append(_columns(prepared))
                change["messages"] += 1
                change["queued"] += len(prepared.recipients)
        self._many(_INSERT_MESSAGES, rows)
        self.pages += sum(2 + (len(row[8]) + len(row[9]) + len(row[10])) // PAGE for row in rows)

    def _many(self, statements: dict[int, str], rows: list[tuple[Any, ...]]) -> None:
        position = 0
        while position < len(rows):
            size = min(_MOST, len(rows) - position)
            values = list(chain.from_iterable(rows[position : position + size]))
            self.connection.execute(statements[size], values)
            position += size

    # Facts about the whole.

    def fact(self, name: str) -> str:
        """What is known."""
        (value,) = self.connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(value)

    def note(self, name: str, value: str) -> None:
        """Set a fact durably."""
        self.connection.execute("UPDATE facts SET value = ? WHERE name = ?", (value, name))

    def shrink(self, octets: int) -> None:
        """Move free pages to the end of the database, from where the next checkpoint gives them back."""
        # It works one page a step, and execute() takes only one where a statement has no columns.
        self.connection.executescript(f"PRAGMA incremental_vacuum({octets // PAGE})")

    def files(self) -> Iterable[str]:
        """The content files that rows name."""
        named = self.connection.execute("SELECT file FROM messages WHERE file IS NOT NULL").fetchall()
        return (name for (name,) in named)


def _only_new(works: Sequence[Work]) -> bool:
    """Whether all of it goes into one INSERT."""
    return (
        len(works) <= _MOST
        and not any(work.settles or work.seen for work in works)
        and all(len(work.stored) == 1 and not work.stored[0].fates for work in works)
    )


def _columns(prepared: Prepared) -> tuple[Any, ...]:
    content = prepared.content
    body = b"".join(content.pieces()) if content.file is None else content.header()
    return (
        prepared.queue_id, 0, len(prepared.recipients), prepared.arrived, content.size,
        content.stored - len(content.head), content.file, pack_envelope(prepared.envelope),
        pack_recipients(prepared.recipients), content.head, body,
    )  # fmt: skip
