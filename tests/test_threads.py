"""Thread pools: work goes elsewhere, answers come back, and one kind's flood delays no other."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from mailserver import threads
from mailserver.interfaces import PoolFull
from mailserver.threads import _SIZES, _WAITING, Pools, inline


class PoolsTest(TestCase):
    def setUp(self) -> None:
        self.pools = Pools(reactor)
        self.addCleanup(self.pools.stop)

    async def test_work_is_done_elsewhere_and_answered_here(self) -> None:
        for kind in ("disk", "password", "plugin"):
            name = await self.pools(kind, lambda: threading.current_thread().name)
            assert kind in name

    async def test_what_is_raised_comes_back(self) -> None:
        with pytest.raises(ZeroDivisionError):
            await self.pools("disk", lambda a, b: a / b, 1, 0)
        assert await self.pools("disk", lambda a, b: a / b, 4, 2) == 2

    async def test_an_unknown_kind_is_a_bug(self) -> None:
        with pytest.raises(KeyError):
            self.pools("netwrok", int)

    async def test_a_full_password_pool_says_so_at_once_and_delays_no_disk(self) -> None:
        gate = threading.Event()
        self.addCleanup(gate.set)
        waiting = [self.pools("password", gate.wait) for _ in range(_WAITING["password"])]
        with pytest.raises(PoolFull):
            self.pools("password", gate.wait)
        assert await self.pools("disk", int, "7") == 7
        gate.set()
        await gatherResults(waiting)
        assert await self.pools("password", int, "8") == 8

    async def test_calls_that_are_cancelled_keep_their_place_and_are_not_begun(self) -> None:
        gate, begun = threading.Event(), []
        self.addCleanup(gate.set)
        running = [self.pools("password", gate.wait) for _ in range(_SIZES["password"])]
        waiting = [
            self.pools("password", begun.append, number) for number in range(_WAITING["password"] - len(running))
        ]
        for call in waiting:
            call.cancel()
        for call in waiting:
            with pytest.raises(CancelledError):
                await call
        with pytest.raises(PoolFull):
            self.pools("password", int)
        gate.set()
        await gatherResults(running)
        assert await self.pools("disk", int, "7") == 7
        while self.pools._pending["password"]:
            await deferLater(reactor, 0.001)
        assert await self.pools("password", int, "8") == 8
        assert begun == []

    async def test_a_call_that_is_cancelled_while_it_runs_is_waited_for_by_nobody(self) -> None:
        gate, running = threading.Event(), threading.Event()
        self.addCleanup(gate.set)
        call = self.pools("disk", lambda: running.set() or gate.wait() or 1 / 0)
        await self.pools("plugin", running.wait)
        call.cancel()
        with pytest.raises(CancelledError):
            await call
        assert self.pools._pending["disk"] == 1

    async def test_stop_does_not_wait_for_ever(self) -> None:
        gate = threading.Event()
        self.addCleanup(gate.set)
        self.patch(threads, "_STOPPING", 0.01)
        stuck = self.pools("disk", gate.wait)
        self.pools.stop()
        assert not stuck.called
        gate.set()
        assert await stuck

    async def test_no_more_threads_than_the_pool_has(self) -> None:
        waiting = [self.pools("password", threading.current_thread) for _ in range(20)]
        threads = {thread.ident for thread in await gatherResults(waiting)}
        assert len(threads) <= _SIZES["password"]

    async def test_after_stop_nothing_starts(self) -> None:
        await self.pools("disk", int)
        self.pools.stop()
        for kind in ("disk", "plugin"):
            with pytest.raises(PoolFull):
                self.pools(kind, int)


def test_inline_calls_at_once() -> None:
    called: list[Any] = []
    done = inline("disk", called.append, 1)
    assert called == [1]
    assert done.result is None


def test_inline_answers_what_is_raised() -> None:
    done = inline("disk", int, "x")
    failures: list[Any] = []
    done.addErrback(failures.append)
    assert failures[0].check(ValueError)
    with pytest.raises(ValueError, match="invalid literal"):
        failures[0].raiseException()
