"""Bounded thread pools, one per kind of work, so that a flood of one kind delays no other.

``pools("disk", f, *args)`` answers a Deferred. Kinds: ``disk``, ``password``, ``plugin``. The queue of the
password pool is bounded too: over it :class:`PoolFull` is raised at once (the server answers 454 4.7.0).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from mailserver.interfaces import PoolFull

# Two password threads: bcrypt releases the GIL, and a small machine has two cores.
_SIZES = {"disk": 4, "password": 2, "plugin": 4}
_WAITING = {"password": 200}


class Pools:
    """The three pools of a server. Threads start with the first use and end at :meth:`stop`."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pools: dict[str, ThreadPool] = {}
        self._pending = dict.fromkeys(_SIZES, 0)
        self._stopped = False

    def __call__(self, kind: str, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Run `function` on the pool of `kind`; raises PoolFull when too many wait there already."""
        if self._pending[kind] >= _WAITING.get(kind, 1_000_000):
            raise PoolFull(f"the {kind} pool has {self._pending[kind]} calls waiting")
        pool = self._pool(kind)
        self._pending[kind] += 1
        done = deferToThreadPool(self._reactor, pool, function, *args)
        return done.addBoth(self._release, kind)

    def _pool(self, kind: str) -> ThreadPool:
        pool = self._pools.get(kind)
        if pool is None:
            if self._stopped:
                raise PoolFull("the server has stopped")
            pool = self._pools[kind] = ThreadPool(0, _SIZES[kind], name=f"mailserver-{kind}")
            # A process whose start failed must be able to end; an orderly stop joins them.
            pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
            pool.start()
        return pool

    def _release(self, result: Any, kind: str) -> Any:
        self._pending[kind] -= 1
        return result

    def stop(self) -> None:
        """Let running calls end and join the threads. Blocks as long as the longest of them."""
        self._stopped = True
        for pool in self._pools.values():
            pool.stop()
        self._pools.clear()


def inline(kind: str, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    """The same signature without threads: calls at once. For tests."""
    done: Deferred[Any] = Deferred()
    try:
        done.callback(function(*args))
    except Exception:
        done.errback()
    return done
