"""Asking an application: flows, bounds, and what failures mean."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.mail.smtp import SMTPServerError

from mailserver.reception import refusals
from mailserver.reception.asking import (
    Asking,
    Bounds,
    Declined,
    Hook,
    NeverAnswered,
    SessionGone,
    is_awaitable,
    reply_of,
    run,
)
from tests.harness.reception import Recorder, TurnedClock


class Kit:
    def __init__(self) -> None:
        self.clock, self.log = TurnedClock(), Recorder()
        self.asking = Asking(self.clock, self.log, "s1", Bounds(command=10, data_end=20))

    def later(self, value: Any, at_end: bool = False, **options: Any) -> list[Any]:
        got: list[Any] = []
        self.waiting = self.asking.wait(value, at_end, **options).addBoth(got.append)
        return got

    def pass_(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.asking.check(self.clock.monotonic())


def got(awaitable: Any) -> Any:
    results: list[Any] = []
    Deferred.fromCoroutine(awaitable).addBoth(results.append)
    return results[0]


def test_a_flow_without_waiting_is_a_plain_call() -> None:
    kit = Kit()
    assert run(kit.asking.ask(Hook(kit), lambda value: value + 1, 1)) == 2


@pytest.mark.parametrize("value", [succeed(3), None])
def test_a_flow_that_waits_is_an_awaitable(value: Any) -> None:
    kit = Kit()

    async def three() -> int:
        return 3

    answer = run(kit.asking.ask(Hook(kit), lambda: three() if value is None else value))
    assert is_awaitable(answer)
    assert got(answer) == 3


def test_a_refusal_is_its_reply() -> None:
    kit = Kit()

    def refuse() -> None:
        raise SMTPServerError(450, "later")

    with pytest.raises(Declined) as declined:
        run(kit.asking.ask(Hook(kit), refuse))
    assert str(declined.value.reply) == "450 4.0.0 later"
    assert kit.log.events == kit.log.failures == []


def test_a_bug_is_451_and_named() -> None:
    kit = Kit()
    with pytest.raises(Declined) as declined:
        run(kit.asking.ask(Hook(kit, "hook"), lambda: 1 / 0))
    assert declined.value.reply is refusals.INTERNAL
    assert isinstance(kit.log.failures[0][1], ZeroDivisionError)
    assert str(Hook(kit, "hook")).endswith("test_asking.Kit.hook")
    assert str(Hook(got)).endswith("test_asking.got")


@pytest.mark.parametrize(("at_end", "seconds"), [(False, 10), (True, 20)])
def test_who_never_answers_is_cancelled(at_end: bool, seconds: int) -> None:
    kit = Kit()
    asked: Deferred[Any] = Deferred()
    answers = kit.later(asked, at_end)
    kit.pass_(seconds - 1)
    assert answers == []
    kit.pass_(1)
    assert answers[0].check(NeverAnswered)
    assert asked.called


def test_a_coroutine_that_takes_no_end_is_left_behind() -> None:
    kit = Kit()

    async def stubborn() -> None:
        while True:
            try:
                await Deferred()
            except CancelledError:
                continue

    answers = kit.later(stubborn())
    kit.pass_(10)
    assert answers[0].check(NeverAnswered)


def test_who_asks_no_more_cancels() -> None:
    kit = Kit()
    asked: Deferred[Any] = Deferred()
    answers = kit.later(asked)
    kit.waiting.cancel()
    assert answers[0].check(SessionGone)
    assert asked.called
    kit.pass_(100)
    assert len(answers) == 1


def test_a_late_answer_has_a_taker() -> None:
    kit = Kit()
    late: list[Any] = []
    kit.later(Deferred(lambda one: one.callback("late")), late=late.append)
    kit.pass_(10)
    assert late == ["late"]


def test_the_applications_deferred_keeps_its_result() -> None:
    kit = Kit()
    asked: Deferred[Any] = Deferred()
    answers = kit.later(asked)
    asked.callback(5)
    assert answers == [5]
    again: list[Any] = []
    asked.addCallback(again.append)
    assert again == [5]


@pytest.mark.parametrize(
    ("code", "text", "reply"),
    [
        (550, "5.1.1 nobody", "550 5.1.1 nobody"),
        (550, "4.1.1 nobody", "550 5.0.0 4.1.1 nobody"),
        (421, b"bye\xff", "421 4.0.0 bye�"),
        (550, None, "550 5.0.0 None"),
        (250, "ok", None),
        ("550", "x", None),
    ],
)
def test_a_reply_of_an_exception(code: Any, text: Any, reply: str | None) -> None:
    answer = reply_of(SMTPServerError(code, text))
    assert (None if answer is None else str(answer)) == reply


def test_a_text_has_a_bound() -> None:
    answer = reply_of(SMTPServerError(550, "\n".join(["x" * 10_000] * 1_000)))
    assert answer is not None
    assert len(answer.wire) < 20 * 512
