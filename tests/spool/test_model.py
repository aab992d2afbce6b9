"""Packed and unpacked agree: random settlements on the spool and on a model that knows of neither."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mailserver.message import Change, Settlement, State
from mailserver.spool.contract import Query
from tests.spool.conftest import Harness

FINALS = [State.DELIVERED, State.RELAYED, State.FAILED, State.EXPIRED]
WAITING = (State.QUEUED, State.DEFERRED)
HOLDER = [State.DEFERRED, State.QUEUED, State.HELD, *FINALS]
OPERATOR = [State.QUEUED, State.HELD, State.REMOVED]
MOST = 3

numbers = st.integers(0, MOST - 1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.integers(1, MOST)),
        st.tuples(st.just("claim"), st.integers(1, 3)),
        st.tuples(st.just("settle"), st.integers(0, 5), st.dictionaries(numbers, st.sampled_from(HOLDER))),
        st.tuples(st.just("operate"), st.integers(0, 5), st.dictionaries(numbers, st.sampled_from(OPERATOR))),
        st.tuples(st.just("reopen"), st.just(0)),
    ),
    max_size=25,
)


class Model:
    """States by message and number, and what is in flight: DESIGN.md's words, nothing else."""

    def __init__(self) -> None:
        self.states: dict[str, dict[int, State]] = {}
        self.flying: dict[str, set[int]] = {}
        self.ids: list[str] = []

    def store(self, queue_id: str, total: int) -> None:
        self.ids.append(queue_id)
        self.states[queue_id] = dict.fromkeys(range(total), State.QUEUED)
        self.flying[queue_id] = set(range(total))

    def due(self) -> dict[str, set[int]]:
        found = {
            queue_id: {n for n, state in states.items() if state in WAITING} - self.flying.get(queue_id, set())
            for queue_id, states in self.states.items()
        }
        return {queue_id: some for queue_id, some in found.items() if some}

    def settle(self, queue_id: str, changes: dict[int, State]) -> None:
        states = self.states.get(queue_id, {})
        for number, wanted in changes.items():
            state = states.get(number)
            if state is not None and not state.final:
                stays_held = state is State.HELD and wanted in WAITING
                states[number] = State.HELD if stays_held else wanted
        self.flying[queue_id] -= changes.keys()
        self.forget(queue_id)

    def operate(self, queue_id: str, changes: dict[int, State]) -> None:
        states = self.states[queue_id]
        for number, wanted in changes.items():
            if not states[number].final:
                retried_in_flight = number in self.flying.get(queue_id, ()) and wanted is State.QUEUED
                if not (retried_in_flight and states[number] in WAITING):
                    states[number] = wanted
        self.forget(queue_id)

    def forget(self, queue_id: str) -> None:
        if all(state.final for state in self.states.get(queue_id, {}).values()):
            self.states.pop(queue_id, None)

    def shown(self) -> dict[str, dict[int, State]]:
        return {
            queue_id: {
                n: State.ACTIVE if n in self.flying.get(queue_id, ()) and not state.final else state
                for n, state in states.items()
            }
            for queue_id, states in self.states.items()
        }


def carry_out(harness: Harness, model: Model, step: tuple[Any, ...]) -> None:
    if step[0] == "store":
        model.store(harness.store(step[1], b"x" * 1500 * (step[1] % 2)), step[1])
    elif step[0] == "claim":
        due = model.due()
        claims = harness.claim(step[1])
        assert len(claims) == min(step[1], len(due))
        for claim in claims:
            found = {one.number for one in claim.recipients}
            assert found == due[claim.queue_id]
            model.flying.setdefault(claim.queue_id, set()).update(found)
    elif step[0] == "reopen":
        harness.reopen()
        model.flying.clear()
    elif model.ids:
        change(harness, model, model.ids[step[1] % len(model.ids)], step)


def change(harness: Harness, model: Model, queue_id: str, step: tuple[Any, ...]) -> None:
    claimed = step[0] == "settle"
    allowed = model.flying.get(queue_id, set()) if claimed else model.states.get(queue_id, {}).keys()
    changes = {number: state for number, state in step[2].items() if number in allowed}
    if not changes:
        return
    now = harness.clock.now
    items = tuple(Change(number, state, due=now) for number, state in changes.items())
    harness.wait(harness.spool.settle([Settlement(queue_id, items, (), claimed)]))
    if claimed:
        model.settle(queue_id, changes)
    else:
        model.operate(queue_id, changes)


def compare(harness: Harness, model: Model) -> None:
    page = harness.spool.find(Query(limit=1000))
    shown = {one.queue_id: {r.recipient.number: r.state for r in one.recipients} for one in page.messages}
    assert shown == model.shown()
    counts: dict[str, int] = {"messages": len(model.states)}
    for states in model.states.values():
        for state in states.values():
            counts[state.value] = counts.get(state.value, 0) + 1
    active = sum(map(len, model.flying.values()))
    assert harness.spool.counts() == {**counts, "active": active}
    due = harness.spool.next_due()
    assert (due is not None and due <= harness.clock.now) >= bool(model.due())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
@example([("store", 1), ("store", 1), ("reopen", 0), ("operate", 0, {0: State.HELD}), ("claim", 1)])
def test_the_spool_agrees_with_the_model(some: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        harness = Harness(Path(directory) / "spool")
        harness.open(content_cap=1000)
        model = Model()
        for step in some:
            carry_out(harness, model, step)
            compare(harness, model)
        harness.reopen()
        model.flying.clear()
        compare(harness, model)
        assert len(harness.claim(1000)) == len(model.due())
        for queue_id, states in list(model.states.items()):
            rest = tuple(Change(number, State.DELIVERED) for number in states)
            harness.wait(harness.spool.settle([Settlement(queue_id, rest)]))
        assert harness.spool.counts() == {"messages": 0, "active": 0}
        assert harness.spool._budget.left == harness.options.memory_budget
        assert harness.files() == set()
        assert harness.fatal == []
        harness.close()
