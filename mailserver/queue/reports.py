"""From an attempt's outcomes to its settlement: states, next attempt, and the reports owed, as one.

Also writes the log events that tell people what became of a message.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mailserver.interfaces import IClock, SpoolFull
from mailserver.message.claim import Claim, Settlement
from mailserver.message.dsn import DELAYED, DELIVERED, EXPANDED, FAILED, RELAYED, Told
from mailserver.message.envelope import Recipient
from mailserver.message.outcome import Outcome, surprise
from mailserver.message.prepared import Prepared
from mailserver.message.route import Attempt
from mailserver.queue.bounce import Bounces, owed
from mailserver.queue.judge import Judged, Moment, judge
from mailserver.queue.schedule import Schedule
from mailserver.queue.settling import Settling

# What shares a report: a reader must not look for the failure among the successes.
_REPORTS = ((FAILED,), (DELAYED,), (DELIVERED, RELAYED, EXPANDED))


@dataclass(frozen=True, slots=True, eq=False)
class Ended:
    """An attempt that is over. ``outcomes`` may lack recipients; ``began`` is wall-clock seconds."""

    claim: Claim
    attempt: Attempt
    outcomes: Mapping[Recipient, Outcome]
    began: float


@dataclass(slots=True, eq=False)
class _Owing:
    """A settlement that waits for its reports. ``full``: it waits for room; ``trying``: it is being made."""

    claim: Claim
    judged: Sequence[tuple[Recipient, Judged]]
    full: bool = False
    trying: bool = True


class Reporter:
    """Judges, reports, settles."""

    def __init__(self, bounces: Bounces, settling: Settling, schedule: Schedule, clock: IClock, log: Any) -> None:
        self._bounces = bounces
        self._settling = settling
        self._schedule = schedule
        self._clock = clock
        self._log = log
        self._owing: list[_Owing] = []

    @property
    def blocked(self) -> str | None:
        """Why there is no room for reports at present; their settlements wait with them."""
        if not self._owing or not any(one.full for one in self._owing):
            return None
        return "there is no room for a report to a sender"

    @property
    def unsettled(self) -> int:
        """How many settlements wait for a report."""
        return len(self._owing)

    def retry(self) -> list[Coroutine[Any, Any, None]]:
        """Make again what could not be made before."""
        again = [one for one in self._owing if not one.trying]
        for one in again:
            one.trying = True
        return [self._with_reports(one) for one in again]

    def settle(self, ended: Ended) -> Coroutine[Any, Any, None] | None:
        """Owe the settlement; a coroutine to be run first where a report belongs into it."""
        attempt = ended.attempt
        moment = Moment(ended.began, self._clock.wall(), attempt.route.destination)
        judged = []
        for recipient in attempt.recipients:
            outcome = ended.outcomes.get(recipient)
            if not isinstance(outcome, Outcome):
                name = attempt.route.transport
                self._log.event("transport.forgot", transport=name, queue=attempt.queue_id, to=recipient.mailbox)
                outcome = surprise("no outcome")
            one = judge(ended.claim, recipient, outcome, moment, self._schedule)
            judged.append((recipient, one))
            self._tell(attempt, recipient, one)
        owing = [pair for pair in judged if pair[1].report is not None]
        free = [pair for pair in judged if pair[1].report is None] if owing else judged
        # A report may take its time (RET=FULL of a large content): whoever is owed none need not wait for it.
        if free:
            self._settling.owe(_settlement(ended.claim, free))
        return self._with_reports(_Owing(ended.claim, owing)) if owing else None

    async def _with_reports(self, owing: _Owing) -> None:
        try:
            stored = await self._reports(owing)
        except Exception as error:
            self._put_by(owing, error)
            return
        if owing in self._owing:
            self._owing.remove(owing)
        self._settling.owe(_settlement(owing.claim, owing.judged, stored))

    def _put_by(self, owing: _Owing, error: Exception) -> None:
        """The outcomes stay in memory, and nothing is attempted twice. Only a full disk stops everything else."""
        owing.full, owing.trying = isinstance(error, SpoolFull), False
        if owing in self._owing:
            return
        self._owing.append(owing)
        self._log.failure("a report could not be made", error, queue=owing.claim.queue_id)

    async def _reports(self, owing: _Owing) -> list[Prepared]:
        claim, stored = owing.claim, list[Prepared]()
        try:
            for actions in _REPORTS:
                told = [one for action in actions for one in self._told(action, owing)]
                if told:
                    stored.append(await self._bounces.report(claim, told))
        except BaseException:
            for prepared in stored:
                prepared.content.discard()
            raise
        for prepared in stored:
            self._log.event("report.owed", queue=claim.queue_id, report=prepared.queue_id)
        return stored

    def _told(self, action: str, owing: _Owing) -> list[Told]:
        until = self._until(owing.claim) if action == DELAYED else None
        return [
            Told(original, one.outcome, action, until)
            for recipient, one in owing.judged
            if one.report == action
            for original in owed(action, owing.claim.envelope, recipient)
        ]

    def _until(self, claim: Claim) -> float:
        return claim.arrived + self._schedule.expire

    def _tell(self, attempt: Attempt, recipient: Recipient, judged: Judged) -> None:
        state, outcome = judged.change.state.value, judged.outcome
        if judged.report is None and outcome.remote_reply is None and not judged.change.due:
            self._log.event(f"message.{state}", queue=attempt.queue_id, to=recipient.mailbox, said=outcome.text)
            return
        self._log.event(
            f"message.{state}",
            queue=attempt.queue_id,
            to=recipient.mailbox,
            destination=attempt.route.destination,
            status=outcome.status,
            said=outcome.text,
            remote=outcome.remote_mta or "-",
            reply=outcome.remote_reply or "-",
            due=int(judged.change.due),
        )


def _settlement(
    claim: Claim, judged: Sequence[tuple[Recipient, Judged]], stored: Sequence[Prepared] = ()
) -> Settlement:
    return Settlement(claim.queue_id, tuple([one.change for _, one in judged]), tuple(stored))
