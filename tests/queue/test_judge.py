"""The table from outcome to state."""

from __future__ import annotations

from typing import Any

import pytest

from mailserver.message.claim import Claim, Progress
from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import Klass, Outcome, Scope, delivered, permanent, surprise, transient
from mailserver.message.state import State
from mailserver.queue.judge import Judged, Moment, judge
from mailserver.queue.schedule import Schedule
from mailserver.smtp.address import NULL, Mailbox
from mailserver.smtp.status import Status

SCHEDULE = Schedule((60, 300), expire=1_000, delay_notice=400)
SENDER, TO = Mailbox.parse("s@a.example"), Mailbox.parse("r@b.example")


def judged(outcome: Outcome, began: float = 0, ended: float = 10, **more: Any) -> Judged:
    notify = more.get("notify")
    recipient = Recipient(3, TO, (Original(TO, None if notify is None else frozenset(notify.split(","))),))
    progress = {3: more["progress"]} if "progress" in more else {}
    envelope = Envelope(more.get("sender", SENDER))
    claim = Claim("id", envelope, (recipient,), Content(), 0, progress)
    return judge(claim, recipient, outcome, Moment(began, ended, "b.example"), SCHEDULE)


@pytest.mark.parametrize("state", [State.DELIVERED, State.RELAYED, State.EXPANDED])
def test_a_success_is_final_and_reported_to_nobody_who_did_not_ask(state: State) -> None:
    outcome = Outcome(Klass.SUCCESS, Scope.RECIPIENT, Status(2, 0, 0), "ok", state)
    one = judged(outcome, began=5_000, ended=5_001)
    assert (one.change.number, one.change.state, one.change.outcome) == (3, state, outcome)
    assert one.change.attempted
    assert one.change.destination == "b.example"
    assert one.report is None


@pytest.mark.parametrize("state", [State.DELIVERED, State.RELAYED, State.EXPANDED])
@pytest.mark.parametrize(
    ("notify", "wanted"),
    [(None, False), ("SUCCESS", True), ("SUCCESS,FAILURE", True), ("FAILURE,DELAY", False), ("NEVER", False)],
)
def test_who_hears_of_a_success(state: State, notify: str | None, wanted: bool) -> None:
    outcome = Outcome(Klass.SUCCESS, Scope.RECIPIENT, Status(2, 0, 0), "ok", state)
    assert judged(outcome, notify=notify).report == (state.value if wanted else None)
    assert judged(outcome, notify=notify, sender=NULL).report is None


def test_a_success_is_reported_by_whoever_took_the_duty() -> None:
    outcome = Outcome(Klass.SUCCESS, Scope.RECIPIENT, Status(2, 0, 0), "ok", State.RELAYED, dsn_passed=True)
    assert judged(outcome, notify="SUCCESS").report is None


@pytest.mark.parametrize("state", [State.DEFERRED, State.QUEUED, State.FAILED, State.HELD])
def test_a_success_never_waits_whatever_state_it_names(state: State) -> None:
    outcome = Outcome(Klass.SUCCESS, Scope.RECIPIENT, Status(2, 0, 0), "ok", state)
    assert judged(outcome).change.state is State.RELAYED


def test_a_permanent_failure_fails_whatever_state_it_names() -> None:
    outcome = Outcome(Klass.PERMANENT, Scope.MESSAGE, Status(5, 0, 0), "no", State.DEFERRED)
    assert judged(outcome).change.state is State.FAILED


@pytest.mark.parametrize(
    ("notify", "report"),
    [(None, "failed"), ("FAILURE", "failed"), ("SUCCESS,FAILURE", "failed"), ("NEVER", None), ("SUCCESS", None),
     ("DELAY", None)],
)  # fmt: skip
def test_who_hears_of_a_failure(notify: str | None, report: str | None) -> None:
    assert judged(permanent("no"), notify=notify).report == report
    assert judged(permanent("no"), notify=notify, sender=NULL).report is None
    assert judged(transient("down"), began=1_000, notify=notify).report == report


@pytest.mark.parametrize(
    ("notify", "report"), [(None, "delayed"), ("DELAY", "delayed"), ("NEVER", None), ("FAILURE", None)]
)
def test_who_hears_of_a_delay_once(notify: str | None, report: str | None) -> None:
    assert judged(transient("down"), ended=399, notify=notify).report is None
    one = judged(transient("down"), ended=400, notify=notify)
    assert one.report == report
    assert one.change.notified
    told = Progress(5, notified=True)
    again = judged(transient("down"), ended=500, notify=notify, progress=told)
    assert again.report is None
    assert not again.change.notified
    assert judged(transient("down"), ended=400, notify=notify, sender=NULL).report is None


@pytest.mark.parametrize(("attempts", "due"), [(0, 70), (1, 310), (2, 310)])
def test_a_transient_failure_waits_as_long_as_the_schedule_says(attempts: int, due: float) -> None:
    one = judged(surprise("a bug"), progress=Progress(attempts)).change
    assert (one.state, one.due, one.attempted) == (State.DEFERRED, due, True)


@pytest.mark.parametrize(
    ("began", "ended", "state"),
    [(999, 5_000, State.DEFERRED), (1_000, 1_000, State.EXPIRED), (9_999, 9_999, State.EXPIRED)],
)
def test_expiry_needs_an_attempt_begun_after_the_deadline(began: float, ended: float, state: State) -> None:
    assert judged(transient("down"), began, ended).change.state is state
    assert judged(delivered(), began, ended).change.state is State.DELIVERED
