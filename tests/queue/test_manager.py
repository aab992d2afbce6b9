"""The queue manager: every claim ends in exactly one settlement, whatever routers, transports and disk do."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed

from mailserver.interfaces import SpoolFailed, SpoolFull
from mailserver.message.outcome import Klass, Outcome, Scope, delivered, permanent, transient
from mailserver.message.route import Route
from mailserver.message.state import State
from mailserver.queue import manager as module
from mailserver.queue.router import HOLD_REASON
from mailserver.queue.schedule import Schedule
from mailserver.smtp.status import Status


def addressed(report: Any) -> str:
    return str(report.recipients[0].mailbox)


# What becomes of one message.


def test_a_fresh_message_is_delivered_and_settled_in_one_commit(kit: Any) -> None:
    queue_id = kit.store("anna@here.example")
    assert kit.spool.states(queue_id) == [State.DELIVERED]
    assert kit.settled_once(queue_id)
    assert [attempt.again for attempt in kit.local.attempts] == [False]
    assert not kit.spool.flying


def test_local_static_mx_and_held_recipients_of_one_message(kit: Any) -> None:
    kit.router.rules["static.example"] = lambda _: Route("smtp", "[10.0.0.1]:25")
    kit.router.rules["hold.example"] = lambda _: Route("smtp", "hold.example", hold=HOLD_REASON)
    kit.router.rules["gone.example"] = lambda _: permanent("no such address here", Status(5, 1, 1))
    names = ["anna@here.example", "a@static.example", "b@mx.example", "c@hold.example", "d@gone.example"]
    queue_id = kit.store(*names, "e@mx.example")
    delivered_, relayed, held, failed = State.DELIVERED, State.RELAYED, State.HELD, State.FAILED
    assert kit.spool.states(queue_id) == [delivered_, relayed, relayed, held, failed, relayed]
    assert kit.settled_once(queue_id)
    # Recipients with equal routes are one attempt.
    own = [attempt for attempt in kit.smtp.attempts if attempt.queue_id == queue_id]
    assert [[one.number for one in attempt.recipients] for attempt in own] == [[1], [2, 5]]
    row = kit.spool.rows[queue_id][3]
    assert row.progress.last.text == HOLD_REASON
    assert row.progress.attempts == 0
    assert row.destination == "hold.example"
    # Of the failed one a report went to the sender, by the same way.
    (report,) = kit.spool.reports()
    assert addressed(report) == "sender@else.example"
    assert kit.spool.states(report.queue_id) == [State.RELAYED]


def test_messages_stored_together_are_one_batch_for_local_transports(kit: Any) -> None:
    listener, kit.spool.on_stored = kit.spool.on_stored, None
    for _ in range(3):
        kit.store("anna@here.example")
    kit.spool.on_stored = listener
    kit.tick()
    assert [len(batch) for batch in kit.local.batches] == [3]
    assert len(kit.spool.asked) == 1
    assert all(attempt.again for attempt in kit.local.attempts)


def test_deferred_is_tried_again_on_the_schedule_and_only_then(kit: Any, make: Any) -> None:
    kit.smtp.answer = lambda attempt: transient("busy")
    queue_id = kit.store("a@mx.example")
    row = kit.spool.rows[queue_id][0]
    assert (row.state, row.due) == (State.DEFERRED, make.START + 60)
    kit.tick(59)
    assert len(kit.smtp.attempts) == 1
    kit.smtp.answer = lambda attempt: make.relayed()
    kit.tick(1)
    assert [attempt.again for attempt in kit.smtp.attempts] == [False, True]
    assert row.state is State.RELAYED
    assert row.settled == 2


def test_one_recipient_refused_one_deferred_one_relayed(kit: Any, make: Any) -> None:
    words = {0: permanent("no"), 1: transient("later"), 2: make.relayed()}
    kit.smtp.answer = lambda attempt: {one: words[one.number] for one in attempt.recipients}
    queue_id = kit.store("a@mx.example", "b@mx.example", "c@mx.example", sender="")
    assert kit.spool.states(queue_id) == [State.FAILED, State.DEFERRED, State.RELAYED]
    kit.smtp.answer = lambda attempt: make.relayed()
    kit.tick(60)
    # Only the deferred one is tried again.
    assert [[one.number for one in attempt.recipients] for attempt in kit.smtp.attempts] == [[0, 1, 2], [1]]
    assert kit.spool.states(queue_id) == [State.FAILED, State.RELAYED, State.RELAYED]


def test_a_recipient_whose_domain_became_local_goes_to_the_account(kit: Any, make: Any) -> None:
    anna = make.recipient(0, "anna@here.example").mailbox
    kit.router.rules["late.example"] = lambda _: Route("local", "local", mailbox=anna)
    queue_id = kit.store("Anna+x@late.example")
    assert [str(one.mailbox) for one in kit.local.attempts[0].recipients] == ["anna@here.example"]
    assert kit.spool.states(queue_id) == [State.DELIVERED]


# Transports that do not keep their contract.


def odd_transports(make: Any) -> dict[str, Any]:
    async def coroutine(attempt: Any) -> Any:
        return dict.fromkeys(attempt.recipients, make.relayed())

    async def nothing(attempt: Any) -> Any:
        return None

    async def raising(attempt: Any) -> Any:
        raise RuntimeError("a bug")

    return {
        "a coroutine": coroutine,
        "a Deferred": lambda a: succeed(dict.fromkeys(a.recipients, make.relayed())),
        "raises": lambda a: RuntimeError("a bug"),
        "a coroutine that raises": raising,
        "a failed Deferred": lambda a: fail(RuntimeError("a bug")),
        "a coroutine of None": nothing,
        "None": lambda a: None,
        "forgets all": lambda a: {},
        "no outcome": lambda a: dict.fromkeys(a.recipients, "delivered"),
    }


GOOD = ("a coroutine", "a Deferred")
RAISING = ("raises", "a coroutine that raises", "a failed Deferred", "a coroutine of None", "None")
FORGETTING = ("forgets all", "no outcome")


@pytest.mark.parametrize("name", [*GOOD, *RAISING, *FORGETTING])
def test_whatever_a_transport_answers_is_one_outcome(name: str, kit: Any, make: Any) -> None:
    kit.smtp.answer = odd_transports(make)[name]
    queue_id = kit.store("a@mx.example", "b@mx.example")
    good = name in GOOD
    assert kit.spool.states(queue_id) == [State.RELAYED if good else State.DEFERRED] * 2
    assert kit.settled_once(queue_id)
    assert kit.manager.running == 0
    assert len(kit.log.failures) == (name in RAISING)
    if not good:
        row = kit.spool.rows[queue_id][0]
        assert row.progress.last.klass is Klass.TRANSIENT
        assert row.progress.attempts == 1
        assert ("transport.forgot" in kit.log.names()) is True


def test_a_forgotten_recipient_is_transient_and_the_others_are_not_touched(kit: Any, make: Any) -> None:
    kit.smtp.answer = lambda attempt: {attempt.recipients[1]: make.relayed()}
    queue_id = kit.store("a@mx.example", "b@mx.example")
    assert kit.spool.states(queue_id) == [State.DEFERRED, State.RELAYED]
    (event,) = [fields for name, fields in kit.log.events if name == "transport.forgot"]
    assert event["transport"] == "smtp"
    assert str(event["to"]) == "a@mx.example"


@pytest.mark.parametrize("answer", [None, {}, RuntimeError("a bug"), "each None"])
def test_a_batch_that_comes_to_nothing_is_transient(answer: Any, kit: Any) -> None:
    def deliver_many(attempts: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return dict.fromkeys(attempts) if answer == "each None" else answer

    kit.local.deliver_many = deliver_many
    queue_id = kit.store("anna@here.example")
    assert kit.spool.states(queue_id) == [State.DEFERRED]
    assert kit.settled_once(queue_id)
    assert kit.manager.running == 0


def test_a_missing_transport_is_transient(kit: Any) -> None:
    kit.router.rules["mx.example"] = lambda _: Route("uucp", "mx.example")
    queue_id = kit.store("a@mx.example")
    assert kit.spool.states(queue_id) == [State.DEFERRED]
    assert "transport.missing" in kit.log.names()
    assert kit.spool.rows[queue_id][0].progress.last.status == Status(4, 3, 5)


def test_a_success_that_says_deferred_is_not_sent_again(kit: Any) -> None:
    kit.smtp.answer = lambda attempt: Outcome(Klass.SUCCESS, Scope.RECIPIENT, Status(2, 0, 0), "ok")
    queue_id = kit.store("a@mx.example")
    kit.tick(3600)
    assert kit.spool.states(queue_id) == [State.RELAYED]
    assert len(kit.smtp.attempts) == 1


# Routers.


def test_a_router_may_take_its_time(kit: Any) -> None:
    waiting: Deferred[Any] = Deferred()
    asked = []

    def route(one: Any) -> Any:
        asked.append(one.number)
        return waiting

    kit.router.rules["mx.example"] = route
    queue_id = kit.store("a@mx.example", "anna@here.example")
    assert kit.spool.states(queue_id) == [State.QUEUED, State.QUEUED]
    waiting.callback(Route("smtp", "mx.example"))
    assert kit.spool.states(queue_id) == [State.RELAYED, State.DELIVERED]
    assert asked == [0]
    assert kit.settled_once(queue_id)


async def route_raising(_: Any) -> Any:
    raise LookupError("a bug")


async def route_rubbish(_: Any) -> Any:
    return "smtp"


def route_raising_at_once(_: Any) -> Any:
    raise LookupError("a bug")


@pytest.mark.parametrize("rule", [route_raising, route_rubbish, route_raising_at_once, lambda _: None])
def test_a_router_that_fails_is_transient(rule: Any, kit: Any) -> None:
    kit.router.rules["mx.example"] = rule
    queue_id = kit.store("a@mx.example", "anna@here.example")
    assert kit.spool.states(queue_id) == [State.DEFERRED, State.DELIVERED]
    assert kit.settled_once(queue_id)
    assert [what for what, _ in kit.log.failures] == ["the router failed"]


def test_a_route_found_after_stop_starts_nothing(kit: Any) -> None:
    waiting: Deferred[Any] = Deferred()
    kit.router.rules["mx.example"] = lambda _: waiting
    kit.store("a@mx.example")
    stopped = Deferred.fromCoroutine(kit.manager.stop(lambda done: done))
    waiting.callback(Route("smtp", "mx.example"))
    assert stopped.called
    assert kit.smtp.attempts == []
    assert kit.spool.settlements == []


def test_a_route_found_while_the_disk_is_full_is_put_off(kit: Any, make: Any) -> None:
    waiting: Deferred[Any] = Deferred()
    kit.router.rules["slow.example"] = lambda _: waiting
    slow = kit.store("a@slow.example")
    kit.spool.refusing = lambda batch: make.full()
    kit.store("b@mx.example")
    kit.router.rules.clear()
    waiting.callback(Route("smtp", "slow.example"))
    assert [attempt.route.destination for attempt in kit.smtp.attempts] == ["mx.example"]
    kit.spool.refusing = lambda batch: None
    kit.tick()
    assert kit.spool.states(slow) == [State.RELAYED]


# Law 4: no room for a settlement.


def test_a_full_disk_at_settle_sends_nothing_twice(kit: Any, make: Any) -> None:
    kit.spool.refusing = lambda batch: make.full()
    first = kit.store("a@mx.example")
    assert kit.manager.blocked == "no space left on device"
    waiting = kit.backlog("b@mx.example")
    claims = kit.spool.claims
    for _ in range(3):
        kit.tick()
    # Nothing is claimed, nothing is sent; the same outcome is offered again with each tick.
    assert kit.spool.claims == claims
    assert [attempt.queue_id for attempt in kit.smtp.attempts] == [first]
    assert len(kit.spool.asked) == 4
    assert len(set(kit.spool.asked)) == 1
    assert kit.log.names().count("queue.blocked") == 1
    kit.spool.refusing = lambda batch: None
    kit.tick()
    assert kit.manager.blocked is None
    assert kit.log.names().count("queue.unblocked") == 1
    assert kit.spool.states(first) == kit.spool.states(waiting) == [State.RELAYED]
    assert kit.settled_once(first)
    assert [attempt.queue_id for attempt in kit.smtp.attempts] == [first, waiting]


def test_attempts_that_end_while_the_disk_is_full_wait_with_their_outcomes(kit: Any, make: Any) -> None:
    kit.use(smtp=make.Slow())
    ids = [kit.store(f"a@mx{n}.example") for n in range(3)]
    kit.spool.refusing = lambda batch: make.full()
    for _ in ids:
        kit.smtp.end()
    assert [kit.spool.states(one) for one in ids] == [[State.QUEUED]] * 3
    kit.spool.refusing = lambda batch: None
    kit.tick()
    assert [kit.spool.states(one) for one in ids] == [[State.RELAYED]] * 3
    assert all(kit.settled_once(one) for one in ids)
    assert len(kit.smtp.attempts) == 3


def test_what_is_stored_while_the_disk_is_full_is_not_attempted(kit: Any, make: Any) -> None:
    kit.spool.refusing = lambda batch: make.full()
    kit.store("a@mx.example")
    late = kit.store("b@mx.example")
    assert len(kit.smtp.attempts) == 1
    kit.spool.refusing = lambda batch: None
    kit.tick()
    assert kit.spool.states(late) == [State.RELAYED]
    assert [attempt.queue_id for attempt in kit.smtp.attempts].count(late) == 1


def test_claimed_ones_that_wait_do_not_start_while_the_disk_is_full(make: Any) -> None:
    kit = make.Kit(each=1)
    kit.use(smtp=make.Slow())
    for _ in range(2):
        kit.backlog("a@mx.example")
    kit.tick()
    kit.spool.refusing = lambda batch: make.full()
    kit.smtp.end()
    assert len(kit.smtp.attempts) == 1
    kit.spool.refusing = lambda batch: None
    kit.tick()
    assert len(kit.smtp.attempts) == 2


def test_waiting_attempts_that_end_at_once_stop_at_the_first_outcome_without_room(make: Any) -> None:
    kit = make.Kit(each=1)
    kit.use(smtp=make.Slow())
    for _ in range(10):
        kit.backlog("a@mx.example")
    kit.tick()
    first = kit.smtp
    first.deliver = (at_once := make.Transport(lambda attempt: make.relayed())).deliver
    first.end()
    # All ten went, in one turn; now the same with a disk that fills up under way.
    assert len(at_once.attempts) == 9
    kit.use(smtp=make.Slow())
    for _ in range(10):
        kit.backlog("a@mx.example")
    kit.tick()
    kit.smtp.deliver = (at_once := make.Transport(lambda attempt: make.relayed())).deliver
    kit.spool.refusing = lambda batch: make.full() if at_once.attempts else None
    kit.smtp.end()
    assert len(at_once.attempts) == 1


def test_a_bad_settlement_after_a_full_disk_does_not_block_for_ever(kit: Any, make: Any) -> None:
    kit.spool.refusing = lambda batch: make.full()
    kit.store("a@mx.example")
    kit.spool.refusing = lambda batch: ValueError("a bad row")
    kit.tick()
    kit.spool.refusing = lambda batch: None
    assert kit.manager.blocked is None
    assert kit.spool.states(kit.store("b@mx.example")) == [State.RELAYED]


def test_a_bad_settlement_takes_no_other_with_it(kit: Any, make: Any) -> None:
    bad, good = kit.backlog("a@mx.example"), kit.backlog("b@mx.example")
    kit.spool.refusing = lambda batch: ValueError("a bad row") if bad in {one.queue_id for one in batch} else None
    kit.tick()
    assert kit.spool.states(good) == [State.RELAYED]
    assert kit.spool.states(bad) == [State.QUEUED]
    kit.tick(3600)
    # It stays in flight in this process, so it is not sent a second time.
    assert [attempt.queue_id for attempt in kit.smtp.attempts].count(bad) == 1
    assert [what for what, _ in kit.log.failures] == ["a settlement could not be stored"]


def test_a_failed_store_ends_all_work(kit: Any) -> None:
    kit.spool.refusing = lambda batch: SpoolFailed("fsync")
    kit.store("a@mx.example")
    assert kit.manager.blocked == "fsync"
    kit.spool.refusing = lambda batch: None
    kit.backlog("b@mx.example")
    kit.tick()
    assert kit.manager.blocked == "fsync"
    assert len(kit.smtp.attempts) == 1
    assert len(kit.spool.asked) == 1


def test_a_transport_that_says_the_store_failed_ends_all_work(kit: Any) -> None:
    def deliver_many(attempts: Any) -> Any:
        raise SpoolFailed("syncfs")

    kit.local.deliver_many = deliver_many
    kit.store("anna@here.example")
    assert kit.manager.blocked == "syncfs"
    assert kit.spool.asked == []
    assert kit.log.names() == []
    assert kit.manager.running == 0


def test_a_spool_that_raises_in_claim_is_asked_again(kit: Any) -> None:
    queue_id = kit.backlog("a@mx.example")
    claim, kit.spool.claim = kit.spool.claim, lambda *args: 1 / 0
    kit.tick()
    assert [type(error) for _, error in kit.log.failures] == [ZeroDivisionError]
    kit.spool.claim = claim
    kit.tick()
    assert kit.spool.states(queue_id) == [State.RELAYED]


def test_a_spool_that_fails_in_claim_ends_all_work(kit: Any) -> None:
    kit.backlog("a@mx.example")

    def claim(*args: Any) -> Any:
        raise SpoolFailed("reading")

    kit.spool.claim = claim
    kit.tick()
    assert kit.manager.blocked == "reading"


# Windows.


def test_a_fresh_one_without_a_place_is_put_off_as_due_now(make: Any) -> None:
    kit = make.Kit(each=1)
    kit.use(smtp=make.Slow())
    first, second = kit.store("a@mx.example"), kit.store("b@mx.example")
    assert [attempt.queue_id for attempt in kit.smtp.attempts] == [first]
    row = kit.spool.rows[second][0]
    assert (row.state, row.due, row.destination) == (State.QUEUED, make.START, "mx.example")
    assert row.progress.attempts == 0
    # Its destination is closed, so it is not claimed in vain.
    kit.tick()
    assert (second, 0) not in kit.spool.flying
    kit.smtp.end()
    assert [attempt.queue_id for attempt in kit.smtp.attempts] == [first, second]
    kit.smtp.end()
    assert kit.spool.states(second) == [State.RELAYED]


def test_claimed_ones_wait_and_go_when_a_place_is_free(make: Any) -> None:
    kit = make.Kit(each=2)
    kit.use(smtp=make.Slow())
    ids = [kit.backlog("a@mx.example") for _ in range(5)]
    other = kit.backlog("b@else.example")
    kit.tick()
    assert len(kit.smtp.attempts) == 3
    assert kit.spool.settlements == []
    while kit.smtp.open:
        kit.smtp.end()
    assert all(kit.settled_once(one) for one in [*ids, other])
    assert kit.manager.running == 0


def test_whoever_waits_because_all_places_are_taken_goes_when_any_is_free(make: Any) -> None:
    kit = make.Kit(total=1)
    kit.use(smtp=make.Slow())
    first, second = kit.backlog("a@one.example"), kit.backlog("b@two.example")
    kit.tick()
    assert len(kit.smtp.attempts) == 1
    kit.smtp.end()
    assert [attempt.queue_id for attempt in kit.smtp.attempts] == [first, second]


def test_while_every_place_is_taken_only_what_needs_none_is_claimed(make: Any) -> None:
    kit = make.Kit(total=1)
    kit.use(smtp=make.Slow())
    kit.local.answer = lambda attempt: transient("over quota")
    kit.store("a@one.example")
    remote, here = kit.store("b@two.example"), kit.store("anna@here.example")
    kit.local.answer = lambda attempt: delivered()
    unknown = kit.backlog("ben@here.example")
    kit.tick(60)
    assert len(kit.smtp.attempts) == 1
    assert (remote, 0) not in kit.spool.flying
    assert kit.spool.states(here) == kit.spool.states(unknown) == [State.DELIVERED]


def test_silent_hosts_leave_room_for_others(make: Any) -> None:
    kit = make.Kit(each=2, total=8)
    kit.use(smtp=make.Slow())
    for number in range(40):
        kit.store(f"a@dead{number % 5}.example")
    kit.tick()
    good = kit.store("b@good.example")
    assert kit.smtp.attempts[-1].queue_id == good


def test_a_local_transport_that_needs_places_is_not_claimed_for_nothing(make: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "WAITING", 0)
    kit = make.Kit(total=1)
    kit.use(smtp=make.Slow(), local=make.Slow())
    kit.store("a@one.example")
    kit.store("anna@here.example")
    claims = len(kit.spool.settlements)
    kit.tick()
    assert len(kit.spool.settlements) == claims


def test_destinations_take_turns(make: Any) -> None:
    kit = make.Kit(total=1)
    kit.use(smtp=make.Slow())
    for name in ("a@one.example", "b@one.example", "c@one.example", "d@two.example"):
        kit.backlog(name)
    kit.tick()
    while kit.smtp.open:
        kit.smtp.end()
    places = [attempt.route.destination for attempt in kit.smtp.attempts]
    assert places.index("two.example") < 3


def test_what_waits_in_memory_is_bounded(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 3)
    kit = make.Kit(each=1)
    kit.use(smtp=make.Slow())
    ids = [kit.backlog("a@mx.example") for _ in range(10)]
    kit.tick()
    assert len(kit.spool.flying) == 4
    while kit.smtp.open:
        kit.smtp.end()
    assert [kit.spool.states(one) for one in ids] == [[State.RELAYED]] * 10
    assert len(kit.smtp.attempts) == 10


def test_a_long_backlog_of_attempts_that_end_at_once_does_not_recurse(make: Any) -> None:
    kit = make.Kit(each=1)
    for _ in range(450):
        kit.backlog("a@mx.example")
    for _ in range(3):
        kit.tick()
    assert len(kit.smtp.attempts) == 450
    assert not kit.spool.flying
    assert kit.log.failures == []


def test_waiting_attempts_that_end_at_once_do_not_recurse(make: Any) -> None:
    kit = make.Kit(each=1)
    kit.use(smtp=make.Slow())
    for _ in range(150):
        kit.backlog("a@mx.example")
    kit.tick()
    slow = kit.smtp
    slow.deliver = make.Transport(lambda attempt: transient("the host is down")).deliver
    slow.end(transient("the host is down"))
    assert not kit.spool.flying
    assert {row.state for rows in kit.spool.rows.values() for row in rows.values()} == {State.DEFERRED}


def test_local_mail_over_the_budget_of_octets_is_put_off(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCAL_BYTES", 10)
    kit = make.Kit()
    batches: list[Any] = []

    def deliver_many(attempts: Any) -> Any:
        done: Deferred[Any] = Deferred()
        batches.append((attempts, done))
        return done

    kit.local.deliver_many = deliver_many
    first, second = kit.store("anna@here.example"), kit.store("ben@here.example")
    kit.tick()
    assert [[one.queue_id for one in attempts] for attempts, _ in batches] == [[first]]
    for attempts, done in batches:
        done.callback({one: dict.fromkeys(one.recipients, delivered()) for one in attempts})
    assert kit.spool.states(first) == kit.spool.states(second) == [State.DELIVERED]


# Reports.


def test_a_report_rides_in_the_settlement_that_owes_it(kit: Any, make: Any) -> None:
    kit.smtp.answer = lambda a: make.refused() if a.envelope.reverse_path.domain else make.relayed()
    queue_id = kit.store("a@mx.example", "b@mx.example")
    (settlement,) = [one for one in kit.spool.settlements if one.queue_id == queue_id]
    assert [change.state for change in settlement.changes] == [State.FAILED] * 2
    (report,) = settlement.stored
    assert report.envelope.reverse_path.is_null
    assert addressed(report) == "sender@else.example"


def test_a_report_that_fails_makes_no_other(kit: Any, make: Any) -> None:
    kit.smtp.answer = lambda attempt: make.refused()
    kit.store("a@mx.example")
    (report,) = kit.spool.reports()
    assert kit.spool.states(report.queue_id) == [State.FAILED]


def test_mail_from_the_null_reverse_path_is_never_reported(kit: Any, make: Any) -> None:
    kit.smtp.answer = lambda attempt: make.refused()
    queue_id = kit.store("a@mx.example", sender="")
    assert kit.spool.states(queue_id) == [State.FAILED]
    assert kit.spool.reports() == []


def test_one_delay_notice_then_a_report_when_it_expires(make: Any) -> None:
    kit = make.Kit(schedule=Schedule((make.HOUR,), 2 * make.DAY, 4 * make.HOUR))
    kit.smtp.answer = lambda a: make.transient("down") if a.envelope.reverse_path.domain else make.relayed()
    queue_id = kit.store("a@mx.example")
    for hour in range(1, 49):
        reports = len(kit.spool.reports())
        assert reports == (hour > 4)
        kit.tick(make.HOUR)
    row = kit.spool.rows[queue_id][0]
    assert row.state is State.EXPIRED
    assert len(kit.spool.reports()) == 2
    texts = [b"".join(report.content.chunks()) for report in kit.spool.reports()]
    assert [re.findall(rb"Action: (\w+)", text) for text in texts] == [[b"delayed"], [b"failed"]]
    kit.tick(make.DAY)
    assert len([a for a in kit.smtp.attempts if a.queue_id == queue_id]) == 49


def test_only_an_attempt_begun_after_the_deadline_expires(make: Any) -> None:
    kit = make.Kit(schedule=Schedule((60,), make.HOUR, 0))
    kit.use(smtp=make.Slow())
    queue_id = kit.store("a@mx.example", sender="")
    kit.clock.advance(2 * make.HOUR)
    kit.smtp.end(transient("down"))
    # Begun in time, ended too late.
    assert kit.spool.states(queue_id) == [State.DEFERRED]
    kit.clock.advance(30 * make.DAY)
    # A machine that slept tries once more.
    kit.manager.tick()
    kit.smtp.end(transient("down"))
    assert kit.spool.states(queue_id) == [State.EXPIRED]


def test_no_room_for_a_report_blocks_and_keeps_the_outcome(kit: Any, make: Any) -> None:
    kit.smtp.answer = lambda a: make.refused() if a.envelope.reverse_path.domain else make.relayed()

    def no_room() -> Any:
        raise SpoolFull("no space left on device")

    kit.spool.make_content, good = no_room, kit.spool.make_content
    queue_id = kit.store("a@mx.example")
    assert kit.manager.blocked
    waiting = kit.backlog("b@mx.example")
    kit.tick()
    assert kit.spool.states(queue_id) == kit.spool.states(waiting) == [State.QUEUED]
    kit.spool.make_content = good
    kit.tick()
    assert kit.manager.blocked is None
    assert kit.spool.states(queue_id) == [State.FAILED]
    assert [attempt.queue_id for attempt in kit.smtp.attempts].count(queue_id) == 1
    assert len([one for one in kit.spool.reports() if addressed(one) == "sender@else.example"]) == 2
    assert kit.settled_once(queue_id)


# The end.


def test_stop_starts_nothing_new_and_waits_for_what_is_under_way(kit: Any, make: Any) -> None:
    kit.use(smtp=make.Slow())
    queue_id = kit.store("a@mx.example")
    stopped = Deferred.fromCoroutine(kit.manager.stop(lambda done: done))
    late = kit.store("b@mx.example")
    backlog = kit.backlog("c@mx.example")
    kit.tick()
    assert not stopped.called
    kit.smtp.end()
    assert stopped.called
    assert kit.spool.states(queue_id) == [State.RELAYED]
    assert kit.spool.states(late) == kit.spool.states(backlog) == [State.QUEUED]
    assert len(kit.smtp.attempts) == 1


def test_stop_waits_for_the_commit_of_the_last_outcome(kit: Any, make: Any) -> None:
    kit.spool.slow = True
    queue_id = kit.store("a@mx.example")
    stopped = Deferred.fromCoroutine(kit.manager.stop(lambda done: done))
    assert not stopped.called
    kit.spool.commit()
    assert stopped.called
    assert kit.spool.states(queue_id) == [State.RELAYED]


def test_stop_cuts_off_after_patience_and_late_outcomes_break_nothing(kit: Any, make: Any) -> None:
    kit.use(smtp=make.Slow())
    first, second = kit.store("a@mx.example"), kit.store("b@mx.example")
    cut: Deferred[None] = Deferred()
    stopped = Deferred.fromCoroutine(kit.manager.stop(lambda done: cut))
    cut.callback(None)
    assert stopped.called
    # The spool still takes one, and is closed when the other comes.
    kit.smtp.end()
    assert kit.spool.states(first) == [State.RELAYED]

    def closed(batch: Any) -> Any:
        raise RuntimeError("the spool is closed")

    kit.spool.refusing = closed
    kit.smtp.end()
    kit.manager.tick()
    assert kit.spool.states(second) == [State.QUEUED]
    assert kit.manager.running == 0
    assert len(kit.smtp.attempts) == 2


def test_those_that_wait_for_a_place_do_not_start_after_stop(make: Any) -> None:
    kit = make.Kit(each=1)
    kit.use(smtp=make.Slow())
    first, second = kit.backlog("a@mx.example"), kit.backlog("b@mx.example")
    kit.tick()
    stopped = Deferred.fromCoroutine(kit.manager.stop(lambda done: done))
    kit.smtp.end()
    assert stopped.called
    assert kit.spool.states(first) == [State.RELAYED]
    assert kit.spool.states(second) == [State.QUEUED]


def test_stop_offers_refused_settlements_once_more_and_names_what_is_left(kit: Any, make: Any) -> None:
    kit.spool.refusing = lambda batch: make.full()
    queue_id = kit.store("a@mx.example")
    asked = len(kit.spool.asked)
    stopped = Deferred.fromCoroutine(kit.manager.stop(lambda done: done))
    assert stopped.called
    assert len(kit.spool.asked) == asked + 1
    assert kit.spool.states(queue_id) == [State.QUEUED]
    assert [fields["settlements"] for name, fields in kit.log.events if name == "queue.unsettled"] == [1]


# Held mail.


def test_release_lets_go_what_only_the_hold_kept(kit: Any) -> None:
    kit.router.rules["mx.example"] = lambda _: Route("smtp", "mx.example", hold=HOLD_REASON)
    ids = [kit.store("a@mx.example", "b@mx.example") for _ in range(250)]
    operators = kit.spool.rows[ids[0]][1]
    operators.progress = type(operators.progress)(0, False, transient("held by an operator"))
    untouched = kit.spool.rows[ids[1]][1]
    untouched.progress = type(untouched.progress)()
    del kit.router.rules["mx.example"]
    released = Deferred.fromCoroutine(kit.manager.release_held())
    assert released.called
    for _ in range(2):
        kit.tick()
    assert kit.spool.states(ids[0]) == kit.spool.states(ids[1]) == [State.RELAYED, State.HELD]
    assert {state for one in ids[2:] for state in kit.spool.states(one)} == {State.RELAYED}
    let_go = [one for one in kit.spool.settlements if not one.claimed]
    assert sum(len(one.changes) for one in let_go) == 498
    assert all(one.changes for one in let_go)


def test_what_is_released_while_the_hold_lasts_is_held_again(kit: Any) -> None:
    kit.router.rules["mx.example"] = lambda _: Route("smtp", "mx.example", hold=HOLD_REASON)
    queue_id = kit.store("a@mx.example")
    Deferred.fromCoroutine(kit.manager.release_held())
    kit.tick()
    row = kit.spool.rows[queue_id][0]
    assert (row.state, row.progress.last.text) == (State.HELD, HOLD_REASON)
    assert kit.smtp.attempts == []


def test_release_survives_a_reader_that_fails(kit: Any) -> None:
    kit.spool.find = lambda query: 1 / 0
    assert Deferred.fromCoroutine(kit.manager.release_held()).called
    assert [what for what, _ in kit.log.failures] == ["held mail could not be released"]


# Any history.


class Random:
    """Outcomes, disk troubles and times as hypothesis draws them."""

    def __init__(self, data: st.DataObject, make: Any) -> None:
        self.data = data
        self.outcomes = (make.relayed, make.refused, lambda: transient("later"), lambda: None)

    def answer(self, attempt: Any) -> Any:
        drawn = {one: self.data.draw(st.sampled_from(self.outcomes))() for one in attempt.recipients}
        if self.data.draw(st.booleans()):
            return RuntimeError("a bug")
        return {one: outcome for one, outcome in drawn.items() if outcome is not None}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_history_ends_with_every_recipient_final_and_each_attempt_counted_once(
    data: st.DataObject, make: Any
) -> None:
    # The fixture only names classes: nothing of it is shared between examples.
    kit = make.Kit(each=data.draw(st.integers(1, 3)), schedule=Schedule((60, 300), 3600, 600))
    chance = Random(data, make)
    kit.smtp.answer = chance.answer
    names = st.lists(st.sampled_from(("a@one.example", "b@one.example", "c@two.example", "anna@here.example")))
    ids = []
    for _ in range(data.draw(st.integers(1, 6))):
        full = data.draw(st.booleans())
        kit.spool.refusing = (lambda batch: make.full()) if full else (lambda batch: None)
        ids.append(kit.store(*(data.draw(names) or ["a@one.example"])))
        kit.tick(data.draw(st.sampled_from((1, 30, 400))))
    kit.spool.refusing = lambda batch: None
    kit.smtp.answer = lambda attempt: transient("later")
    for _ in range(20):
        kit.tick(600)
    assert not kit.spool.flying
    assert kit.manager.blocked is None
    assert all(state.final for one in ids for state in kit.spool.states(one))
    for one in ids:
        for row in kit.spool.rows[one].values():
            done = [a for a in (*kit.smtp.attempts, *kit.local.attempts) if a.queue_id == one]
            tried = sum(row.recipient.number in {r.number for r in a.recipients} for a in done)
            # An attempt is counted by its settlement, and only by it.
            assert tried == row.progress.attempts


# Stopped, and started again on the same spool.


def test_a_restart_goes_on_with_everything_that_came_in_between(make: Any) -> None:
    kit = make.Kit(each=1)
    kit.use(smtp=make.Slow())
    waiting: Deferred[Any] = Deferred()
    kit.router.rules["slow.example"] = lambda _: waiting
    routed = kit.store("a@slow.example")
    under_way, place = kit.backlog("b@mx.example"), kit.backlog("c@mx.example")
    kit.tick()
    stopped = Deferred.fromCoroutine(kit.manager.stop(lambda done: done))
    late, backlog = kit.store("d@late.example"), kit.backlog("e@back.example")
    waiting.callback(Route("smtp", "slow.example"))
    kit.smtp.end()
    assert stopped.called
    kit.tick()
    assert len(kit.smtp.attempts) == 1
    kit.router.rules.clear()
    kit.manager.start()
    while kit.smtp.open:
        kit.smtp.end()
    for queue_id in (routed, under_way, place, late, backlog):
        assert kit.spool.states(queue_id) == [State.RELAYED]
        assert kit.settled_once(queue_id)


def test_due_now_by_a_later_reading_of_the_clock_is_due(kit: Any, monkeypatch: Any) -> None:
    """The spool says "now" with its own reading of the clock, later than one taken before."""
    queue_id = kit.backlog("anna@here.example")

    def now_by_its_own_clock() -> float | None:
        if queue_id not in kit.spool.rows or (queue_id, 0) in kit.spool.flying:
            return None
        kit.clock.advance(0.001)
        return kit.clock.wall()

    monkeypatch.setattr(kit.spool, "next_due", now_by_its_own_clock)
    kit.manager.kick()
    assert [attempt.queue_id for attempt in kit.local.attempts] == [queue_id]
