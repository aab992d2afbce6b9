"""When the next attempt is, and which one was the last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.queue.schedule import Schedule

SCHEDULE = Schedule((60, 300, 900), expire=10_000, delay_notice=400)


@pytest.mark.parametrize(("attempts", "pause"), [(1, 60), (2, 300), (3, 900), (4, 900), (1000, 900)])
def test_the_last_pause_repeats(attempts: int, pause: float) -> None:
    assert SCHEDULE.next_due(attempts, 0, 100) == 100 + pause


def test_the_last_attempt_falls_on_the_deadline() -> None:
    assert SCHEDULE.next_due(3, 0, 9_500) == 10_000
    assert SCHEDULE.next_due(3, 0, 9_100) == 10_000
    assert SCHEDULE.next_due(3, 0, 9_000) == 9_900
    # After it, the pauses go on: only an attempt decides that it was the last.
    assert SCHEDULE.next_due(3, 0, 10_000) == 10_900


@pytest.mark.parametrize(("attempted", "expired"), [(9_999.9, False), (10_000, True), (1e9, True)])
def test_expiry_is_a_matter_of_when_the_attempt_began(attempted: float, expired: bool) -> None:
    assert SCHEDULE.expired(0, attempted) is expired


@pytest.mark.parametrize(("now", "owed"), [(399, False), (400, True), (9_999, True)])
def test_a_notice_is_owed_after_its_time(now: float, owed: bool) -> None:
    assert SCHEDULE.notice_owed(0, now) is owed
    assert not Schedule(delay_notice=0).notice_owed(0, now)


def test_the_longest_pause() -> None:
    assert SCHEDULE.longest == 900


@given(st.integers(1, 100), st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_next_attempt_is_ahead_and_not_too_far(attempts: int, arrived: float, later: float) -> None:
    now = arrived + later
    due = SCHEDULE.next_due(attempts, arrived, now)
    assert now < due <= now + SCHEDULE.longest
