"""The machine's clocks."""

from __future__ import annotations

import time

from zope.interface.verify import verifyObject

from mailserver.clock import SystemClock
from mailserver.interfaces import IClock


def test_both_clocks_are_the_machines() -> None:
    clock = SystemClock()
    assert verifyObject(IClock, clock)
    before = (time.time(), time.monotonic())
    now = (clock.wall(), clock.monotonic())
    after = (time.time(), time.monotonic())
    assert all(a <= b <= c for a, b, c in zip(before, now, after, strict=True))
