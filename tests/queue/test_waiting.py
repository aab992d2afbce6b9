"""Attempts that wait in memory: bounded, oldest first, destinations in turn."""

from __future__ import annotations

from mailserver.queue.destination import Windows
from mailserver.queue.waiting import Waiting


def test_the_oldest_first_and_the_destinations_in_turn() -> None:
    waiting: Waiting[str] = Waiting(10)
    for job in ("a1", "a2", "a3", "b1", "b2"):
        assert waiting.add(job[0], job)
    windows = Windows(10, 10)
    assert [waiting.next(windows) for _ in range(6)] == ["a1", "b1", "a2", "b2", "a3", None]
    assert len(waiting) == 0


def test_only_where_there_is_a_place_which_is_then_taken() -> None:
    waiting: Waiting[str] = Waiting(10)
    for job in ("a1", "a2", "b1", "b2"):
        waiting.add(job[0], job)
    windows = Windows(each=1, total=2)
    assert windows.admit("a")
    assert waiting.next(windows) == "b1"
    assert windows.full
    assert waiting.next(windows) is None
    windows.release("b")
    assert waiting.next(windows) == "b2"
    assert list(waiting.destinations()) == ["a"]


def test_there_is_a_bound() -> None:
    waiting: Waiting[str] = Waiting(2)
    assert waiting.add("a", "a1")
    assert waiting.add("b", "b1")
    assert not waiting.add("b", "b2")
    assert len(waiting) == 2
    assert waiting.next(Windows(1, 1)) == "a1"
    assert waiting.add("b", "b2")
