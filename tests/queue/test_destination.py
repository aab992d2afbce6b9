"""Windows: bounds per destination and in all."""

from __future__ import annotations

import pytest

from mailserver.queue.destination import Windows


def test_a_destination_has_so_many_places() -> None:
    windows = Windows(each=2, total=10)
    assert windows.admit("a")
    assert windows.closed() == frozenset()
    assert windows.admit("a")
    assert not windows.admit("a")
    assert windows.closed() == {"a"}
    assert windows.admit("b")
    assert not windows.full
    windows.release("a")
    assert windows.closed() == frozenset()
    assert windows.admit("a")


def test_there_are_so_many_places_in_all() -> None:
    windows = Windows(each=2, total=2)
    assert windows.admit("a")
    assert windows.admit("b")
    assert windows.full
    assert not windows.admit("c")
    windows.release("a")
    assert not windows.full
    assert windows.admit("c")


def test_a_quarter_of_all_places_is_for_who_has_none() -> None:
    windows = Windows(each=20, total=8)
    assert [windows.admit("dead") for _ in range(7)] == [True] * 6 + [False]
    assert windows.closed() == {"dead"}
    assert not windows.full
    assert windows.admit("good")
    assert not windows.admit("good")
    assert windows.admit("other")
    assert windows.full
    windows.release("dead")
    assert not windows.admit("dead")
    assert windows.closed() == {"dead", "good", "other"}
    windows.release("good")
    assert windows.admit("good")


def test_an_attempt_that_never_had_a_place_cannot_give_it_back() -> None:
    windows = Windows(1, 1)
    windows.admit("a")
    windows.release("a")
    with pytest.raises(KeyError):
        windows.release("a")
