"""States: their names are an on-disk format."""

from __future__ import annotations

import pytest

from mailserver.message.state import FINAL, State


def test_names_are_never_changed() -> None:
    assert [state.value for state in State] == [
        "queued", "active", "deferred", "held", "delivered", "relayed", "expanded", "failed", "expired", "removed",
    ]  # fmt: skip


@pytest.mark.parametrize("state", State)
def test_final(state: State) -> None:
    assert state.final is (state.value not in ("queued", "active", "deferred", "held"))
    assert state.final is (state in FINAL)
