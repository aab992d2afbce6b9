"""The queue manager: hears of stored messages, claims due ones, has them delivered, settles what came of it.

It guarantees that every claim ends in a settlement, and that outcomes, next attempt, and the reports owed go
into one commit. No timer and no task per queued message: due work is found by the spool's index once a
second, and at once when a place becomes free. What a fresh message finds no place for goes back to the spool
as due now; what was claimed and finds none waits here, and its destination is closed for claims meanwhile.
While all places are taken, only what needs none (local mail), or what may need none, is claimed.
While a settlement cannot be committed no attempt begins (law 4 of the design).

Errors never leave it: a transport that raises, or forgets a recipient, means a transient outcome and a log
event that names the transport.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred

from mailserver.interfaces import IClock, IRouter, ISpool, SpoolFailed
from mailserver.message.claim import Change, Claim, Settlement
from mailserver.message.envelope import Recipient
from mailserver.message.outcome import Outcome, expanded, surprise, transient
from mailserver.message.route import Attempt, Route
from mailserver.message.state import State
from mailserver.queue.bounce import Bounces
from mailserver.queue.destination import Windows
from mailserver.queue.held import releases
from mailserver.queue.reports import Ended, Reporter
from mailserver.queue.schedule import Schedule
from mailserver.queue.settling import Settling
from mailserver.queue.waiting import Waiting
from mailserver.smtp.status import Status

# Messages taken from the spool at once: enough to fill the windows, small enough for one reactor turn.
CLAIM = 100
# Claims in one turn of the reactor: a backlog on disk must not make sessions wait.
ROUNDS = 5
# Octets in memory handed to local transports; over it, what is local goes back to the spool.
LOCAL_BYTES = 64 * 1024 * 1024
# What transports that deliver here are asked for, and what was never routed: neither is known to need a place.
PLACELESS = frozenset({"local", ""})
# Claimed attempts that may wait in memory for a place.
WAITING = 200
# What becomes of an address that stands for others, without any router or transport.
EXPANDED = expanded()

Outcomes = Mapping[Recipient, Outcome]
Decision = Route | Outcome
Routed = Sequence[tuple[Recipient, Decision]]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """An attempt and the claim it belongs to."""

    claim: Claim
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Parts:
    """What the manager works with. ``transports`` by name; ``log`` has ``event`` and ``failure``."""

    spool: ISpool
    router: IRouter
    transports: Mapping[str, Any]
    bounces: Bounces
    clock: IClock
    log: Any


class QueueManager:
    """One per spool. :meth:`stored` and :meth:`tick` are called by the spool, the rest by whoever composes."""

    def __init__(self, parts: Parts, schedule: Schedule, windows: Windows) -> None:
        self._parts = parts
        self._spool: Any = parts.spool
        self._log = parts.log
        self._windows = windows
        self._settling = Settling(parts.spool, parts.log, self.kick)
        self._reporter = Reporter(parts.bounces, self._settling, schedule, parts.clock, parts.log)
        self._waiting: Waiting[Job] = Waiting(WAITING)
        self._running = 0
        self._local_bytes = 0
        self._placeless = set(PLACELESS)
        self._looking = False
        self._stopping = False
        self._left: list[Claim] = []  # came after the stop, in flight
        self._ended: list[Deferred[None]] = []

    @property
    def blocked(self) -> str | None:
        """Why new mail must be refused for now (452 4.3.1), or None."""
        return self._settling.blocked or self._reporter.blocked

    @property
    def running(self) -> int:
        """Attempts under way."""
        return self._running

    def stored(self, claims: Sequence[Claim]) -> None:
        """Fresh messages, just committed, in flight from now on."""
        if self._stopping:
            self._left.extend(claims)
        elif self.blocked:
            for claim in claims:
                self._put_off(claim.queue_id, claim.recipients)
            self._settling.flush()
        else:
            self._admit(claims)

    def tick(self) -> None:
        """Once a second."""
        self._settling.tick()
        self._retry_reports()
        self.kick()

    def _retry_reports(self) -> None:
        for later in self._reporter.retry():
            Deferred.fromCoroutine(self._reported(later))

    def kick(self) -> None:
        """Look for due work now."""
        if self._looking:
            return  # an attempt that ended at once: the loop below goes on
        self._looking = True
        try:
            for _ in range(ROUNDS):
                if self._stopping or self.blocked or not self._look():
                    return
        except SpoolFailed as error:
            self._settling.give_up(str(error))
        except Exception as error:
            self._log.failure("looking for due mail failed", error)
        finally:
            self._looking = False

    def _look(self) -> bool:
        """Start whoever waits and finds a place, then what is due on disk. False: there is no more."""
        while not self.blocked and (job := self._waiting.next(self._windows)) is not None:
            transport = self._parts.transports[job.attempt.route.transport]
            Deferred.fromCoroutine(self._deliver(job, transport))
        due = self._spool.next_due()
        now = self._parts.clock.wall()  # read second: "due now" must not look like the future
        if due is None or due > now:
            return False
        if self._windows.full:
            claims = self._spool.claim(now, CLAIM, self._closed(), self._placeless)
        else:
            claims = self._spool.claim(now, CLAIM, self._closed())
        self._admit(claims)
        return bool(claims)

    def _closed(self) -> frozenset[str]:
        closed = self._windows.closed().union(self._waiting.destinations())
        return closed | {"local"} if self._local_bytes > LOCAL_BYTES else closed

    # From claims to attempts.

    def _admit(self, claims: Sequence[Claim]) -> None:
        batches: dict[str, list[Job]] = {}
        for claim in claims:
            routed, later = self._routes(claim)
            if later:
                Deferred.fromCoroutine(self._routed_later(claim, routed, later))
            else:
                self._launch(claim, routed, batches)
        self._deliver_batches(batches)
        self._settling.flush()

    def _routes(self, claim: Claim) -> tuple[list[tuple[Recipient, Decision]], list[tuple[Recipient, Any]]]:
        """What the router answers at once, which is the fast path, and what must be waited for."""
        routed: list[tuple[Recipient, Decision]] = []
        later: list[tuple[Recipient, Any]] = []
        route = self._parts.router.route
        for recipient in claim.recipients:
            try:
                decision: Any = EXPANDED if recipient.expanded else route(recipient, claim.envelope)
            except GeneratorExit:
                raise
            except BaseException as error:
                decision = self._misrouted(claim, error)
            if isinstance(decision, Decision):
                routed.append((recipient, decision))
            else:
                later.append((recipient, decision))
        return routed, later

    async def _routed_later(
        self, claim: Claim, routed: list[tuple[Recipient, Decision]], later: list[tuple[Recipient, Any]]
    ) -> None:
        for recipient, answer in later:
            try:
                decision: Any = await answer
                if not isinstance(decision, Decision):
                    raise TypeError(f"the router answered {decision!r}")
            except GeneratorExit:
                raise
            except BaseException as error:
                decision = self._misrouted(claim, error)
            routed.append((recipient, decision))
        if self._stopping:
            self._left.append(claim)
            return
        if self.blocked:
            self._put_off(claim.queue_id, claim.recipients)
        else:
            batches: dict[str, list[Job]] = {}
            self._launch(claim, routed, batches)
            self._deliver_batches(batches)
        self._settling.flush()

    def _misrouted(self, claim: Claim, error: BaseException) -> Outcome:
        self._log.failure("the router failed", error, queue=claim.queue_id)
        return surprise("routing failed")

    def _launch(self, claim: Claim, routed: Routed, batches: dict[str, list[Job]]) -> None:
        """Group recipients with equal routes, and start or put off each group."""
        groups: dict[Decision, list[Recipient]] = {}
        for recipient, route in routed:
            groups.setdefault(route, []).append(recipient)
        for decision, recipients in groups.items():
            if isinstance(decision, Outcome):
                self._failed_routing(claim, recipients, decision)
            elif decision.hold:
                self._hold(claim, recipients, decision)
            else:
                self._start(self._job(claim, recipients, decision), batches)

    def _job(self, claim: Claim, recipients: list[Recipient], route: Route) -> Job:
        again = claim.again or bool(claim.progress)
        if route.mailbox is not None:
            recipients = [replace(recipient, mailbox=route.mailbox) for recipient in recipients]
        attempt = Attempt(
            claim.queue_id, claim.envelope, tuple(recipients), claim.content, route, claim.arrived, again
        )
        return Job(claim, attempt)

    def _start(self, job: Job, batches: dict[str, list[Job]]) -> None:
        route = job.attempt.route
        transport = self._parts.transports.get(route.transport)
        if transport is None:
            self._log.event("transport.missing", transport=route.transport, queue=job.attempt.queue_id)
            unknown = transient(f"no transport named {route.transport}", Status(4, 3, 5))
            self._finish(job, dict.fromkeys(job.attempt.recipients, unknown), self._parts.clock.wall())
        elif self.blocked:  # since this very turn: what was routed before owes a report that has no room
            self._put_off(job.attempt.queue_id, job.attempt.recipients, route.destination)
        elif hasattr(transport, "deliver_many"):
            if self._local_bytes > LOCAL_BYTES:
                self._put_off(job.attempt.queue_id, job.attempt.recipients, route.destination)
            else:
                batches.setdefault(route.transport, []).append(job)
        elif self._windows.admit(route.destination):
            Deferred.fromCoroutine(self._deliver(job, transport))
        else:
            self._wait(job)

    def _wait(self, job: Job) -> None:
        route = job.attempt.route
        self._placeless.discard(route.destination)
        if not (job.attempt.again and self._waiting.add(route.destination, job)):
            self._put_off(job.attempt.queue_id, job.attempt.recipients, route.destination)

    def _put_off(self, queue_id: str, recipients: Sequence[Recipient], destination: str = "") -> None:
        """No place now: back to the spool, due at once, under its destination."""
        now = self._parts.clock.wall()
        changes = [Change(one.number, State.QUEUED, None, now, destination) for one in recipients]
        self._settling.owe(Settlement(queue_id, tuple(changes)))

    def _hold(self, claim: Claim, recipients: list[Recipient], route: Route) -> None:
        reason = transient(route.hold, Status(4, 3, 2))
        changes = tuple(Change(r.number, State.HELD, reason, destination=route.destination) for r in recipients)
        self._settling.owe(Settlement(claim.queue_id, changes))
        for recipient in recipients:
            self._log.event("message.held", queue=claim.queue_id, to=recipient.mailbox, reason=route.hold)

    def _failed_routing(self, claim: Claim, recipients: list[Recipient], outcome: Outcome) -> None:
        job = self._job(claim, recipients, Route("none", ""))
        self._finish(job, dict.fromkeys(recipients, outcome), self._parts.clock.wall())

    # Attempts.

    def _deliver_batches(self, batches: Mapping[str, list[Job]]) -> None:
        for name, jobs in batches.items():
            if self.blocked:
                for job in jobs:
                    self._put_off(job.attempt.queue_id, job.attempt.recipients, job.attempt.route.destination)
            else:
                Deferred.fromCoroutine(self._deliver_many(name, jobs))

    async def _deliver_many(self, name: str, jobs: Sequence[Job]) -> None:
        began = self._parts.clock.wall()
        size = sum(job.attempt.content.stored for job in jobs if job.attempt.content.file is None)
        self._running += 1
        self._local_bytes += size
        ask = self._parts.transports[name].deliver_many
        results = await self._answer(jobs[0], ask, [job.attempt for job in jobs])
        self._local_bytes -= size
        for job in jobs:
            self._finish(job, results.get(job.attempt), began)
        self._one_less()

    async def _deliver(self, job: Job, transport: Any) -> None:
        began = self._parts.clock.wall()
        self._running += 1
        outcomes = await self._answer(job, transport.deliver, job.attempt)
        self._windows.release(job.attempt.route.destination)
        self._finish(job, outcomes, began)
        self._one_less()
        self.kick()

    async def _answer(self, job: Job, ask: Callable[[Any], Any], what: Any) -> Mapping[Any, Any]:
        """What a transport answers; nothing where it raises, or answers something else."""
        try:
            answer = ask(what)
            if not isinstance(answer, Mapping):
                answer = await answer
                if not isinstance(answer, Mapping):
                    raise TypeError(f"a transport answers a mapping, not {answer!r}")
        except SpoolFailed as error:
            # Nothing may be settled any more; the next process looks what was delivered.
            self._settling.give_up(str(error))
            return {}
        except GeneratorExit:
            raise
        except BaseException as error:
            name, queue_id = job.attempt.route.transport, job.attempt.queue_id
            self._log.failure(f"the transport {name} failed", error, queue=queue_id)
            return {}
        return answer

    def _finish(self, job: Job, outcomes: Any, began: float) -> None:
        if self._settling.failed:
            return
        ended = Ended(job.claim, job.attempt, outcomes if isinstance(outcomes, Mapping) else {}, began)
        later = self._reporter.settle(ended)
        if later is not None:
            Deferred.fromCoroutine(self._reported(later))

    async def _reported(self, later: Awaitable[None]) -> None:
        self._running += 1
        await later
        self._one_less()

    def _one_less(self) -> None:
        self._running -= 1
        self._settling.flush()
        if not self._running:
            ended, self._ended = self._ended, []
            for one in ended:
                one.callback(None)

    # The beginning and the end.

    async def release_held(self) -> None:
        """Let go what was held only because outgoing mail was on hold. For a start with outgoing mail on."""
        try:
            async for settlements in releases(self._spool, self._parts.clock):
                if self._stopping:
                    return
                for settlement in settlements:
                    self._settling.owe(settlement)
                self._settling.flush()
                await self._settling.drained()
        except Exception as error:
            self._log.failure("held mail could not be released", error)

    def start(self) -> None:
        """Go on after :meth:`stop`, on the same spool. A new manager needs no start."""
        self._stopping = False
        left, self._left = self._left, []
        self.stored(left)
        self.kick()

    async def stop(self, patience: Callable[[Deferred[None]], Deferred[Any]]) -> None:
        """Start nothing new; wait for attempts under way as long as `patience` lets it (a function that cuts
        the Deferred off without a failure); then for the commits. What is cut off stays due in the spool."""
        self._stopping = True
        self._retry_reports()
        if self._running:
            done: Deferred[None] = Deferred()
            self._ended.append(done)
            await patience(done)
        self._settling.flush()
        self._settling.tick()
        await self._settling.drained()
        left = self._settling.unsettled + self._reporter.unsettled
        if left:
            self._log.event("queue.unsettled", settlements=left, consequence="tried again after the next start")
