"""One seed, from its first message to the end of its last: :func:`simulate`.

A run is a function of its seed and of the code. What came of it is a :class:`Ran`: what is wrong, and the story.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from unittest.mock import patch

from mailserver.message.envelope import Facts
from mailserver.message.query import Query
from mailserver.message.state import State
from mailserver.queue.schedule import Schedule
from tests.simulation.ledger import Ledger
from tests.simulation.plan import Message, Plan, Trouble, plan_of
from tests.simulation.process import Process, settings_of
from tests.simulation.storage import Rows
from tests.simulation.world import DAY, HOUR, World

LIMIT = 6 * DAY
# Times that a client comes back to an answer of 4yz, ten minutes later.
_PATIENCE = 30
# More than any run has: a loop that does not end is a finding, too.
_MOST_TURNS = 100_000


@dataclass(frozen=True, slots=True)
class Ran:
    """``days`` of its own time, and ``lives`` of the process, are how much there was to it."""

    seed: int
    wrongs: Sequence[str]
    told: Callable[[], str]
    days: float
    lives: int


def simulate(seed: int, plan: Plan | None = None) -> Ran:
    """Play it; with a `plan` of its own the seed is only for chance."""
    run = _Run(seed, plan or plan_of(seed))
    count = iter(range(1, 1_000_000))
    # Queue ids are random octets elsewhere; here a seed must always tell the same story.
    with patch("mailserver.queue.bounce.new_queue_id", lambda now: f"r{next(count):03}"):
        run.play()
    return Ran(seed, run.world.wrongs, run.world.told, run.world.now / DAY, run.lives)


class _Around:
    """What the processes of a run find around them."""

    def __init__(self, plan: Plan) -> None:
        self.hosts = plan.hosts
        self.moods = plan.moods
        self.mailboxes: set[tuple[str, int]] = set()


class _Run:
    """A run under way."""

    def __init__(self, seed: int, plan: Plan) -> None:
        self.plan = plan
        self.world = World(seed)
        schedule = Schedule(self.plan.retry)
        self.ledger = Ledger(self.world, schedule, self.plan.each, self.plan.total)
        self.around = _Around(self.plan)
        self.lives = 0
        self._outgoing = self.plan.outgoing
        self._sent = 0
        self._waiting = len(self.plan.messages)
        self._start({})

    def _start(self, rows: Rows) -> None:
        plan = self.plan
        self.lives += 1
        self.world.say("START", life=self.lives, outgoing=self._outgoing)
        settings = settings_of(plan.retry, plan.each, plan.total, self._outgoing)
        self.process = Process(self.world, self.ledger, settings, self.around, rows)

    def play(self) -> None:
        """Until everything has ended, or it should have."""
        world, plan = self.world, self.plan
        for message in plan.messages:
            world.at(message.when, self._submit, message, 0)
        for trouble in plan.troubles:
            world.at(trouble.when, self._trouble, trouble)
        limit = LIMIT + plan.late
        for _ in range(_MOST_TURNS):
            if self._turn() or world.now > limit or world.wrongs:
                break
        else:
            world.wrong("it does not come to an end")
        if not world.wrongs:
            self.ledger.check()
        if not world.wrongs and self.process.relay.queue.running:
            world.wrong("attempts under way, and nothing to do")

    def _turn(self) -> bool:
        """Go to the next moment at which something happens, and let it; True when all is over."""
        world = self.world
        self.process.run()
        while world.run_event():
            self.process.run()
        if not self.process.alive:
            self._bury(self.process)
        if self._over():
            return True
        following = [world.next_event(), self.process.wakes() if self.process.alive else None]
        world.now = max(world.now, min(when for when in following if when is not None))
        if self.process.alive:
            self.process.advance()
        return False

    def _over(self) -> bool:
        quiet = self.process.alive and self.ledger.done and not self._waiting
        return quiet and self.process.loop.idle() and not self.process.relay.queue.running

    def _bury(self, process: Process) -> None:
        if process.left is not None:
            rows, process.left = process.left, None
            for again in process.unanswered.values():
                again()
            self.world.at(self.world.now + self.world.random.choice((0.0, 5.0, 600.0)), self._start, rows)

    # Clients.

    def _submit(self, message: Message, times: int) -> None:
        if not self.process.alive:
            self._again(message, times)
            return
        self._sent += 1
        facts = Facts(f"m{self._sent:03}", message.originals, self.world.wall())
        self.world.say("MAIL", queue=facts.queue_id)
        self.process.submit(message.envelope, facts, self._taken, partial(self._again, message, times))

    def _taken(self) -> None:
        self._waiting -= 1

    def _again(self, message: Message, times: int) -> None:
        if times < _PATIENCE:
            self.world.at(self.world.now + 600, self._submit, message, times + 1)
        else:
            self._waiting -= 1

    # Troubles.

    def _trouble(self, trouble: Trouble) -> None:
        world, what, amount = self.world, trouble.what, trouble.amount
        world.say(f"TROUBLE {what}", amount=amount)
        if what == "crash":
            world.armed = int(amount)
        elif what == "clock":
            world.offset += amount
        elif what.startswith("disk"):
            self._disk(what, int(amount))
        elif what == "restart":
            self._restart(amount)
        elif what == "rest":
            self.process.rest(amount, world.random.choice((0.0, 60.0, 3 * HOUR)))
        elif self.process.alive:
            self._operate(what)

    def _restart(self, patience: float) -> None:
        self._outgoing = "on"
        if self.process.alive and not self.process.stop(patience):
            self.world.at(self.world.now + 60, self._restart, patience)

    def _disk(self, what: str, kind: int) -> None:
        self.world.cramped = kind == 3
        self.world.disk = {"disk": "full" if kind else "refusing", "disk fails": "failing"}.get(what, "fine")

    def _operate(self, what: str) -> None:
        messages = self.process.spool.find(Query()).messages
        if what == "release all":
            for message in messages:
                numbers = [one.recipient.number for one in message.recipients if one.state is State.HELD]
                if numbers:
                    self.process.operate("release", message.queue_id, numbers)
        elif messages:
            message = self.world.random.choice(messages)
            chosen = [one for one in message.recipients if self.world.chance(0.7)]
            if what == "release":
                chosen = [one for one in chosen if one.state is State.HELD]
            self.process.operate(what, message.queue_id, [one.recipient.number for one in chosen])
