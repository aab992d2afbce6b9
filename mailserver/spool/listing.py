"""Listings: a page of messages with their recipients, as people ask for them.

Pages go by queue id, which sorts by time. A search by state looks at no more than :data:`_WINDOW` messages, so
that it holds up the reactor no longer than a commit would; the page says where to go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mailserver.message.state import State
from mailserver.spool.contract import Page, Query, QueuedMessage, QueuedRecipient
from mailserver.spool.flight import Flights
from mailserver.spool.packing import dump, join_recipient, unpack_envelope, unpack_outcome, unpack_recipients
from mailserver.spool.reader import Reader

_WINDOW = 20_000
_ALL = "SELECT id FROM messages WHERE id > ? ORDER BY id LIMIT ?"
_BY_DESTINATION = (
    "SELECT DISTINCT message FROM recipients WHERE destination = ? AND message > ? ORDER BY message LIMIT ?"
)
_BY_STATE = f"""SELECT id FROM (SELECT id, unpacked FROM messages WHERE id > ? ORDER BY id LIMIT {_WINDOW})
    WHERE CASE unpacked WHEN 0 THEN ?2 = 'queued'
        ELSE EXISTS (SELECT 1 FROM recipients WHERE message = id AND state = ?2) END
    ORDER BY id LIMIT ?"""  # noqa: S608 (a constant)
_EDGE = f"SELECT id FROM messages WHERE id > ? ORDER BY id LIMIT 1 OFFSET {_WINDOW - 1}"  # noqa: S608 (a constant)
_MESSAGES = """SELECT id, unpacked, arrived, size, envelope, recipients FROM messages
    WHERE id IN (SELECT value FROM json_each(?))"""
_ROWS = """SELECT message, number, mailbox, originals, state, due, attempts, notified, destination, outcome
    FROM recipients WHERE message IN (SELECT value FROM json_each(?)) ORDER BY message, number"""


class Listing:
    """Reads for people and metrics."""

    def __init__(self, reader: Reader, flights: Flights) -> None:
        self._reader = reader
        self._flights = flights

    def find(self, query: Query) -> Page:
        """See `ISpoolReader.find`."""
        if query.queue_id is not None:
            return Page(tuple(self._messages([query.queue_id], query)))
        ids, after = self._ids(query)
        return Page(tuple(self._messages(ids, query)), after)

    def _ids(self, query: Query) -> tuple[list[str], str]:
        """The ids of one page, and where the next begins."""
        most = query.limit + 1
        after = ""
        if query.destination:
            ids = self._column(_BY_DESTINATION, query.destination, query.after, most)
        elif query.state is State.ACTIVE:
            ids = self._flights.after(query.after, most)
        elif query.state is not None:
            edge = self._column(_EDGE, query.after)
            after = edge[0] if edge else ""
            ids = self._column(_BY_STATE, query.after, query.state.value, most)
        else:
            ids = self._column(_ALL, query.after, most)
        return (ids[:-1], ids[-2]) if len(ids) == most else (ids, after)

    def _column(self, statement: str, *parameters: Any) -> list[str]:
        return [column for (column,) in self._reader.rows(statement, parameters)]

    def _messages(self, ids: Sequence[str], query: Query) -> list[QueuedMessage]:
        listed = dump(ids)
        # In this order: a message that is unpacked in between is shown as it was.
        found = self._reader.rows(_MESSAGES, (listed,))
        rows: dict[str, list[QueuedRecipient]] = {}
        for queue_id, *columns in self._reader.rows(_ROWS, (listed,)):
            rows.setdefault(queue_id, []).append(_recipient(columns))
        messages = [self._message(columns, rows) for columns in sorted(found)]
        return [message for message in messages if _meets(message, query)]

    def _message(self, columns: Sequence[Any], rows: dict[str, list[QueuedRecipient]]) -> QueuedMessage:
        queue_id, unpacked, arrived, size, envelope, packed = columns
        if unpacked:
            recipients = rows.get(queue_id, [])
        else:
            recipients = [QueuedRecipient(one, State.QUEUED, arrived) for one in unpack_recipients(packed)]
        active = self._flights.active(queue_id)
        shown = tuple(
            replace(one, state=State.ACTIVE) if one.recipient.number in active and not one.state.final else one
            for one in recipients
        )
        return QueuedMessage(queue_id, unpack_envelope(envelope), arrived, size, shown)


def _recipient(columns: Sequence[Any]) -> QueuedRecipient:
    number, mailbox, originals, state, due, attempts, notified, destination, outcome = columns
    last = unpack_outcome(outcome) if outcome is not None else None
    recipient = join_recipient(number, mailbox, originals)
    return QueuedRecipient(recipient, State(state), due, attempts, bool(notified), destination, last)


def _meets(message: QueuedMessage, query: Query) -> bool:
    return any(
        (query.state is None or one.state is query.state)
        and (not query.destination or one.destination == query.destination)
        for one in message.recipients
    )
