"""Short-lived facts of one process, in memory: the IStateStore of a server that has no other.

Bounded in facts: beyond `limit` the oldest goes first, whether its time is over or not. Nothing survives a
restart, and nothing is ever raised.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from zope.interface import implementer

from mailserver.interfaces import IClock, IStateStore

T = TypeVar("T")
LIMIT = 100_000


@implementer(IStateStore)
class MemoryStateStore:
    """`limit` is how many values and how many counters it holds at most."""

    def __init__(self, clock: IClock, limit: int = LIMIT) -> None:
        self._values: _Facts[bytes] = _Facts(clock, limit)
        self._counters: _Facts[int] = _Facts(clock, limit)

    def get(self, key: str) -> bytes | None:
        """The value, or None."""
        fact = self._values.find(key)
        return fact[0] if fact else None

    def put(self, key: str, value: bytes, seconds: float) -> None:
        """Keep `value` for so many seconds."""
        self._values.keep(key, value, seconds)

    def add(self, key: str, amount: int, seconds: float) -> int:
        """Add to a counter."""
        fact = self._counters.find(key)
        if fact is None:
            self._counters.keep(key, amount, seconds)
            return amount
        return self._counters.change(key, fact[0] + amount)

    def forget(self, key: str) -> None:
        """Forget the value and the counter."""
        self._values.drop(key)
        self._counters.drop(key)


class _Facts(Generic[T]):
    """Facts with their ends, oldest first."""

    def __init__(self, clock: IClock, limit: int) -> None:
        self._clock = clock
        self._limit = limit
        self._facts: OrderedDict[str, tuple[T, float]] = OrderedDict()

    def find(self, key: str) -> tuple[T, float] | None:
        fact = self._facts.get(key)
        if fact is not None and fact[1] <= self._clock.monotonic():
            del self._facts[key]
            return None
        return fact

    def keep(self, key: str, value: T, seconds: float) -> None:
        self._facts.pop(key, None)
        while len(self._facts) >= self._limit:
            self._facts.popitem(last=False)
        self._facts[key] = (value, self._clock.monotonic() + seconds)

    def change(self, key: str, value: T) -> T:
        self._facts[key] = (value, self._facts[key][1])
        return value

    def drop(self, key: str) -> None:
        self._facts.pop(key, None)
