"""Settlements that the spool takes, refuses for now, refuses for good, or cannot take any more."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from mailserver.interfaces import SpoolFailed
from mailserver.message.claim import Change, Settlement
from mailserver.message.state import State
from mailserver.queue.settling import Settling


class Spool:
    """Answers settle() with what ``answers`` has next, and with success after that."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.batches: list[list[str]] = []

    def settle(self, settlements: Any) -> Any:
        self.batches.append([one.queue_id for one in settlements])
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Deferred):
            return answer
        return self._later(answer)

    async def _later(self, answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return []


class Raising(Spool):
    """Does not even answer an awaitable."""

    def settle(self, settlements: Any) -> Any:
        self.batches.append([one.queue_id for one in settlements])
        if self.answers:
            raise self.answers.pop(0)
        return self._later(None)


def one(name: str) -> Settlement:
    return Settlement(name, (Change(0, State.RELAYED),))


def settling(spool: Any, log: Any) -> tuple[Settling, list[None]]:
    freed: list[None] = []
    return Settling(spool, log, lambda: freed.append(None)), freed


@pytest.fixture
def log(make: Any) -> Any:
    return make.FakeLog()


def test_what_is_owed_in_one_turn_is_one_call(log: Any) -> None:
    spool = Spool()
    settle, freed = settling(spool, log)
    settle.flush()
    settle.owe(one("a"))
    settle.owe(one("b"))
    settle.flush()
    settle.flush()
    assert spool.batches == [["a", "b"]]
    assert len(freed) == 1


@pytest.mark.parametrize("kind", [Spool, Raising])
def test_no_room_is_tried_again_with_each_tick(kind: Any, log: Any, make: Any) -> None:
    spool = kind(make.full(), make.full())
    settle, freed = settling(spool, log)
    settle.owe(one("a"))
    settle.flush()
    assert settle.blocked == "no space left on device"
    settle.owe(one("b"))
    settle.flush()
    assert settle.unsettled == 2
    settle.tick()
    assert settle.blocked
    assert freed == []
    settle.tick()
    assert spool.batches == [["a"], ["a", "b"], ["a", "b"]]
    assert settle.blocked is None
    assert settle.unsettled == 0
    assert log.names() == ["queue.blocked", "queue.unblocked"]


def test_a_success_does_not_unblock_while_another_batch_is_refused(log: Any, make: Any) -> None:
    first: Deferred[Any] = Deferred()
    second: Deferred[Any] = Deferred()
    settle, _ = settling(Spool(first, second), log)
    for name in "ab":
        settle.owe(one(name))
        settle.flush()
    first.errback(make.full())
    settle.tick()  # one is still under way
    second.callback([])
    assert settle.blocked
    settle.tick()
    assert settle.blocked is None


def test_a_refusal_without_words_blocks_too(log: Any, make: Any) -> None:
    settle, _ = settling(Spool(type(make.full())(), SpoolFailed()), log)
    settle.owe(one("a"))
    settle.flush()
    assert settle.blocked == "the spool is full"
    settle.tick()
    assert settle.blocked == "the spool has failed"


@pytest.mark.parametrize("kind", [Spool, Raising])
def test_a_failed_store_is_never_asked_again(kind: Any, log: Any) -> None:
    spool = kind(SpoolFailed("fsync"))
    settle, freed = settling(spool, log)
    settle.owe(one("a"))
    settle.flush()
    settle.owe(one("b"))
    settle.flush()
    settle.tick()
    assert spool.batches == [["a"]]
    assert settle.blocked == "fsync"
    assert settle.failed
    assert freed == []


def test_one_bad_settlement_takes_no_other_with_it(log: Any) -> None:
    bad = ValueError("a bad row")
    spool = Spool(bad, None, bad, None)
    settle, _ = settling(spool, log)
    for name in "abc":
        settle.owe(one(name))
    settle.flush()
    assert spool.batches == [["a", "b", "c"], ["a"], ["b"], ["c"]]
    assert log.failures == [("a settlement could not be stored", bad)]
    assert settle.blocked is None


def test_a_bad_one_among_the_refused_does_not_block_for_ever(log: Any, make: Any) -> None:
    settle, _ = settling(Spool(make.full(), ValueError("a bad row")), log)
    settle.owe(one("a"))
    settle.flush()
    settle.tick()
    assert settle.blocked is None


def test_drained_waits_for_every_commit_under_way(log: Any, make: Any) -> None:
    first: Deferred[Any] = Deferred()
    second: Deferred[Any] = Deferred()
    settle, _ = settling(Spool(first, second), log)
    assert settle.drained().called
    for name in "ab":
        settle.owe(one(name))
        settle.flush()
    done = settle.drained()
    first.callback([])
    assert not done.called
    second.errback(make.full())
    assert done.called


def test_drained_waits_for_the_parts_of_a_bad_batch(log: Any) -> None:
    first: Deferred[Any] = Deferred()
    parts: list[Deferred[Any]] = [Deferred(), Deferred()]
    settle, _ = settling(Spool(first, *parts), log)
    settle.owe(one("a"))
    settle.owe(one("b"))
    settle.flush()
    done = settle.drained()
    first.errback(ValueError("a bad row"))
    assert not done.called
    for part in parts:
        part.callback([])
    assert done.called
