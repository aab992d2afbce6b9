"""What is around the simulated process and outlives it: time, chance, the disk's state, and the story.

Time is a number that goes from one event to the next. The world is also the clock: ``wall`` jumps when somebody
sets it, ``monotonic`` does not. Everything that happens is noted for the story, and nothing is formatted before
somebody wants to read it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.task import Clock
from zope.interface import implementer

from mailserver.interfaces import IClock, SpoolFailed, SpoolFull

# Monday, 5 January 2026, noon UTC.
START = 1_767_614_400.0
HOUR, DAY, YEAR = 3600.0, 86_400.0, 31_536_000.0


class Injected(Exception):
    """What a transport raises because the plan says so."""


class Loop(Clock):
    """The reactor of one process, one call at a time. It goes with the process."""

    def __init__(self, now: float) -> None:
        super().__init__()
        self.rightNow = now
        self._soon: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        """`function` runs in a step of its own."""
        self._soon.append((function, args))

    def idle(self) -> bool:
        """Whether there is no step to be made now."""
        return not self._soon and (not self.calls or self.calls[0].getTime() > self.rightNow)

    def next_call(self) -> float | None:
        """When the next timer runs out."""
        return self.calls[0].getTime() if self.calls else None

    def step(self) -> None:
        """Make one."""
        if self._soon:
            function, args = self._soon.popleft()
            function(*args)
        else:
            call = self.calls.pop(0)
            call.called = 1
            call.func(*call.args, **call.kw)


@implementer(IClock)
class World:
    """``disk`` is ``fine``, ``refusing`` (new mail has no room), ``full`` (nothing has) or ``failing``;
    ``cramped``: contents have no room in memory either. ``armed`` is how many crash points the process still
    passes before it is gone, None for no such end."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"chance {seed}")
        self.now = self.offset = 0.0
        self.disk = "fine"
        self.cramped = False
        self.armed: int | None = None
        self.wrongs: list[str] = []
        self.story: list[tuple[float, float, str, dict[str, Any]]] = []
        self._events: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._count = 0

    # IClock.

    def wall(self) -> float:
        """See `IClock`."""
        return START + self.now + self.offset

    def monotonic(self) -> float:
        """See `IClock`."""
        return self.now

    # Events.

    def at(self, when: float, function: Callable[..., Any], *args: Any) -> None:
        """`function` runs at that moment, after what was asked for earlier."""
        self._count += 1
        heapq.heappush(self._events, (max(when, self.now), self._count, function, args))

    def next_event(self) -> float | None:
        """When something happens."""
        return self._events[0][0] if self._events else None

    def run_event(self) -> bool:
        """Let one event of this moment happen; False when there is none."""
        if not self._events or self._events[0][0] > self.now:
            return False
        _when, _count, function, args = heapq.heappop(self._events)
        function(*args)
        return True

    def chance(self, probability: float) -> bool:
        """True as often as that."""
        return self.random.random() < probability

    # The story.

    def say(self, what: str, **fields: Any) -> None:
        """Something happened."""
        self.story.append((self.now, self.wall(), what, fields))

    def wrong(self, what: str) -> None:
        """An invariant does not hold."""
        self.wrongs.append(what)
        self.say(f"WRONG: {what}")

    def told(self) -> str:
        """The story, for people."""
        return "\n".join(_line(*one) for one in self.story)


def _line(now: float, wall: float, what: str, fields: dict[str, Any]) -> str:
    days, rest = divmod(now, DAY)
    hours, rest = divmod(rest, HOUR)
    jumped = round((wall - START - now) / DAY)
    clock = f" (clock {jumped:+} d)" if jumped else ""
    said = " ".join(f"{name}={_shown(value)}" for name, value in fields.items())
    return f"day {days:.0f} {hours:02.0f}:{rest // 60:02.0f}:{rest % 60:06.3f}{clock}  {what} {said}".rstrip()


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(_shown, value))
    return repr(value) if isinstance(value, str) and " " in value else str(value)


class Log:
    """The process's log: its lines are part of the story, and a failure that nobody planned is a bug."""

    _PLANNED = (Injected, SpoolFull, SpoolFailed)

    def __init__(self, world: World, alive: Callable[[], bool]) -> None:
        self._world = world
        self._alive = alive

    def event(self, name: str, /, **fields: object) -> None:
        """See `mailserver.log.Log`."""
        if self._alive():
            self._world.say(f"    {name}", **fields)

    def failure(self, what: str, exception: BaseException, /, **fields: object) -> None:
        """See `mailserver.log.Log`."""
        if not self._alive():
            return
        self._world.say(f"    failure: {what}", error=repr(exception), **fields)
        if not isinstance(exception, self._PLANNED):
            self._world.wrong(f"{what}: {exception!r}")

    def open(self) -> None:
        """Nothing to open."""

    def flush(self) -> None:
        """Nothing to write."""
