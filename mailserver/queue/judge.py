"""What a recipient becomes after an attempt: the table from outcome to state.

Pure: an outcome, the progress so far, the schedule and two times in; a change (and whether a report is owed)
out. A success is final, and reported to whoever asked for that; a permanent failure is final; a transient one
is deferred, or expired when the attempt was begun after the deadline.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailserver.message.claim import FRESH, Change, Claim
from mailserver.message.dsn import DELAYED, FAILED
from mailserver.message.envelope import Recipient
from mailserver.message.outcome import Klass, Outcome
from mailserver.message.state import State
from mailserver.queue.bounce import owed
from mailserver.queue.schedule import Schedule

_ARRIVED = frozenset({State.DELIVERED, State.RELAYED, State.EXPANDED})


@dataclass(frozen=True, slots=True)
class Judged:
    """The change, and the report that it owes the sender (an action of RFC 3464 §2.3.3), or None."""

    change: Change
    outcome: Outcome
    report: str | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """``began`` and ``ended`` of an attempt (wall), and the destination it went to."""

    began: float
    ended: float
    destination: str


def judge(claim: Claim, recipient: Recipient, outcome: Outcome, moment: Moment, schedule: Schedule) -> Judged:
    """The consequence of `outcome` for `recipient`."""
    number, where = recipient.number, moment.destination
    if outcome.klass is Klass.SUCCESS:
        # Whatever a transport wrote there: what has gone out is never waiting again.
        state = outcome.state if outcome.state in _ARRIVED else State.RELAYED
        report = _success(state, outcome, claim, recipient)
        return Judged(Change(number, state, outcome, destination=where, attempted=True), outcome, report)
    progress = claim.progress.get(number, FRESH)
    if outcome.klass is Klass.PERMANENT:
        state = State.FAILED
    elif schedule.expired(claim.arrived, moment.began):
        state = State.EXPIRED
    else:
        notice = not progress.notified and schedule.notice_owed(claim.arrived, moment.ended)
        due = schedule.next_due(progress.attempts + 1, claim.arrived, moment.ended)
        change = Change(number, State.DEFERRED, outcome, due, where, attempted=True, notified=notice)
        told = notice and owed(DELAYED, claim.envelope, recipient)
        return Judged(change, outcome, DELAYED if told else None)
    change = Change(number, state, outcome, destination=where, attempted=True)
    return Judged(change, outcome, FAILED if owed(FAILED, claim.envelope, recipient) else None)


def _success(state: State, outcome: Outcome, claim: Claim, recipient: Recipient) -> str | None:
    """The report owed for a success. Whoever took the message with the duty to report does so himself."""
    if all(one.notify is None for one in recipient.originals) or (state is State.RELAYED and outcome.dsn_passed):
        return None
    action = state.value
    return action if owed(action, claim.envelope, recipient) else None
