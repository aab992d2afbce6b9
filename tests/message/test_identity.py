"""Who has logged in."""

from __future__ import annotations

from mailserver.message.identity import Identity


def test_a_stranger_may_nothing() -> None:
    assert Identity().account is None
    assert not Identity().send_as_any
