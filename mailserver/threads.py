"""Bounded thread pools, one per kind of work, so that a flood of one kind delays no other.

``pools("disk", f, *args)`` answers a Deferred. Kinds: ``disk``, ``password``, ``plugin``. The queue of the
password pool is bounded too: over it :class:`PoolFull` is raised at once (the server answers 454 4.7.0).

To cancel the Deferred is to stop waiting: it fails at once with CancelledError, work that has not begun is
dropped, and work that has begun runs to its end, unheard. Either way it keeps its place in the bound until a
thread is done with it: who asks and leaves, over and over, has no more work done than who waits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Thread
from time import monotonic
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from mailserver.interfaces import PoolFull

# Two password threads: bcrypt releases the GIL, and a small machine has two cores.
_SIZES = {"disk": 4, "password": 2, "plugin": 4}
_WAITING = {"password": 200}
# Seconds in which `stop` lets running calls end. A thread that hangs in a dead disk must not keep the process.
_STOPPING = 5.0


class _Call:
    """One call. ``done`` is the caller's; the worker's end of it is :meth:`run`, then :meth:`ended`."""

    __slots__ = ("_args", "_dropped", "_function", "_over", "done")

    def __init__(self, over: Callable[[_Call, bool, Any], None], function: Callable[..., Any], args: Any) -> None:
        self._over = over
        self._function = function
        self._args = args
        self._dropped = False
        self.done: Deferred[Any] = Deferred(self._cancel)

    def _cancel(self, done: Deferred[Any]) -> None:
        self._dropped = True
        done.errback(CancelledError())

    def run(self) -> Any:
        """In a thread."""
        return None if self._dropped else self._function(*self._args)

    def ended(self, success: bool, result: Any) -> None:
        """In the same thread, when there is nothing left to do."""
        self._over(self, success, result)

    def answer(self, success: bool, result: Any) -> None:
        """On the reactor's thread, if anybody still waits."""
        if self._dropped:
            return
        if success:
            self.done.callback(result)
        else:
            self.done.errback(result)


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
        call = _Call(partial(self._reactor.callFromThread, self._over, kind), function, args)
        pool.callInThreadWithCallback(call.ended, call.run)
        return call.done

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

    def _over(self, kind: str, call: _Call, success: bool, result: Any) -> None:
        self._pending[kind] -= 1
        call.answer(success, result)

    def stop(self) -> None:
        """Let running calls end and join the threads. Blocks as long as the longest of them, but no more than a
        few seconds: a thread that is not done then ends with the process."""
        self._stopped = True
        pools, self._pools = list(self._pools.values()), {}
        stopping = [Thread(target=pool.stop, daemon=True) for pool in pools]
        for thread in stopping:
            thread.start()
        end = monotonic() + _STOPPING
        for thread in stopping:
            thread.join(max(0.0, end - monotonic()))


def of_reactor(reactor: Any) -> Callable[..., Deferred[Any]]:
    """The same signature over the reactor's own pool, for a program that has no server of ours."""

    def run(kind: str, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), function, *args)

    return run


def inline(kind: str, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    """The same signature without threads: calls at once. For tests."""
    done: Deferred[Any] = Deferred()
    try:
        done.callback(function(*args))
    except Exception:
        done.errback()
    return done
