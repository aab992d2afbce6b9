"""Recipients that were held only because outgoing mail was on hold, once it is not any more.

What an operator holds has another last outcome, or none, and is passed by.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from mailserver.interfaces import IClock
from mailserver.message.claim import Change, Settlement
from mailserver.message.outcome import transient
from mailserver.message.query import Page, Query, QueuedMessage, QueuedRecipient
from mailserver.message.state import State
from mailserver.queue.router import HOLD_REASON
from mailserver.smtp.status import Status

# Said of it from now on, so that a hold by an operator is not taken for the one that ended.
_RELEASED = transient("outgoing mail is on again", Status(4, 3, 2))


async def releases(reader: Any, clock: IClock) -> AsyncIterator[Sequence[Settlement]]:
    """Page by page, the settlements that let them go. `reader` is an ISpoolReader; what it raises leaves."""
    after = ""
    while True:
        found: Any = reader.find(Query(state=State.HELD, after=after))
        page: Page = await found if hasattr(found, "__await__") else found
        yield [one for message in page.messages if (one := _release(message, clock.wall())).changes]
        after = page.after
        if not after:
            return


def _release(message: QueuedMessage, now: float) -> Settlement:
    changes = tuple(
        Change(queued.recipient.number, State.QUEUED, _RELEASED, now)
        for queued in message.recipients
        if _only_on_hold(queued)
    )
    return Settlement(message.queue_id, changes, claimed=False)


def _only_on_hold(queued: QueuedRecipient) -> bool:
    return queued.state is State.HELD and queued.last is not None and queued.last.text == HOLD_REASON
