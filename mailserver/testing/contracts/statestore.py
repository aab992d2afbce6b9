"""The contract of :class:`~mailserver.interfaces.IStateStore`::

class TestShared(StateStoreContract):
    def make(self):
        self.clock = VirtualClock()
        return Shared(Options(), services(clock=self.clock))

    def advance(self, seconds):
        self.clock.advance(seconds)
"""

from __future__ import annotations

from typing import Any

from zope.interface.verify import verifyObject

from mailserver.interfaces import IStateStore
from mailserver.testing.contracts.answers import Waiting


class StateStoreContract(Waiting):
    """Override :meth:`make` and :meth:`advance`."""

    def make(self) -> Any:
        """An empty store."""
        raise NotImplementedError

    def advance(self, seconds: float) -> None:
        """Let so much time pass for the store made last."""
        raise NotImplementedError

    def test_it_says_what_it_is(self) -> None:
        assert verifyObject(IStateStore, self.make())

    def test_a_value_is_kept_until_its_time_is_over(self) -> None:
        store = self.make()
        assert self.wait(store.get("key")) is None
        self.wait(store.put("key", b"\x00\xff", 60))
        self.advance(59)
        assert self.wait(store.get("key")) == b"\x00\xff"
        self.advance(2)
        assert self.wait(store.get("key")) is None

    def test_a_later_value_takes_the_place_and_the_time(self) -> None:
        store = self.make()
        self.wait(store.put("key", b"one", 10))
        self.wait(store.put("key", b"two", 100))
        self.advance(50)
        assert self.wait(store.get("key")) == b"two"

    def test_a_counter_ends_after_its_first_time(self) -> None:
        store = self.make()
        assert self.wait(store.add("key", 1, 60)) == 1
        self.advance(40)
        assert self.wait(store.add("key", 2, 60)) == 3
        self.advance(21)
        assert self.wait(store.add("key", 5, 60)) == 5

    def test_keys_counters_and_values_are_apart(self) -> None:
        store = self.make()
        self.wait(store.add("key", 7, 60))
        assert self.wait(store.get("key")) is None
        self.wait(store.put("key", b"value", 60))
        self.wait(store.put("other", b"thing", 60))
        assert self.wait(store.add("key", 1, 60)) == 8
        assert self.wait(store.get("key")) == b"value"

    def test_what_is_forgotten_is_gone(self) -> None:
        store = self.make()
        self.wait(store.forget("key"))
        self.wait(store.put("key", b"value", 60))
        self.wait(store.add("key", 7, 60))
        self.wait(store.forget("key"))
        assert self.wait(store.get("key")) is None
        assert self.wait(store.add("key", 1, 60)) == 1
