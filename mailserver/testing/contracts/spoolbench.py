"""What the contract of spools works with: one spool, a clock that the test turns, and short ways to use both.

Whoever has a spool to be tested subclasses :class:`SpoolBench`, so that its awaitables get an answer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from zope.interface import implementer

from mailserver.interfaces import IClock
from mailserver.message.claim import Change, Claim, Settlement
from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import Klass, Outcome, Scope
from mailserver.message.prepared import Prepared, new_queue_id
from mailserver.message.query import Query
from mailserver.message.state import State
from mailserver.smtp.address import Mailbox
from mailserver.smtp.status import Status

NOW = 1_790_000_000.0
LATER = Outcome(Klass.TRANSIENT, Scope.HOST, Status(4, 4, 1), "not now", remote_mta="mx", remote_reply="450 no")
BODY = b"Subject: x\n\nbody\n"


@implementer(IClock)
class TurnedClock:
    """Stands still until a test sets ``now`` (wall) or ``passed`` (monotonic)."""

    def __init__(self) -> None:
        self.now = NOW
        self.passed = 0.0

    def wall(self) -> float:
        """See `IClock`."""
        return self.now

    def monotonic(self) -> float:
        """See `IClock`."""
        return self.passed


class SpoolBench:
    """``spool`` is the spool under test, made by :meth:`open`; ``fresh`` is what it handed over so far."""

    spool: Any

    def __init__(self) -> None:
        self.clock = TurnedClock()
        self.fresh: list[Claim] = []

    # What a subclass says.

    def open(self, subscribed: bool = True, longest_interval: float = 0.0) -> Any:
        """Make and start ``spool`` with ``clock``; where `subscribed`, ``fresh.extend`` hears of stored mail."""
        raise NotImplementedError

    def wait(self, awaitable: Any) -> Any:
        """The result of what ``store`` or ``settle`` answered, or its exception raised."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop ``spool``."""
        raise NotImplementedError

    def reopen(self, subscribed: bool = True) -> Any:
        """Stop, and start what a next process would find."""
        self.close()
        return self.open(subscribed)

    # Short ways.

    def message(self, recipients: int = 1, octets: bytes = BODY) -> Prepared:
        """A message to ``r0@example.org`` and so on, whose content comes from the spool."""
        content: Content = self.spool.new_content()
        content.write(octets)
        if (waiting := content.finish()) is not None:
            self.wait(waiting)
        boxes = [Mailbox.parse(f"r{number}@example.org") for number in range(recipients)]
        envelope = Envelope(Mailbox.parse("sender@example.com"), envid="e1", identity="sender@example.com")
        numbered = tuple(Recipient(number, box, (Original(box),)) for number, box in enumerate(boxes))
        return Prepared(new_queue_id(self.clock.now), envelope, numbered, content, self.clock.now)

    def store(self, recipients: int = 1, octets: bytes = BODY) -> str:
        """Store one, and answer its queue id."""
        queue_id: str = self.wait(self.spool.store(self.message(recipients, octets)))
        return queue_id

    def settle(
        self, queue_id: str, *changes: Change, claimed: bool = True, stored: Sequence[Prepared] = ()
    ) -> list[str]:
        """One settlement of one message."""
        settlement = Settlement(queue_id, changes, tuple(stored), claimed)
        return list(self.wait(self.spool.settle([settlement])))

    def claim(
        self, limit: int = 100, closed: Collection[str] = frozenset(), only: Collection[str] | None = None
    ) -> list[Claim]:
        """Claim what is due now."""
        return list(self.spool.claim(self.clock.now, limit, closed, only))

    def states(self, queue_id: str) -> dict[int, State]:
        """The state of each recipient, as a listing shows it."""
        page = self.spool.find(Query(queue_id=queue_id))
        return {one.recipient.number: one.state for message in page.messages for one in message.recipients}


def deferred(number: int, due: float, destination: str = "", notified: bool = False) -> Change:
    """The change after an attempt that failed for now."""
    return Change(number, State.DEFERRED, LATER, due, destination, attempted=True, notified=notified)


def delivered(*numbers: int) -> list[Change]:
    """The changes after attempts that went well."""
    return [Change(number, State.DELIVERED) for number in numbers]
