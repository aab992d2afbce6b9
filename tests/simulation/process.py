"""One process: the production queue, composed as a server does it, on a disk and in a world that outlive it.

It is gone between any two steps of its loop, or at one of the points within a step at which something has just
become true. From then on nothing that its objects do has any effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import floor
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailserver.interfaces import SpoolFailed, SpoolFull
from mailserver.message.claim import Change, Claim, Settlement
from mailserver.message.envelope import Envelope, Facts
from mailserver.message.route import Attempt
from mailserver.message.state import State
from mailserver.relay import Agents, Machine, compose
from mailserver.settings.model import Queue, Settings
from mailserver.settings.model import Relay as RelaySettings
from mailserver.testing.people import People
from mailserver.threads import inline
from tests.simulation import hosts, storage
from tests.simulation.ledger import Ledger
from tests.simulation.world import HOUR, Log, Loop, World

HOST_NAME = "mx.here.test"
PEOPLE = People(lambda: 0.0)
for _name in ("anna", "ben"):
    PEOPLE.add(f"{_name}@here.test", "secret")
PEOPLE.alias("team@here.test", ("anna@here.test", "u0@d0.test", "u1@d1.test"))
# Seconds between two ticks while nothing happens that we know of.
_IDLE = HOUR
# More than any moment has.
_MOST_STEPS = 10_000


@lru_cache(maxsize=200)
def settings_of(retry: Sequence[float], each: int, total: int, outgoing: str) -> Settings:
    """As a file would have them."""
    return Settings(
        instance="/nonexistent/simulation",
        host_name=HOST_NAME,
        queue=Queue(retry=retry),
        relay=RelaySettings(concurrency=each, total_concurrency=total, outgoing=outgoing),
    )


class Process:
    """`rows` are what the process before left on the disk; `moods` by host, domain and ``local``."""

    def __init__(self, world: World, ledger: Ledger, settings: Settings, around: Any, rows: storage.Rows) -> None:
        self.world, self.ledger = world, ledger
        self.moods: Mapping[str, hosts.Moods] = around.moods
        self.mailboxes: set[tuple[str, int]] = around.mailboxes
        self.alive = True
        self.orderly = False
        self.left: storage.Rows | None = None
        self.unanswered: dict[str, Callable[[], None]] = {}
        self._fatal = self._stopping = False
        self._pause = 1.0
        self._ticked = world.now
        self.loop = Loop(world.now)
        self.log = Log(world, lambda: self.alive)
        self.spool = storage.Storage(self, rows, max(settings.queue.retry))
        machine = Machine(self.loop, world, inline, self.log, lambda reason: None)
        names = hosts.Names(self, around.hosts, around.moods)
        relay = hosts.Watched(self, hosts.Relay(self, settings, names))
        agents = Agents({"smtp": relay, "lmtp": relay, "local": hosts.Mailboxes(self)})
        self.relay = compose(settings, machine, PEOPLE, self.spool, agents)
        self.relay.start()

    # Life and death.

    def pause(self, seconds: float) -> Deferred[None]:
        """Fires after so long, if the process still lives."""
        done: Deferred[None] = Deferred()
        self.world.at(self.world.now + seconds, self._resume, done)
        return done

    def _resume(self, done: Deferred[None]) -> None:
        if self.alive:
            self.loop.callFromThread(done.callback, None)

    def point(self, where: str) -> None:
        """The process may be gone here."""
        if not self.alive or self.world.armed is None:
            return
        self.world.armed -= 1
        if self.world.armed < 0:
            self.end(f"CRASH: {where}")

    def end(self, why: str) -> None:
        """It is gone."""
        if not self.alive:
            return
        self.alive, self.world.armed = False, None
        self.world.say(why)
        self.ledger.forgets(self.orderly)
        self.left = self.spool.durable()

    def fatal(self) -> None:
        """The store has failed: under twistd the process ends at once, embedded it may go on for a while."""
        if not self._fatal and self.alive:
            self._fatal = True
            patience = 0.0 if self.world.chance(0.5) else 600 * self.world.random.random()
            self.world.at(self.world.now + patience, self.end, "the process ends, for its store has failed")

    def run(self) -> None:
        """All steps that can be made now."""
        for _ in range(_MOST_STEPS):
            if not self.alive or self.loop.idle() or self.world.wrongs:
                return
            self.point("between two steps")
            if self.alive:
                self.loop.step()
        self.world.wrong("steps without end, and no time passes")

    def advance(self) -> None:
        """Time has passed."""
        self.loop.rightNow = self.world.now
        if self.world.now >= self._next_tick():
            self._ticked = self.world.now
            self._pause = min(2 * self._pause, _IDLE)
            self.loop.callFromThread(self.spool.tick)

    def wakes(self) -> float:
        """When there is something to do next."""
        timer = self.loop.next_call()
        tick = self._next_tick()
        return tick if timer is None else min(tick, timer)

    def _next_tick(self) -> float:
        """Of the ticks, one each second, the next that may find something; while nothing comes of them, fewer."""
        due = self.spool.next_due()
        later = self._ticked + self._pause
        if due is None:
            return later
        there = self.world.now + due - self.world.wall()
        return later if there <= self._ticked else min(later, floor(there) + 1.0)

    # What the parts tell.

    def claimed(self, claims: Sequence[Claim]) -> None:
        """The queue has taken them from the spool."""
        self._pause = 1.0
        self._allowed("claimed")
        now = self.world.wall()
        for claim in claims:
            self.ledger.claimed(claim, self.spool.rows_of(claim.queue_id), now)

    def begins(self, attempt: Attempt, place: bool) -> bool:
        """A transport is asked. False: by a process that is gone."""
        self._pause = 1.0
        if self.alive:
            self._allowed("an attempt")
            self.ledger.begins(attempt, place)
            self.point("the attempt begins")
        return self.alive

    def _allowed(self, what: str) -> None:
        """Nothing new begins while a settlement cannot be committed (law 4 of the design)."""
        if self.spool.refused or self.relay.queue.blocked:
            self.world.wrong(f"{what} while nothing can be settled: {self.spool.refused}")

    # What people do.

    def submit(
        self, envelope: Envelope, facts: Facts, taken: Callable[[], None], again: Callable[[], None]
    ) -> None:
        """A client sends a message. `taken` is called with the 250, `again` where it must come back later; a
        client that hears nothing stands in ``unanswered``."""
        self._pause = 1.0
        if (reason := self.relay.blocked()) is not None:
            self.world.say("452", reason=reason)
            again()
            return
        self.unanswered[facts.queue_id] = again
        content = self.spool.new_content()
        content.write(f"Message-ID: <{facts.queue_id}@client.test>\nSubject: hi\n\nhi\n".encode())
        try:
            content.finish()
            accepted: Any = self.relay.intake.accept(envelope, content, facts)
        except SpoolFull:
            self._refused(Failure(), facts.queue_id)
            return
        done = accepted if isinstance(accepted, Deferred) else Deferred.fromCoroutine(accepted)
        done.addCallbacks(self._answered, self._refused, callbackArgs=(taken,), errbackArgs=(facts.queue_id,))

    def _answered(self, queue_id: str, taken: Callable[[], None]) -> None:
        self.point("the client is about to be told")
        if self.alive:
            del self.unanswered[queue_id]
            self.ledger.told_client(queue_id)
            taken()

    def _refused(self, failure: Failure, queue_id: str) -> None:
        failure.trap(SpoolFull, SpoolFailed)
        if self.alive:
            self.world.say("452 or 421", queue=queue_id, reason=failure.value)
            self.unanswered.pop(queue_id)()

    def operate(self, what: str, queue_id: str, numbers: Sequence[int]) -> None:
        """An operator's hold, release, retry or removal of some recipients."""
        states = {"hold": State.HELD, "remove": State.REMOVED}
        state = states.get(what, State.QUEUED)
        changes = tuple(Change(number, state, due=self.world.wall()) for number in numbers)
        self.world.say(f"operator: {what}", queue=queue_id, numbers=numbers)
        done = self.spool.settle([Settlement(queue_id, changes, claimed=False)])
        done.addCallbacks(lambda _: self._kick(), lambda failure: None)
        self._pause = 1.0

    def _kick(self) -> None:
        if self.alive:
            self.relay.queue.kick()

    def stop(self, seconds: float) -> bool:
        """In order, with so much time for attempts under way. False: not now."""
        if not self.alive or self._stopping:
            return False
        self._stopping = True
        self.world.say("stopping", patience=seconds)
        Deferred.fromCoroutine(self.relay.stop(seconds)).addCallback(self._stopped)
        return True

    def _stopped(self, _: None) -> None:
        unsettled = self.relay.queue.running or self.relay.queue.blocked or self._fatal
        self.orderly = not unsettled
        self.end("stopped")

    def rest(self, seconds: float, pause: float) -> None:
        """Delivery stops in order, and goes on after `pause`; mail is taken meanwhile."""
        if not self.alive or self._stopping:
            return
        self._stopping = True
        self.world.say("delivery stops", patience=seconds)
        Deferred.fromCoroutine(self.relay.stop_delivery(seconds)).addCallback(
            lambda _: self.world.at(self.world.now + pause, self._go_on)
        )

    def _go_on(self) -> None:
        if self.alive:
            self._stopping = False
            self.world.say("delivery goes on")
            self.relay.start_delivery()
            self._pause = 1.0
