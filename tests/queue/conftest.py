"""What the tests of the queue share: a spool in memory that records and refuses, transports, a clock, a log.

The spool checks what the real one trusts: that a settlement of a claim names only recipients that are in
flight. A recipient settled twice fails the test that did it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from mailserver.interfaces import IClock, IDirectory, IRouter, ISpool, ISpoolReader, ITransport, SpoolFull
from mailserver.message.claim import Change, Claim, Progress, Settlement
from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import Outcome, delivered, permanent, transient
from mailserver.message.prepared import Prepared, new_queue_id
from mailserver.message.query import Page, Query, QueuedMessage, QueuedRecipient
from mailserver.message.resolution import Found, Resolution
from mailserver.message.route import Attempt, Route
from mailserver.message.state import State
from mailserver.queue.bounce import Bounces
from mailserver.queue.destination import Windows
from mailserver.queue.intake import Intake
from mailserver.queue.manager import Parts, QueueManager
from mailserver.queue.schedule import Schedule
from mailserver.smtp.address import NULL, Mailbox
from mailserver.smtp.status import Status
from mailserver.threads import inline

START = 1_764_000_000.0
HOUR, DAY = 3600.0, 86_400.0
WAITING = (State.QUEUED, State.DEFERRED)


@implementer(IClock)
class FakeClock:
    """Twisted's Clock as both of ours."""

    def __init__(self) -> None:
        self.reactor = Clock()

    def wall(self) -> float:
        return START + self.reactor.seconds()

    def monotonic(self) -> float:
        return self.reactor.seconds()

    def advance(self, seconds: float) -> None:
        self.reactor.advance(seconds)


class FakeLog:
    """Events and failures, to be looked at."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[tuple[str, BaseException]] = []

    def event(self, name: str, /, **fields: object) -> None:
        self.events.append((name, fields))

    def failure(self, what: str, exception: BaseException, /, **fields: object) -> None:
        self.failures.append((what, exception))

    def names(self) -> list[str]:
        return [name for name, _ in self.events]


@dataclass
class Row:
    recipient: Recipient
    state: State = State.QUEUED
    due: float = START
    progress: Progress = field(default_factory=Progress)
    destination: str = ""
    settled: int = 0  # settlements of a claim


@implementer(ISpool, ISpoolReader)
class FakeSpool:
    """In memory. ``refusing(batch)`` may answer an exception for a settle; ``slow`` keeps settles unanswered
    in ``pending`` until :meth:`commit`."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.messages: dict[str, Prepared] = {}
        self.rows: dict[str, dict[int, Row]] = {}
        self.flying: set[tuple[str, int]] = set()
        self.settlements: list[Settlement] = []
        self.asked: list[Sequence[Settlement]] = []
        self.claims = 0
        self.refusing: Callable[[Sequence[Settlement]], Exception | None] = lambda batch: None
        self.slow = False
        self.pending: list[tuple[Sequence[Settlement], Deferred[Any]]] = []
        self.on_stored: Callable[[Sequence[Claim]], None] | None = None
        self.make_content: Callable[[], Content] = Content

    def new_content(self) -> Content:
        return self.make_content()

    def store(self, prepared: Prepared) -> Deferred[str]:
        self._insert(prepared)
        done = succeed(prepared.queue_id)
        self._hand_over([prepared])
        return done

    def _insert(self, prepared: Prepared) -> None:
        assert prepared.queue_id not in self.messages
        self.messages[prepared.queue_id] = prepared
        self.rows[prepared.queue_id] = {one.number: Row(one) for one in prepared.recipients}

    def _hand_over(self, stored: Iterable[Prepared]) -> None:
        if self.on_stored is None:
            return
        claims = [Claim(p.queue_id, p.envelope, p.recipients, p.content, p.arrived) for p in stored]
        self.flying.update((claim.queue_id, one.number) for claim in claims for one in claim.recipients)
        if claims:
            self.on_stored(claims)

    def _due(self, now: float, closed: Collection[str], only: Any = None) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for queue_id, rows in self.rows.items():
            for number, row in rows.items():
                here = row.state in WAITING and row.due <= now and row.destination not in closed
                here = here and (only is None or row.destination in only)
                if here and (queue_id, number) not in self.flying:
                    found.setdefault(queue_id, []).append(row)
        return found

    def claim(
        self, now: float, limit: int, closed: Collection[str] = frozenset(), only: Collection[str] | None = None
    ) -> Sequence[Claim]:
        self.claims += 1
        claims = []
        for queue_id, rows in list(self._due(now, closed, only).items())[:limit]:
            prepared = self.messages[queue_id]
            recipients = tuple(row.recipient for row in rows)
            progress = {row.recipient.number: row.progress for row in rows if row.progress != Progress()}
            self.flying.update((queue_id, one.number) for one in recipients)
            claims.append(
                Claim(queue_id, prepared.envelope, recipients, prepared.content, prepared.arrived, progress, True)
            )
        return claims

    def settle(self, settlements: Sequence[Settlement]) -> Deferred[Sequence[str]]:
        self.asked.append(tuple(settlements))
        if self.slow:
            done: Deferred[Sequence[str]] = Deferred()
            self.pending.append((settlements, done))
            return done
        error = self.refusing(settlements)
        return fail(error) if error is not None else succeed(self._apply(settlements))

    def commit(self) -> None:
        """Answer everything that waits."""
        pending, self.pending = self.pending, []
        for settlements, done in pending:
            error = self.refusing(settlements)
            if error is not None:
                done.errback(error)
            else:
                done.callback(self._apply(settlements))

    def _apply(self, settlements: Sequence[Settlement]) -> list[str]:
        stored = []
        for settlement in settlements:
            self.settlements.append(settlement)
            for change in settlement.changes:
                self._change(settlement, change)
            for prepared in settlement.stored:
                self._insert(prepared)
                stored.append(prepared)
        self._hand_over(stored)
        return [prepared.queue_id for prepared in stored]

    def _change(self, settlement: Settlement, change: Change) -> None:
        row = self.rows[settlement.queue_id][change.number]
        if settlement.claimed:
            self.flying.remove((settlement.queue_id, change.number))  # KeyError: settled twice
            row.settled += 1
        assert not row.state.final
        row.state = change.state
        row.due = change.due
        row.destination = change.destination or row.destination
        before = row.progress
        row.progress = Progress(
            before.attempts + change.attempted, before.notified or change.notified, change.outcome or before.last
        )

    def next_due(self) -> float | None:
        dues = [row.due for rows in self._due(float("inf"), ()).values() for row in rows]
        return min(dues, default=None)

    def find(self, query: Query) -> Page:
        found = []
        for queue_id in sorted(self.rows):
            rows = self.rows[queue_id].values()
            if queue_id <= query.after or not any(row.state is query.state for row in rows):
                continue
            if len(found) == query.limit:
                return Page(tuple(found), found[-1].queue_id)
            prepared = self.messages[queue_id]
            recipients = tuple(
                QueuedRecipient(row.recipient, row.state, row.due, last=row.progress.last) for row in rows
            )
            found.append(QueuedMessage(queue_id, prepared.envelope, prepared.arrived, 0, recipients))
        return Page(tuple(found))

    def counts(self) -> dict[str, int]:
        return {"messages": len(self.messages)}

    def content(self, queue_id: str) -> Content | None:
        return self.messages[queue_id].content

    def states(self, queue_id: str) -> list[State]:
        return [row.state for row in self.rows[queue_id].values()]

    def reports(self) -> list[Prepared]:
        """What was stored with settlements."""
        return [prepared for settlement in self.settlements for prepared in settlement.stored]


@implementer(ITransport)
class Transport:
    """Answers by ``answer(attempt)``: an outcome for all, a mapping, a Deferred, an exception to raise."""

    def __init__(self, answer: Callable[[Attempt], Any] = lambda attempt: delivered()) -> None:
        self.answer = answer
        self.attempts: list[Attempt] = []

    def deliver(self, attempt: Attempt) -> Any:
        self.attempts.append(attempt)
        answer = self.answer(attempt)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Outcome):
            return dict.fromkeys(attempt.recipients, answer)
        return answer


class Slow(Transport):
    """Attempts wait in ``open`` until :meth:`end`."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[Attempt, Deferred[Any]]] = []

    def deliver(self, attempt: Attempt) -> Any:
        self.attempts.append(attempt)
        done: Deferred[Any] = Deferred()
        self.open.append((attempt, done))
        return done

    def end(self, outcome: Outcome | None = None) -> None:
        """The oldest attempt ends."""
        attempt, done = self.open.pop(0)
        done.callback(dict.fromkeys(attempt.recipients, outcome or relayed()))


class Batching(Transport):
    """Gains by batches."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Sequence[Attempt]] = []

    def deliver_many(self, attempts: Sequence[Attempt]) -> Any:
        self.batches.append(attempts)
        self.attempts.extend(attempts)
        return {attempt: dict.fromkeys(attempt.recipients, self.answer(attempt)) for attempt in attempts}


def relayed() -> Outcome:
    return replace(delivered("taken"), state=State.RELAYED)


@implementer(IDirectory)
class Directory:
    """Accounts and aliases by text; domain ``here.example`` is local."""

    def __init__(self) -> None:
        self.accounts = {"anna@here.example", "ben@here.example"}
        self.aliases: dict[str, list[str]] = {}
        self.asked = 0

    def resolve(self, mailbox: Mailbox) -> Any:
        self.asked += 1
        name = str(mailbox).lower()
        canonical = Mailbox.parse(name) if mailbox != NULL else mailbox
        if mailbox.domain is None or mailbox.domain.name != "here.example":
            return Resolution(Found.ELSEWHERE, mailbox)
        if name in self.aliases:
            return Resolution(Found.ALIAS, canonical, tuple(map(Mailbox.parse, self.aliases[name])))
        if name.partition("+")[0] + "@here.example" in self.accounts and "+" in name:
            return Resolution(Found.ACCOUNT, Mailbox.parse(name.partition("+")[0] + "@here.example"))
        return Resolution(Found.ACCOUNT if name in self.accounts else Found.UNKNOWN, canonical)


@implementer(IRouter)
class FakeRouter:
    """``local`` for here.example, else the domain by ``smtp``; ``rules`` by domain come first."""

    def __init__(self) -> None:
        self.rules: dict[str, Callable[[Recipient], Any]] = {}

    def route(self, recipient: Recipient, envelope: Envelope) -> Any:
        domain = recipient.mailbox.domain.name if recipient.mailbox.domain else ""
        if domain in self.rules:
            return self.rules[domain](recipient)
        return Route("local", "local") if domain == "here.example" else Route("smtp", domain)


class Kit:
    """A queue manager with everything around it."""

    def __init__(self, each: int = 20, total: int = 100, schedule: Schedule | None = None) -> None:
        self.clock = FakeClock()
        self.log = FakeLog()
        self.spool = FakeSpool(self.clock)
        self.directory = Directory()
        self.router = FakeRouter()
        self.smtp: Any = Transport(lambda attempt: relayed())
        self.local: Any = Batching()
        self.transports: dict[str, Any] = {"smtp": self.smtp, "local": self.local}
        self.intake = Intake(self.spool, self.directory, "mx.here.example")
        self.bounces = Bounces("mx.here.example", self.intake, self.spool.new_content, inline, self.clock)
        parts = Parts(self.spool, self.router, self.transports, self.bounces, self.clock, self.log)
        self.manager = QueueManager(parts, schedule or Schedule(), Windows(each, total))
        self.spool.on_stored = self.manager.stored

    def use(self, **transports: Any) -> None:
        self.transports.update(transports)
        self.smtp, self.local = self.transports["smtp"], self.transports["local"]

    def prepared(self, *names: str, sender: str = "sender@else.example", **envelope: Any) -> Prepared:
        path = Mailbox.parse(sender) if sender else NULL
        recipients = tuple(recipient(number, name) for number, name in enumerate(names))
        content = Content.of(b"Subject: hi\n\nhi\n")
        now = self.clock.wall()
        return Prepared(new_queue_id(now), Envelope(path, **envelope), recipients, content, now)

    def store(self, *names: str, **envelope: Any) -> str:
        """A message is accepted; the manager hears of it."""
        prepared = self.prepared(*names, **envelope)
        self.spool.store(prepared)
        return prepared.queue_id

    def backlog(self, *names: str, **envelope: Any) -> str:
        """A message was accepted by an earlier process."""
        listener, self.spool.on_stored = self.spool.on_stored, None
        queue_id = self.store(*names, **envelope)
        self.spool.on_stored = listener
        return queue_id

    def tick(self, seconds: float = 1) -> None:
        self.clock.advance(seconds)
        self.manager.tick()

    def settled_once(self, queue_id: str) -> bool:
        return all(row.settled == 1 for row in self.spool.rows[queue_id].values())


def recipient(number: int, name: str, notify: str | None = None) -> Recipient:
    mailbox = Mailbox.parse(name)
    words = None if notify is None else frozenset(notify.split(","))
    return Recipient(number, mailbox, (Original(mailbox, words),))


@pytest.fixture
def make() -> SimpleNamespace:
    """The classes and short cuts of this module: test modules cannot import each other."""
    return SimpleNamespace(
        Kit=Kit, FakeSpool=FakeSpool, FakeClock=FakeClock, FakeLog=FakeLog, Transport=Transport, Slow=Slow,
        Batching=Batching, Directory=Directory, recipient=recipient, relayed=relayed,
        full=lambda: SpoolFull("no space left on device"), permanent=permanent, transient=transient,
        refused=lambda: permanent("refused", Status(5, 7, 1)), START=START, HOUR=HOUR, DAY=DAY,
    )  # fmt: skip


@pytest.fixture
def kit() -> Kit:
    return Kit()
