"""Who may change what: the table of mailserver.spool.rows, cell by cell."""

from __future__ import annotations

import pytest

from mailserver.message import State
from mailserver.spool.rows import accepted

Q, D, H, F, R = State.QUEUED, State.DEFERRED, State.HELD, State.FAILED, State.REMOVED

# current, wanted: by the holder, by an operator in flight, by an operator not in flight
TABLE = [
    (Q, Q, Q, None, Q),
    (Q, D, D, None, D),
    (Q, H, H, H, H),
    (Q, F, F, F, F),
    (Q, R, R, R, R),
    (D, Q, Q, None, Q),
    (D, D, D, None, D),
    (D, H, H, H, H),
    (D, F, F, F, F),
    (H, Q, H, Q, Q),
    (H, D, H, Q, D),
    (H, H, H, H, H),
    (H, F, F, F, F),
    (R, Q, None, None, None),
    (R, D, None, None, None),
    (R, H, None, None, None),
    (R, F, None, None, None),
    (F, R, None, None, None),
]


@pytest.mark.parametrize(("current", "wanted", "holder", "in_flight", "idle"), TABLE)
def test_accepted(
    current: State, wanted: State, holder: State | None, in_flight: State | None, idle: State | None
) -> None:
    assert accepted(current, wanted, claimed=True, active=False) is holder
    assert accepted(current, wanted, claimed=False, active=True) is in_flight
    assert accepted(current, wanted, claimed=False, active=False) is idle


def test_active_is_never_written() -> None:
    with pytest.raises(ValueError, match="never written"):
        accepted(Q, State.ACTIVE, claimed=True, active=False)
