"""Sessions that are kept for the next message to the same host, and a message sent over one of them or a new one.

A session is kept under everything that made it: address, port, host name, TLS policy, login. Only that, so a
message whose policy demands verified TLS can never ride on a session that was opened without.

Bounds: each session carries at most ``reuse`` messages, waits :data:`IDLE` seconds for the next, and at most
``limit`` wait at all. What is over a bound is closed with QUIT. After :meth:`~SessionPool.stop` none is kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from mailserver.message.envelope import Recipient
from mailserver.message.outcome import Klass, Outcome
from mailserver.message.route import Attempt
from mailserver.net.client import ClientSession
from mailserver.transport.portions import Portions

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

    async def send(
        self, key: Hashable, attempt: Attempt, connect: Callable[[], Awaitable[ClientSession | Outcome]]
    ) -> Mapping[Recipient, Outcome]:
        """Send over a session kept under `key`, or over a new one from `connect`; keep it for the next.

        More recipients than a transaction takes are sent in portions, one after the other."""
        portions = Portions(attempt.recipients)
        while portion := portions.next:
            part = attempt if portion == attempt.recipients else replace(attempt, recipients=portion)
            portions.told(await self._send(key, part, connect))
        return portions.outcomes

    async def _send(
        self, key: Hashable, attempt: Attempt, connect: Callable[[], Awaitable[ClientSession | Outcome]]
    ) -> Mapping[Recipient, Outcome]:
        """Send to the recipients of `attempt`, or to the first of them, if that is all that the host takes."""
        kept = self.take(key)
        if kept is not None:
            outcomes = await self._over(kept, key, attempt)
            # The peer may have closed a session that waited: that says nothing about the host.
            if not all(map(_lost, outcomes.values())):
                return outcomes
        session = await connect()
        if isinstance(session, Outcome):
            return dict.fromkeys(attempt.recipients, session)
        return await self._over(session, key, attempt)

    async def _over(self, session: ClientSession, key: Hashable, attempt: Attempt) -> Mapping[Recipient, Outcome]:
        room = session.room(attempt.recipients)
        if not room:
            self._end(session)
            return {}
        if room < len(attempt.recipients):
            attempt = replace(attempt, recipients=attempt.recipients[:room])
        try:
            return await session.send(attempt)
        finally:
            self.give(key, session)

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


def _lost(outcome: Outcome) -> bool:
    return outcome.about_host and outcome.klass is Klass.TRANSIENT
