"""Sessions that are kept for the next message to the same host.

A session is kept under everything that made it: address, port, host name, TLS policy, login. Only that, so a
message whose policy demands verified TLS can never ride on a session that was opened without.

Bounds: each session carries at most ``reuse`` messages, waits :data:`IDLE` seconds for the next, and at most
``limit`` wait at all. What is over a bound is closed with QUIT. After :meth:`~SessionPool.stop` none is kept.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from mailserver.net.client import ClientSession

# Long enough to bridge two batches of a busy queue, short enough to hold nobody's slot for nothing.
IDLE = 3


class SessionPool:
    """`reuse`: messages per session; `limit`: sessions waiting in all."""

    def __init__(self, reactor: Any, reuse: int, limit: int) -> None:
        self._reactor = reactor
        self._reuse = reuse
        self._limit = limit
        self._idle: dict[Hashable, list[tuple[ClientSession, Any]]] = {}
        self._leaving: set[Deferred[None]] = set()
        self._count = 0
        self._stopped = False

    def take(self, key: Hashable) -> ClientSession | None:
        """A usable session made under `key`, or None. The newest: it is the least likely to be gone."""
        waiting = self._idle.get(key)
        while waiting:
            session, timer = self._pop(key, waiting)
            timer.cancel()
            if session.usable:
                return session
        return None

    def give(self, key: Hashable, session: ClientSession) -> None:
        """Keep `session` for the next message, or end it: after an error, or where a bound is reached."""
        if not session.usable or self._stopped or session.sent >= self._reuse or self._count >= self._limit:
            self._end(session)
            return
        timer = self._reactor.callLater(IDLE, self._expire, key, session)
        self._idle.setdefault(key, []).append((session, timer))
        self._count += 1

    def stop(self) -> Deferred[None]:
        """End the waiting sessions; fires when they are gone. Those in use end when they are given back."""
        self._stopped = True
        for waiting in self._idle.values():
            for session, timer in waiting:
                timer.cancel()
                self._end(session)
        self._idle.clear()
        self._count = 0
        done: Deferred[None] = DeferredList(list(self._leaving)).addCallback(lambda _: None)
        return done

    def _end(self, session: ClientSession) -> None:
        gone = session.quit()
        self._leaving.add(gone)
        gone.addBoth(lambda _: self._leaving.discard(gone))

    def _pop(self, key: Hashable, waiting: list[tuple[ClientSession, Any]]) -> tuple[ClientSession, Any]:
        self._count -= 1
        entry = waiting.pop()
        if not waiting:
            del self._idle[key]
        return entry

    def _expire(self, key: Hashable, session: ClientSession) -> None:
        kept = [entry for entry in self._idle[key] if entry[0] is not session]
        if kept:
            self._idle[key] = kept
        else:
            del self._idle[key]
        self._count -= 1
        self._end(session)
