"""What really happened to every recipient, kept beside the production code, and the invariants over it.

Whatever is written here is written at the moment at which it became true: a commit, a host that has a message, an
operator's word. The process can die at any moment; the ledger does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailserver.message.claim import Claim, Settlement
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import Klass, Outcome
from mailserver.message.prepared import Prepared
from mailserver.message.route import Attempt
from mailserver.message.state import State
from mailserver.queue.schedule import Schedule
from mailserver.smtp.address import NULL
from tests.simulation.world import World

WAITING = (State.QUEUED, State.DEFERRED)
REPORTED = {
    State.FAILED: "failed",
    State.EXPIRED: "failed",
    State.DELIVERED: "delivered",
    State.EXPANDED: "expanded",
}
KEYWORDS = {"failed": "FAILURE", "delayed": "DELAY"}


@dataclass(slots=True, eq=False)
class Copy:
    """One that a host, or a mailbox, has. ``excused``: its sender may not know that it is there. ``answered``: he
    was told. ``settled``: that is on disk."""

    where: str
    attempt: int
    excused: bool = False
    answered: bool = False
    settled: bool = False


@dataclass(slots=True, eq=False)
class Standing:
    """One recipient of one stored message."""

    envelope: Envelope
    recipient: Recipient
    arrived: float
    state: State = State.QUEUED
    notified: bool = False
    flying: bool = False
    trying: bool = False
    attempts: int = 0
    began: float | None = None
    ended: float = 0.0
    last: Outcome | None = None
    dsn_passed: bool = False
    removed_active: bool = False
    copies: list[Copy] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.recipient.mailbox)


class Ledger:
    """`schedule` as in the settings; ``each`` and ``total`` bound the attempts under way."""

    def __init__(self, world: World, schedule: Schedule, each: int, total: int) -> None:
        self._world = world
        self._schedule = schedule
        self._each, self._total = each, total
        self._messages: dict[str, dict[int, Standing]] = {}
        self._under_way: Counter[str] = Counter()
        self._open: dict[tuple[str, int], Standing] = {}
        self._told: Counter[tuple[str, str, str]] = Counter()
        self.accepted: list[str] = []

    def of(self, queue_id: str, number: int) -> Standing:
        return self._messages[queue_id][number]

    @property
    def done(self) -> bool:
        """Whether every recipient has ended."""
        return not self._open

    # In the spool.

    def stored(self, prepared: Prepared, flying: bool) -> None:
        """It is on disk."""
        assert prepared.queue_id not in self._messages
        mine = {
            one.number: Standing(prepared.envelope, one, prepared.arrived, flying=flying)
            for one in prepared.recipients
        }
        self._messages[prepared.queue_id] = mine
        self._open.update(((prepared.queue_id, number), one) for number, one in mine.items())
        self._world.say(
            "stored",
            queue=prepared.queue_id,
            sender=prepared.envelope.reverse_path,
            to=[s.name for s in mine.values()],
        )
        if prepared.envelope.listener == "report":
            self._report(prepared)

    def told_client(self, queue_id: str) -> None:
        """250."""
        self.accepted.append(queue_id)
        self._world.say("250", queue=queue_id)
        if queue_id not in self._messages:
            self._world.wrong(f"{queue_id}: 250 before it was on disk")

    def _report(self, prepared: Prepared) -> None:
        about, told = read_report(b"".join(prepared.content.chunks()))
        for mailbox, action in told:
            self._told[about, mailbox, action] += 1
            self._world.say("report", about=about, mailbox=mailbox, action=action)
            if self._told[about, mailbox, action] > self._most(about, mailbox, action):
                self._world.wrong(f"{about}: the sender is told once more that {mailbox} is {action}")

    def _most(self, queue_id: str, mailbox: str, action: str) -> int:
        """How often the sender may hear of it: an alias may have led to several."""
        return sum(
            str(original.mailbox) == mailbox and wants(action, standing.envelope, original)
            for standing in self._messages[queue_id].values()
            for original in standing.recipient.originals
        )

    def claimed(self, claim: Claim, rows: Any, now: float) -> None:
        """The process has it in its hands from now on. `rows` are the spool's."""
        for one in claim.recipients:
            row, standing = rows[one.number], self.of(claim.queue_id, one.number)
            what = f"{claim.queue_id} {standing.name}"
            if standing.flying:
                self._world.wrong(f"{what}: claimed, and still in flight")
            if row.state not in WAITING or standing.state not in WAITING:
                self._world.wrong(f"{what}: claimed, and {row.state.value} ({standing.state.value})")
            if now < row.due <= now + max(self._schedule.retry):
                self._world.wrong(f"{what}: claimed {row.due - now:.0f} s before it is due")
            standing.flying = True

    def settled(self, settlement: Settlement, rows: Any, active: Iterable[int]) -> None:
        """On disk. `rows` as they are now."""
        for change in settlement.changes:
            standing, row = self.of(settlement.queue_id, change.number), rows[change.number]
            before = standing.state
            if settlement.claimed:
                if not standing.flying:
                    self._world.wrong(f"{settlement.queue_id} {standing.name}: settled, and not in flight")
                standing.flying = False
                self._told_late(settlement, standing, change, row)
            elif change.number in active and row.state is State.REMOVED:
                standing.removed_active = True
            standing.state, standing.notified = row.state, row.notified
            if before.final:
                if row.state is not before:
                    self._world.wrong(
                        f"{settlement.queue_id} {standing.name}: {before.value}, then {row.state.value}"
                    )
            elif row.state.final:
                self._ended(settlement, standing, row)

    def _told_late(self, settlement: Settlement, standing: Standing, change: Any, row: Any) -> None:
        """A delay is told with the first settlement after its time."""
        if change.state is not State.DEFERRED or not change.attempted or row.state.final or standing.began is None:
            return
        if 0 < self._schedule.delay_notice <= standing.ended - standing.arrived and not row.notified:
            self._world.wrong(f"{settlement.queue_id} {standing.name}: late, and nobody is told")

    def _ended(self, settlement: Settlement, standing: Standing, row: Any) -> None:
        state, last = row.state, standing.last
        for copy in standing.copies:
            copy.settled = True
        del self._open[settlement.queue_id, standing.recipient.number]
        self._world.say(f"ended {state.value}", queue=settlement.queue_id, to=standing.name)
        match state:
            case State.RELAYED | State.DELIVERED:
                true = any(copy.answered for copy in standing.copies) and last is not None
            case State.FAILED:
                true = row.last is not None and row.last.klass is Klass.PERMANENT
                true = true and not any(copy.answered and not copy.excused for copy in standing.copies)
            case State.EXPIRED:
                true = standing.began is not None and standing.began >= standing.arrived + self._schedule.expire
                true = true and not any(copy.answered and not copy.excused for copy in standing.copies)
            case State.EXPANDED:
                true = standing.recipient.expanded
            case _:
                true = not settlement.claimed
        if not true:
            self._world.wrong(f"{settlement.queue_id} {standing.name}: {state.value}, which is not what happened")

    # Attempts.

    def begins(self, attempt: Attempt, place: bool) -> None:
        """A transport is asked; `place`: the attempt counts against the windows."""
        self._world.say(
            "attempt", queue=attempt.queue_id, to=[str(r.mailbox) for r in attempt.recipients],
            destination=attempt.route.destination,
        )  # fmt: skip
        if place:
            there = self._under_way[attempt.route.destination] = self._under_way[attempt.route.destination] + 1
            if there > self._each or self._under_way.total() > self._total:
                self._world.wrong(f"{attempt.queue_id}: an attempt more than the windows allow")
        for one in attempt.recipients:
            standing = self.of(attempt.queue_id, one.number)
            if not standing.flying or standing.trying:
                self._world.wrong(f"{attempt.queue_id} {standing.name}: tried twice at once, or without a claim")
            standing.trying, standing.began, standing.last = True, self._world.wall(), None
            standing.attempts += 1

    def ends(self, attempt: Attempt, outcomes: Any, place: bool) -> None:
        """The transport has answered."""
        if place:
            self._under_way[attempt.route.destination] -= 1
        for one in attempt.recipients:
            standing, outcome = self.of(attempt.queue_id, one.number), outcomes.get(one)
            standing.trying, standing.last, standing.ended = False, outcome, self._world.wall()
            if outcome is None or outcome.klass is not Klass.SUCCESS:
                continue
            standing.dsn_passed = outcome.dsn_passed
            for copy in standing.copies:
                copy.answered = True

    def copied(self, attempt: Attempt, number: int, where: str) -> Copy:
        """A host has it now."""
        standing = self.of(attempt.queue_id, number)
        if any(not copy.excused for copy in standing.copies):
            self._world.wrong(
                f"{attempt.queue_id} {standing.name}: a second copy at {where}, and no reply was lost"
            )
        if any(copy.attempt == standing.attempts for copy in standing.copies):
            self._world.wrong(f"{attempt.queue_id} {standing.name}: two copies by one attempt")
        standing.copies.append(Copy(where, standing.attempts))
        self._world.say("copy", queue=attempt.queue_id, to=standing.name, host=where)
        return standing.copies[-1]

    # The end of a process.

    def forgets(self, orderly: bool) -> None:
        """The process is gone: what it knew and had not on disk, nobody knows."""
        self._under_way.clear()
        for (queue_id, _), standing in self._open.items():
            for copy in standing.copies:
                if orderly and copy.answered and not copy.excused:
                    self._world.wrong(f"{queue_id} {standing.name}: delivered, and an orderly stop forgot it")
                copy.excused = True
            standing.flying = standing.trying = False
            standing.last = None

    # The end of it all.

    def check(self) -> None:
        """What must hold in the end."""
        for queue_id in self.accepted:
            if queue_id not in self._messages:
                self._world.wrong(f"{queue_id}: was accepted, and is nowhere")
        for queue_id, number in self._open:
            standing = self.of(queue_id, number)
            self._world.wrong(f"{queue_id} {standing.name}: stuck, it is {standing.state.value}")
        if not self._open:
            for queue_id, standings in self._messages.items():
                self._check_reports(queue_id, standings.values())

    def _check_reports(self, queue_id: str, standings: Iterable[Standing]) -> None:
        owed: Counter[tuple[str, str]] = Counter()
        perhaps: Counter[tuple[str, str]] = Counter()
        for standing in standings:
            for original in standing.recipient.originals:
                for action in ("failed", "delayed", "delivered", "relayed", "expanded"):
                    if wants(action, standing.envelope, original):
                        owed[str(original.mailbox), action] += self._owed(standing, action)
                        perhaps[str(original.mailbox), action] += standing.removed_active
        for (mailbox, action), count in owed.items():
            told = self._told[queue_id, mailbox, action]
            if not count <= told <= count + perhaps[mailbox, action]:
                self._world.wrong(f"{queue_id}: {told} reports of {action} about {mailbox}, and {count} are owed")

    def _owed(self, standing: Standing, action: str) -> bool:
        if action == "delayed":
            return standing.notified
        if standing.state is State.RELAYED:
            return action == "relayed" and not standing.dsn_passed
        return REPORTED.get(standing.state) == action


def wants(action: str, envelope: Envelope, original: Original) -> bool:
    """Whether the sender is to be told (RFC 3461 §4.1)."""
    if envelope.reverse_path == NULL:
        return False
    if original.notify is None:
        return action in KEYWORDS
    return KEYWORDS.get(action, "SUCCESS") in original.notify


def read_report(octets: bytes) -> tuple[str, Sequence[tuple[str, str]]]:
    """The queue id of the message that a report is about (as its Message-ID says), and who became what."""
    lines = octets.decode("ascii").split("\n")
    about = next(line for line in reversed(lines) if line.startswith("Message-ID: "))
    mailboxes = [line.partition("; ")[2] for line in lines if line.startswith("Final-Recipient: ")]
    actions = [line.partition(": ")[2] for line in lines if line.startswith("Action: ")]
    return about.partition("<")[2].partition("@")[0], list(zip(mailboxes, actions, strict=True))
