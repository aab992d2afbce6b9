"""The fates, as the reactor thread reads them: what became of each recipient, and what subscribers have seen.

Reads go over the connection that cannot write, limited and fetched whole. A cursor is moved by a commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailserver.interfaces import IFates
from mailserver.message.fate import Fate, Fates, Settled
from mailserver.message.state import State
from mailserver.smtp.address import Mailbox
from mailserver.smtp.status import Status
from mailserver.spool.packing import dump, unpack_mailbox
from mailserver.spool.reader import Reader
from mailserver.spool.work import Work

_SENT = "SELECT id FROM sent WHERE key = ?"
_FIND = """SELECT coalesce(number, 0), id, key FROM sent LEFT JOIN settled ON settled.message = sent.id
    WHERE id = ?"""
_UNSEEN = """SELECT number, id, key FROM settled JOIN sent ON sent.id = settled.message
    WHERE number > coalesce((SELECT number FROM cursors WHERE name = ?), 0) ORDER BY number LIMIT ?"""
_FATES = """SELECT message, recipient, state, status, reply, attempts FROM fates
    WHERE message IN (SELECT value FROM json_each(?)) ORDER BY message, place"""


@implementer(IFates)
class SpoolFates:
    """Of one spool. `reader` raises SpoolFailed while it does not run; `put` hands work to the commit thread."""

    def __init__(self, reader: Callable[[], Reader], put: Callable[[Work], Deferred[Any]]) -> None:
        self._reader = reader
        self._put = put
        self._callback: Callable[[Sequence[str]], None] | None = None

    def sent(self, key: str) -> str | None:
        """See `IFates.sent`."""
        rows = self._reader().rows(_SENT, (key,))
        return rows[0][0] if rows else None

    def find(self, queue_id: str) -> Settled | None:
        """See `IFates.find`."""
        found = self._read(_FIND, queue_id)
        return found[0] if found else None

    def unseen(self, name: str, limit: int) -> Sequence[Settled]:
        """See `IFates.unseen`."""
        return self._read(_UNSEEN, name, limit)

    def _read(self, statement: str, *parameters: Any) -> list[Settled]:
        reader = self._reader()
        messages = reader.rows(statement, parameters)
        fates: dict[str, dict[Mailbox, Fate]] = {queue_id: {} for _number, queue_id, _key in messages}
        for queue_id, recipient, *columns in reader.rows(_FATES, (dump(list(fates)),)) if fates else ():
            fates[queue_id][unpack_mailbox(recipient)] = _fate(columns)
        return [Settled(queue_id, key, Fates(fates[queue_id]), number) for number, queue_id, key in messages]

    def seen(self, name: str, number: int) -> Deferred[None]:
        """See `IFates.seen`."""
        work = Work((), single=False)
        work.seen = (name, number)
        return self._put(work).addCallback(lambda _ids: None)

    def subscribe(self, callback: Callable[[Sequence[str]], None] | None) -> None:
        """See `IFates.subscribe`."""
        self._callback = callback

    def tell(self, works: Iterable[Work]) -> None:
        """A batch was committed."""
        settled = [queue_id for work in works if work.error is None for queue_id in work.settled]
        if settled and self._callback is not None:
            self._callback(settled)


def _fate(columns: Sequence[Any]) -> Fate:
    state, status, reply, attempts = columns
    return Fate(State(state), Status(*map(int, status.split("."))), reply, attempts)
