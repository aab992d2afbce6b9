"""How time passes in a kit: from one moment at which something is due to the next.

The server is told of the time by ticks, once a second as in production while that can matter (a session is open,
or a commit is owed), and else only when the queue has something due, and once an hour. So a retry schedule of
days costs what its attempts cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mailserver.testing.reactor import MemoryReactor, VirtualClock

_TICK = 1.0
_SELDOM = 3_600.0


class Passing:
    """Moves `reactor`. Until :meth:`watch` there are no ticks."""

    def __init__(self, reactor: MemoryReactor, clock: VirtualClock) -> None:
        self._reactor = reactor
        self._offset = clock.wall() - clock.monotonic()
        self._server: Any = None
        self._ticked = 0.0
        self._real: float | None = None

    @property
    def now(self) -> float:
        """By the monotonic clock."""
        return float(self._reactor.seconds())

    def watch(self, server: Any) -> None:
        """Tick for `server` from now on; None: for nobody any more."""
        self._server = server
        self._ticked = self.now

    def run(self, until: float, enough: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass until that moment, or until `enough`; answers whether it was enough."""
        self._reactor.settle()
        while not enough():
            if self.now >= until:
                return False
            tick = self._next_tick()
            self._reactor.pass_time(min(tick, self._reactor.next_call(), until))
            if self.now >= tick:
                self._tick()
        return True

    def _next_tick(self) -> float:
        server = self._server
        if server is None:
            return float("inf")
        soon = self._ticked + _TICK
        if server.listeners.count or server.relay.blocked():
            return soon
        due = server.spool.next_due()
        seldom = self._ticked + _SELDOM
        return seldom if due is None else min(seldom, max(due - self._offset, soon))

    def _tick(self) -> None:
        self._ticked = self.now
        self._server.spool.tick()
        self._reactor.settle()

    def until_something(self) -> float:
        """How long nothing will happen by itself."""
        return max(min(self._next_tick(), self._reactor.next_call()) - self.now, 0)

    def keep_up(self, real: float | None) -> None:
        """Move on as the machine's clock does, which shows `real` now; None: not any more."""
        before, self._real = self._real, real
        if real is not None:
            self.run(self.now + (0 if before is None else max(real - before, 0)))
