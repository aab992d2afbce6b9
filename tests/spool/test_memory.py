"""The spool in memory: what the contract of spools (tests/contract/test_spools.py) does not say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from twisted.internet.task import Clock

from mailserver.interfaces import SpoolFull
from mailserver.message import Change, State
from mailserver.spool import memory
from mailserver.spool.contract import SpoolOptions
from mailserver.spool.memory import MemorySpool
from tests.spool.conftest import Harness
from tests.spool.test_model import Model, carry_out, compare, steps


class MemoryHarness(Harness):
    """Its restart is one of the same object."""

    def make(self, world: Any) -> Any:
        return getattr(self, "spool", None) or MemorySpool(world, self.options, beat=0)


@pytest.fixture
def at() -> MemoryHarness:
    made = MemoryHarness(Path("/nonexistent"))
    made.open(memory_budget=1000)
    return made


def test_contents_have_a_bound_and_settlements_have_none(at: MemoryHarness) -> None:
    first = at.store(octets=b"x" * 600)
    with pytest.raises(SpoolFull, match="used up"):
        at.store(octets=b"x" * 600)
    report = at.message(octets=b"x" * 600)
    assert at.settle(first, Change(0, State.DEFERRED, due=at.clock.now), stored=[report]) == [report.queue_id]
    (claim,) = at.claim()
    at.settle(claim.queue_id, Change(0, State.DELIVERED))
    at.settle(report.queue_id, Change(0, State.DELIVERED))
    at.store(octets=b"x" * 600)


def test_a_content_that_was_refused_belongs_to_its_writer_again(at: MemoryHarness) -> None:
    at.spool.full = "no room"
    prepared = at.message()
    with pytest.raises(SpoolFull, match="no room"):
        at.wait(at.spool.store(prepared))
    assert at.spool.healthy == "no room"
    prepared.content.discard()
    assert b"".join(prepared.content.chunks()) == b""
    at.spool.full = None
    assert at.spool.healthy is None
    at.store()


def test_where_recipients_stood_at_the_end(at: MemoryHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "REMEMBERED", 1)
    ids = [at.store(2), at.store(1)]
    assert [one.state for one in at.spool.recipients(ids[0])] == [State.ACTIVE] * 2
    at.settle(ids[0], Change(0, State.DELIVERED), Change(1, State.FAILED))
    assert [one.state for one in at.spool.recipients(ids[0])] == [State.DELIVERED, State.FAILED]
    at.settle(ids[1], Change(0, State.DELIVERED))
    assert [one.state for one in at.spool.recipients(ids[1])] == [State.DELIVERED]
    with pytest.raises(KeyError):
        at.spool.recipients(ids[0])


def test_fates_are_kept_for_a_time(at: MemoryHarness) -> None:
    fates = at.spool.fates

    def settled(key: str) -> str:
        prepared = replace(at.message(), fates=True, key=key)
        at.wait(at.spool.store(prepared))
        at.settle(prepared.queue_id, Change(0, State.DELIVERED))
        return prepared.queue_id

    first = settled("1")
    at.wait(fates.seen("billing", 0))
    at.clock.now += at.options.fates_kept + 1
    second = settled("2")
    assert fates.find(first) is not None  # billing has not seen it
    at.wait(fates.seen("billing", 1))
    settled("3")
    assert (fates.find(first), fates.sent("1")) == (None, None)
    at.clock.now += 2 * at.options.fates_kept + 1
    settled("4")
    assert fates.find(second) is None  # nobody waits for that long


def test_ticks_by_its_reactor() -> None:
    reactor, ticks = Clock(), [0]
    world = Harness(Path("/nonexistent")).world()
    spool = MemorySpool(replace(world, reactor=reactor), SpoolOptions(), beat=2)
    spool.ticks(lambda: ticks.append(1))
    spool.start()
    reactor.pump([1, 1, 1, 1])
    assert sum(ticks) == 2
    spool.stop()
    assert reactor.getDelayedCalls() == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_it_agrees_with_the_model_of_the_durable_one(some: list[tuple[Any, ...]]) -> None:
    at, model = MemoryHarness(Path("/nonexistent")), Model()
    at.open()
    for step in some:
        carry_out(at, model, step)
        compare(at, model)
    at.reopen()
    model.flying.clear()
    compare(at, model)
    assert len(at.claim(1000)) == len(model.due())
