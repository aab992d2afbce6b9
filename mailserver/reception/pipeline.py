"""The checks of a server, asked in their order at the stages they named.

The first refusal ends the question; the others are not asked. A check answers a
:class:`~mailserver.message.verdict.Verdict`, or an awaitable of one, for which it has so many seconds. What it
raises, any other answer, and silence are a 451 to the client and an event ``check.failed`` that names the check:
never a 250, and never a word of the reason to a stranger.

A refusal has the class of its verdict's status: 550 or 451; as a greeting 554 or 421 (RFC 5321 §3.1, §3.8).
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

from mailserver.interfaces import ICheck, IClock
from mailserver.message.context import CheckContext
from mailserver.message.verdict import Stage, Verdict
from mailserver.reception import refusals
from mailserver.reception.asking import Asking, BadAnswer, Bounds, Flow, SessionGone, is_awaitable, run
from mailserver.smtp.reply import Reply

_MAX_LINE, _MAX_LINES = 400, 20
_CODES = {5: 550, 4: 451}
_GREETINGS = {5: 554, 4: 421}


class Pipeline:
    """`patience` is how many seconds a check has; :meth:`tick` looks at the clock for it."""

    def __init__(self, checks: Sequence[ICheck], clock: IClock, log: Any, patience: float) -> None:
        self._at = {stage: tuple(check for check in checks if stage in check.stages) for stage in Stage}
        self._log = log
        self._clock = clock
        self._asking = Asking(clock, log, "", Bounds(command=patience, data_end=patience))

    def wants(self, stage: Stage) -> bool:
        """Whether any check is to be asked at `stage`."""
        return bool(self._at[stage])

    def tick(self) -> None:
        """Once a second: give up on checks that took too long."""
        self._asking.check(self._clock.monotonic())

    def refusal(self, stage: Stage, context: CheckContext) -> Reply | Awaitable[Reply | None] | None:
        """What the client is told, or None where every check lets it pass. Never raises, and an awaitable
        raises only when it is cancelled."""
        answer: Reply | Awaitable[Reply | None] | None = run(self._ask(stage, context))
        return answer

    def _ask(self, stage: Stage, context: CheckContext) -> Flow[Reply | None]:
        for check in self._at[stage]:
            try:
                verdict: Any = check.check(stage, context)
                if is_awaitable(verdict):
                    verdict = yield self._asking.wait(verdict)
                refusal = _reply(stage, verdict)
            except SessionGone:
                raise
            except Exception as error:
                return self._failed(check, stage, context, error)
            if refusal is not None:
                self._log.event(
                    "check.refused", session=context.session, client=context.client_address, check=check.name,
                    stage=stage, reply=refusal, reason=verdict.reason,
                )  # fmt: skip
                return refusal
        return None

    def _failed(self, check: ICheck, stage: Stage, context: CheckContext, error: Exception) -> Reply:
        name = getattr(check, "name", type(check).__name__)
        reason = f"{type(error).__name__}: {error}"
        self._log.event("check.failed", session=context.session, check=name, stage=stage, reason=reason)
        if not isinstance(error, BadAnswer):
            self._log.failure("a check failed", error, check=name, session=context.session)
        return refusals.NOT_NOW if stage is Stage.CONNECT else refusals.INTERNAL


def _reply(stage: Stage, verdict: object) -> Reply | None:
    if not isinstance(verdict, Verdict):
        raise BadAnswer(f"it answered a {type(verdict).__name__}, and a Verdict is needed")
    status = verdict.status
    if status is None:
        return None
    codes = _GREETINGS if stage is Stage.CONNECT else _CODES
    if status.klass not in codes:
        raise BadAnswer(f"it refused with the status {status}, whose class is neither 4 nor 5")
    lines = tuple(line[:_MAX_LINE] for line in str(verdict.text).splitlines()[:_MAX_LINES])
    return Reply(codes[status.klass], status, lines or ("Refused",))
