"""From outcomes to a settlement with the reports that belong into it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from mailserver.interfaces import SpoolFull
from mailserver.message.claim import Claim
from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import delivered, expanded, permanent, transient
from mailserver.message.prepared import Prepared
from mailserver.message.route import Attempt, Route
from mailserver.message.state import State
from mailserver.queue.reports import Ended, Reporter
from mailserver.queue.schedule import Schedule
from mailserver.queue.settling import Settling
from mailserver.smtp.address import NULL, Mailbox

SENDER = Mailbox.parse("s@a.example")
NOTICE = Schedule((60,), 10_000, 100)


class Bounces:
    """Makes reports, or raises what ``errors`` has next."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.told: list[tuple[str, list[str]]] = []
        self.contents: list[Any] = []
        self.until: list[float | None] = []
        self.wait: Deferred[None] | None = None

    async def report(self, claim: Claim, told: Any) -> Prepared:
        if self.wait is not None:
            await self.wait
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        action = "+".join(dict.fromkeys(one.action for one in told))
        self.told.append((action, [str(one.original.mailbox) for one in told]))
        self.until += [one.until for one in told]
        content = Discarded()
        self.contents.append(content)
        return Prepared(f"report{len(self.told)}", Envelope(NULL), (), content, 0)


class Discarded(Content):
    """Counts."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def discard(self) -> None:
        self.count += 1


class World:
    """A reporter over a recording spool."""

    def __init__(self, make: Any, *errors: Exception | None) -> None:
        self.batches: list[Any] = []
        self.clock, self.log = make.FakeClock(), make.FakeLog()
        self.bounces = Bounces(*errors)
        self.settling = Settling(self, self.log, lambda: None)
        self.reporter = Reporter(self.bounces, self.settling, NOTICE, self.clock, self.log)
        self.start = make.START

    async def settle(self, settlements: Any) -> Any:
        self.batches.extend(settlements)
        return []

    def end(self, *outcomes: Any, originals: Any = None) -> None:
        """An attempt ends; its recipients are numbered."""
        recipients = tuple(
            Recipient(
                n, Mailbox.parse(f"r{n}@b.example"), originals or (Original(Mailbox.parse(f"r{n}@b.example")),)
            )
            for n in range(len(outcomes))
        )
        envelope = Envelope(SENDER)
        claim = Claim("0queueid", envelope, recipients, Content(), self.start)
        attempt = Attempt("0queueid", envelope, recipients, claim.content, Route("smtp", "b.example"), self.start)
        got = {r: o for r, o in zip(recipients, outcomes, strict=True) if o is not None}
        self.run(self.reporter.settle(Ended(claim, attempt, got, self.clock.wall())))

    def run(self, *later: Any) -> None:
        for one in later:
            if one is not None:
                Deferred.fromCoroutine(one)
        self.settling.flush()

    def retry(self) -> None:
        self.run(*self.reporter.retry())


def test_without_a_report_the_settlement_is_owed_at_once(make: Any) -> None:
    world = World(make)
    world.end(make.relayed(), transient("later"))
    (settlement,) = world.batches
    assert [change.state for change in settlement.changes] == [State.RELAYED, State.DEFERRED]
    assert settlement.stored == ()
    assert world.bounces.told == []


def test_failed_and_delayed_are_a_report_each_in_the_same_settlement(make: Any) -> None:
    world = World(make)
    world.clock.advance(200)
    world.end(permanent("no"), transient("later"), make.relayed(), permanent("no"))
    free, settlement = world.batches
    assert [[change.number for change in one.changes] for one in (free, settlement)] == [[2], [0, 1, 3]]
    assert free.stored == ()
    assert [one.queue_id for one in settlement.stored] == ["report1", "report2"]
    failed, delayed = ("failed", ["r0@b.example", "r3@b.example"]), ("delayed", ["r1@b.example"])
    assert world.bounces.told == [failed, delayed]
    # Only who is delayed hears until when.
    assert world.bounces.until == [None, None, make.START + 10_000]


def test_successes_share_a_report_of_their_own(make: Any) -> None:
    world = World(make)
    asks = (Original(Mailbox.parse("one@b.example"), frozenset({"SUCCESS", "FAILURE"})),)
    passed = replace(make.relayed(), dsn_passed=True)
    world.end(make.relayed(), permanent("no"), delivered(), expanded(), passed, originals=asks)
    free, settlement = world.batches
    assert [change.state for change in free.changes] == [State.RELAYED], "whose report is another host's"
    states = [State.RELAYED, State.FAILED, State.DELIVERED, State.EXPANDED]
    assert [change.state for change in settlement.changes] == states
    one = "one@b.example"
    assert world.bounces.told == [("failed", [one]), ("delivered+relayed+expanded", [one, one, one])]
    assert len(settlement.stored) == 2


def test_each_original_that_asks_is_told_of(make: Any) -> None:
    world = World(make)
    one, two, never = (Mailbox.parse(f"{name}@b.example") for name in ("one", "two", "never"))
    world.end(permanent("no"), originals=(Original(one), Original(never, frozenset({"NEVER"})), Original(two)))
    assert world.bounces.told == [("failed", ["one@b.example", "two@b.example"])]


def test_a_forgotten_recipient_is_named_and_transient(make: Any) -> None:
    world = World(make)
    world.end(make.relayed(), None)
    assert [change.state for change in world.batches[0].changes] == [State.RELAYED, State.DEFERRED]
    assert world.log.names()[0:2] == ["message.relayed", "transport.forgot"]


def test_no_room_blocks_and_is_tried_again(make: Any) -> None:
    world = World(make, SpoolFull("full"), SpoolFull("full"))
    world.end(permanent("no"))
    assert world.reporter.blocked
    assert world.reporter.unsettled == 1
    world.retry()
    assert world.batches == []
    world.retry()
    assert [change.state for change in world.batches[0].changes] == [State.FAILED]
    assert len(world.batches[0].stored) == 1
    assert world.reporter.blocked is None
    assert world.reporter.unsettled == 0
    # Said once, not every second.
    assert len(world.log.failures) == 1
    assert world.reporter.retry() == []


def test_it_stays_blocked_while_it_is_being_tried_again(make: Any) -> None:
    world = World(make, SpoolFull("full"))
    world.end(permanent("no"))
    world.bounces.wait = Deferred()
    world.retry()
    assert world.reporter.blocked
    # And is not tried twice at once.
    world.retry()
    world.bounces.wait.callback(None)
    world.settling.flush()
    assert len(world.batches) == 1


def test_a_bug_in_one_report_does_not_block_the_rest(make: Any) -> None:
    world = World(make, ValueError("a bug"), ValueError("a bug"))
    world.end(permanent("no"))
    assert world.reporter.blocked is None
    world.retry()
    world.end(permanent("no"))
    assert len(world.batches) == 1
    world.retry()
    assert len(world.batches) == 2


def test_who_is_owed_no_report_does_not_wait_for_one(make: Any) -> None:
    world = World(make, ValueError("a bug"))
    world.end(permanent("no"), make.relayed(), transient("later"))
    (first,) = world.batches
    assert [(change.number, change.state) for change in first.changes] == [(1, State.RELAYED), (2, State.DEFERRED)]
    world.retry()
    second = world.batches[1]
    assert [(change.number, change.state) for change in second.changes] == [(0, State.FAILED)]
    assert len(second.stored) == 1


def test_a_first_report_is_thrown_away_when_the_second_cannot_be_made(make: Any) -> None:
    world = World(make, None, SpoolFull("full"))
    world.clock.advance(200)
    world.end(permanent("no"), transient("later"))
    assert [content.count for content in world.bounces.contents] == [1]
    world.retry()
    assert [content.count for content in world.bounces.contents] == [1, 0, 0]
    assert len(world.batches[0].stored) == 2


@pytest.mark.parametrize(("outcome", "name"), [(permanent("no"), "failed"), (transient("later"), "deferred")])
def test_the_log_says_what_became_of_it(outcome: Any, name: str, make: Any) -> None:
    world = World(make)
    world.end(outcome)
    ((event, fields), *_) = world.log.events
    assert event == f"message.{name}"
    assert (fields["queue"], str(fields["to"]), fields["said"]) == ("0queueid", "r0@b.example", outcome.text)
    assert fields["destination"] == "b.example"


def test_nobody_waits_for_the_report_of_another(make: Any) -> None:
    """A kill while a large content is written into a report must not send what has arrived once more."""
    world = World(make)
    wait = world.bounces.wait = Deferred()
    world.end(permanent("no"), make.relayed())
    (free,) = world.batches
    assert [(change.number, change.state) for change in free.changes] == [(1, State.RELAYED)]
    wait.callback(None)
    world.settling.flush()
    assert [change.number for change in world.batches[1].changes] == [0]
