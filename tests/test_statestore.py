"""The state store in memory, beyond its contract."""

from __future__ import annotations

from mailserver.statestore import MemoryStateStore
from mailserver.testing.contracts import StateStoreContract
from tests.harness.reception import TurnedClock


class TestContract(StateStoreContract):
    def make(self):
        self.clock = TurnedClock()
        return MemoryStateStore(self.clock)

    def advance(self, seconds):
        self.clock.advance(seconds)


def test_it_is_bounded_and_the_oldest_goes_first():
    store = MemoryStateStore(TurnedClock(), limit=2)
    for number in range(3):
        store.put(str(number), b"x", 60)
        store.add(str(number), number, 60)
    assert [store.get(str(number)) for number in range(3)] == [None, b"x", b"x"]
    assert [store.add(str(number), 0, 60) for number in (1, 2)] == [1, 2]


def test_a_fact_kept_again_is_the_newest():
    store = MemoryStateStore(TurnedClock(), limit=2)
    for key in ("a", "b", "a", "c"):
        store.put(key, b"x", 60)
    assert (store.get("a"), store.get("b")) == (b"x", None)
