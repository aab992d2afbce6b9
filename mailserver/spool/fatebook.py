"""The fates, as the commit thread writes them: within the commit that settles, or not at all.

A message that asks for fates has a row in ``sent`` from the commit that stores it; so a key is taken exactly
when its message is durable, and a second message with that key is refused in favour of the first. The
settlement that makes recipients final writes their fates, and with the last one the message gets its number.

What is older than ``keep`` is swept, a bounded step at a time, from the oldest number on. What some subscriber
has not seen yet is kept for as long again, and no longer: a name that nobody uses any more must not fill the
disk. Raises what sqlite3 raises; whoever holds the transaction rolls it back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mailserver.message.fate import fates_of
from mailserver.message.prepared import Prepared
from mailserver.message.query import QueuedRecipient
from mailserver.spool.packing import dump, join_recipient, pack_mailbox, unpack_outcome
from mailserver.spool.rows import Row, Standing
from mailserver.spool.work import Work

# Messages in one step of the sweep: some ten milliseconds of the commit thread.
STEP = 1000
_ENTER = "INSERT INTO sent VALUES (?, ?) ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING"
_HOLDER = "SELECT id FROM sent WHERE key = ?"
# One statement for any number of rows; a fate that is there already is the same one.
_WRITE = """INSERT OR IGNORE INTO fates SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),
    json_extract(value, '$[2]'), json_extract(value, '$[3]'), json_extract(value, '$[4]'),
    json_extract(value, '$[5]'), json_extract(value, '$[6]'), ? FROM json_each(?)"""
_NUMBER = "INSERT INTO settled (message, time) SELECT value, ? FROM json_each(?) ORDER BY key"
_SEEN = """INSERT INTO cursors VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET number = max(number, excluded.number)"""
_OLD = f"""SELECT message FROM (SELECT number, message, time FROM settled ORDER BY number LIMIT {STEP})
    WHERE time < ?1 - ?2 AND (time < ?1 - 2 * ?2
        OR number <= coalesce((SELECT min(number) FROM cursors), number))"""  # noqa: S608 (a constant)
_LISTED = "(SELECT value FROM json_each(?))"
# S608: put together from constants.
_SWEEP = (
    f"DELETE FROM fates WHERE message IN {_LISTED}",  # noqa: S608
    f"DELETE FROM sent WHERE id IN {_LISTED}",  # noqa: S608
    f"DELETE FROM settled WHERE message IN {_LISTED}",  # noqa: S608
)


class FateBook:
    """Works on the writing `connection`. `wall` is the clock, `keep` seconds."""

    def __init__(self, connection: sqlite3.Connection, wall: Callable[[], float], keep: float) -> None:
        self._connection = connection
        self._wall = wall
        self._keep = keep

    def enter(self, work: Work, prepared: Prepared) -> None:
        """`prepared`, about to be stored, asks for fates. Notes it in `work` when its key is taken."""
        entered = self._connection.execute(_ENTER, (prepared.queue_id, prepared.key)).rowcount
        if not entered:
            (work.earlier,) = self._connection.execute(_HOLDER, (prepared.key,)).fetchone()

    def settle(self, standings: Mapping[str, Standing]) -> int:
        """Write what the changes to `standings` decided; about how many pages that took."""
        changed = {name: one for name, one in standings.items() if one.fates and one.before}
        rows = [row for queue_id, standing in changed.items() for row in _rows(queue_id, standing)]
        finished = [queue_id for queue_id, standing in changed.items() if standing.finished]
        now = self._wall()
        if rows:
            self._connection.execute(_WRITE, (now, dump(rows)))
        if finished:
            self._connection.execute(_NUMBER, (now, dump(finished)))
        return len(rows) + 2 * len(finished)

    def seen(self, cursors: Iterable[tuple[str, int]]) -> None:
        """Subscribers have seen that much."""
        for cursor in cursors:
            self._connection.execute(_SEEN, cursor)

    def sweep(self) -> int:
        """Forget what is old, in a transaction of its own, one step; how many messages that were."""
        old = [message for (message,) in self._connection.execute(_OLD, (self._wall(), self._keep)).fetchall()]
        if old:
            self._forget(dump(old))
        return len(old)

    def _forget(self, listed: str) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            for statement in _SWEEP:
                execute(statement, (listed,))
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise


def _rows(queue_id: str, standing: Standing) -> Sequence[tuple[Any, ...]]:
    fates = fates_of(_recipient(standing.rows[number]) for number in sorted(standing.rows))
    return [
        (queue_id, place, pack_mailbox(mailbox), one.state.value, str(one.status), one.remote_reply, one.attempts)
        for place, (mailbox, one) in enumerate(fates.items())
        if one is not None
    ]


def _recipient(row: Row) -> QueuedRecipient:
    last = unpack_outcome(row.outcome) if row.outcome is not None else None
    recipient = join_recipient(row.number, row.mailbox, row.originals)
    return QueuedRecipient(recipient, row.state, row.due, row.attempts, row.notified, row.destination, last)
