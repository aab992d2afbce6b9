"""Which held recipients are let go."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from mailserver.message.claim import Change
from mailserver.message.envelope import Envelope
from mailserver.message.outcome import transient
from mailserver.message.query import Page, Query, QueuedMessage, QueuedRecipient
from mailserver.message.state import State
from mailserver.queue.held import releases
from mailserver.queue.router import HOLD_REASON
from mailserver.smtp.address import NULL

ON_HOLD = transient(HOLD_REASON)


def message(make: Any, queue_id: str, *recipients: tuple[State, Any]) -> QueuedMessage:
    queued = tuple(
        QueuedRecipient(make.recipient(n, f"r{n}@b.example"), state, 0.0, last=last)
        for n, (state, last) in enumerate(recipients)
    )
    return QueuedMessage(queue_id, Envelope(NULL), 0.0, 0, queued)


class Reader:
    """Answers pages in turn."""

    def __init__(self, later: bool, *pages: Page) -> None:
        self.later, self.pages, self.queries = later, list(pages), list[Query]()

    def find(self, query: Query) -> Any:
        self.queries.append(query)
        page = self.pages.pop(0)
        return self._later(page) if self.later else page

    async def _later(self, page: Page) -> Page:
        return page


def released(make: Any, reader: Reader) -> list[list[Any]]:
    async def collect() -> list[list[Any]]:
        return [list(page) async for page in releases(reader, make.FakeClock())]

    result: Any = Deferred.fromCoroutine(collect()).result
    return result


@pytest.mark.parametrize("later", [False, True])
def test_only_what_the_hold_itself_keeps(later: bool, make: Any) -> None:
    mixed = message(
        make, "1", (State.HELD, ON_HOLD), (State.HELD, transient("held by an operator")), (State.HELD, None),
        (State.DEFERRED, ON_HOLD), (State.RELAYED, ON_HOLD), (State.HELD, ON_HOLD),
    )  # fmt: skip
    operators = message(make, "2", (State.HELD, None))
    reader = Reader(later, Page((mixed, operators)))
    (page,) = released(make, reader)
    (settlement,) = page
    assert settlement.queue_id == "1"
    assert not settlement.claimed
    assert [(change.number, change.state, change.due) for change in settlement.changes] == [
        (0, State.QUEUED, make.START), (5, State.QUEUED, make.START),
    ]  # fmt: skip
    # Nothing was attempted, and the reason of the hold is not its last word any more.
    change: Change = settlement.changes[0]
    assert not change.attempted
    assert change.outcome is not None
    assert change.outcome.text != HOLD_REASON


def test_page_by_page(make: Any) -> None:
    first, second = (message(make, name, (State.HELD, ON_HOLD)) for name in "12")
    reader = Reader(False, Page((first,), "1"), Page((), "1b"), Page((second,)))
    assert [[one.queue_id for one in page] for page in released(make, reader)] == [["1"], [], ["2"]]
    assert [query.after for query in reader.queries] == ["", "1", "1b"]
    assert {query.state for query in reader.queries} == {State.HELD}
