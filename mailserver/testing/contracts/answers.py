"""What a hook answers, plain or awaitable, for tests that run no reactor."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


def answer_of(value: Any) -> Any:
    """The plain value, or what the awaitable comes to without waiting; raises what it raises.

    What has to wait for the world outside needs a reactor: override ``wait`` of the contract then.
    """
    if not hasattr(type(value), "__await__"):
        return value
    results: list[Any] = []
    awaited = value if isinstance(value, Deferred) else Deferred.fromCoroutine(_awaited(value))
    awaited.addBoth(results.append)
    assert results, "it waits for something outside: override wait() of the contract to run what it waits for"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


async def _awaited(value: Any) -> Any:
    return await value


class Waiting:
    """What every contract has: :meth:`wait`."""

    def wait(self, value: Any) -> Any:
        """The plain value of a hook's answer; override it where the answer needs a reactor."""
        return answer_of(value)
