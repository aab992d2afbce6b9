"""Queue ids: sortable, unique, and what they say of time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.message.prepared import LENGTH, milliseconds_of, new_queue_id

# 48 bits of milliseconds reach into the year 10889.
WALL = st.floats(0, 281_474_976_710, allow_nan=False)


@given(WALL)
def test_a_queue_id_says_when(wall: float) -> None:
    queue_id = new_queue_id(wall)
    assert len(queue_id) == LENGTH
    assert queue_id.isascii()
    assert queue_id.isalnum()
    assert queue_id == queue_id.lower()
    assert milliseconds_of(queue_id) == int(wall * 1000)


@given(WALL, WALL)
def test_queue_ids_sort_by_time(one: float, other: float) -> None:
    earlier, later = sorted((one, other))
    if int(earlier * 1000) < int(later * 1000):
        assert new_queue_id(earlier) < new_queue_id(later)


def test_queue_ids_of_one_moment_differ() -> None:
    assert len({new_queue_id(1_764_000_000.0) for _ in range(10_000)}) == 10_000


def test_every_random_bit_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    for bit in range(64):
        monkeypatch.setattr("os.urandom", lambda size, bit=bit: (1 << bit).to_bytes(size, "big"))
        queue_id = new_queue_id(1_764_000_000.0)
        assert milliseconds_of(queue_id) == 1_764_000_000_000
        seen.add(queue_id)
    assert len(seen) == 64


@pytest.mark.parametrize("text", ["", "short", "0" * 22, "0" * 24, "u" * 23, "A" * 23, "0" * 22 + "é"])
def test_what_is_no_queue_id(text: str) -> None:
    with pytest.raises(ValueError, match=r"queue id|substring"):
        milliseconds_of(text)
