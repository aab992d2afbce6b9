"""Thread pools: work goes elsewhere, answers come back, and one kind's flood delays no other."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

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
