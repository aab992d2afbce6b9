"""Short ways to make outcomes."""

from __future__ import annotations

import pytest

from mailserver.message.outcome import Klass, Outcome, Scope, delivered, permanent, surprise, transient
from mailserver.message.state import State
from mailserver.smtp.status import Status


@pytest.mark.parametrize(
    ("outcome", "klass", "scope", "status", "state"),
    [
        (delivered(), Klass.SUCCESS, Scope.RECIPIENT, "2.0.0", State.DELIVERED),
        (transient("t"), Klass.TRANSIENT, Scope.RECIPIENT, "4.0.0", State.DEFERRED),
        (transient("t", Status(4, 4, 1), Scope.HOST), Klass.TRANSIENT, Scope.HOST, "4.4.1", State.DEFERRED),
        (permanent("p"), Klass.PERMANENT, Scope.RECIPIENT, "5.0.0", State.FAILED),
        (permanent("p", Status(5, 1, 1), Scope.MESSAGE), Klass.PERMANENT, Scope.MESSAGE, "5.1.1", State.FAILED),
        # Unknown is transient.
        (surprise("a bug"), Klass.TRANSIENT, Scope.MESSAGE, "4.3.0", State.DEFERRED),
    ],
)
def test_values(outcome: Outcome, klass: Klass, scope: Scope, status: str, state: State) -> None:
    assert (outcome.klass, outcome.scope, str(outcome.status), outcome.state) == (klass, scope, status, state)
    assert not outcome.uncertain
    assert outcome.remote_mta is outcome.remote_reply is None


def test_equal_outcomes_are_one_key() -> None:
    assert len({permanent("p"), permanent("p"), permanent("q")}) == 2
