"""One subscriber of settled messages: its handler is called at least once for each, in order, over restarts.

The cursor, the number up to which the handler has succeeded, stands in the store under the subscriber's name
and is moved after the call, never before:

    ====================================  ==============================================
    a crash                               the next process
    ====================================  ==============================================
    before the handler is called          calls it
    within the handler, or after it,      calls it again with the same message, and with
    before the cursor's commit            those that were handled during that commit
    after the cursor's commit             goes on with the next
    ====================================  ==============================================

The commit is not waited for before the next call, but at the end of each page. A handler that raises is called
again with the same message, after a back-off and a log event; nobody else waits for that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from mailserver.interfaces import IFates, MailServerError, SpoolFailed
from mailserver.message.fate import Settled

Handler = Callable[[Settled], Awaitable[object] | None]
PAGE = 50
# Seconds between the calls for one message; doubled from the first to the last, which repeats.
FIRST, LONGEST = 1.0, 300.0
# Seconds after which a cursor is written again that the spool had no room for.
AGAIN = 5.0


class Follower:
    """``reactor`` has ``callLater``; ``log`` has ``failure``."""

    def __init__(self, name: str, handler: Handler, reactor: Any, log: Any) -> None:
        self._name = name
        self._handler = handler
        self._reactor = reactor
        self._log = log
        self._fates: IFates
        self._handled = self._saved = 0
        self._saving: Deferred[None] | None = None
        self._idle: Deferred[None] | None = None
        self._resting: Deferred[None] | None = None
        self._stopping = False
        self._ended: Deferred[None] | None = None

    def start(self, fates: IFates) -> None:
        """Go on where the store says. `fates` can be read from now on."""
        self._fates = fates
        self._stopping = False
        self._ended = Deferred.fromCoroutine(self._follow())

    def wake(self) -> None:
        """There may be more."""
        _fire(self._idle)

    def stop(self) -> Deferred[None]:
        """Start no further call. Fires when the one under way has ended, and its cursor is stored."""
        self._stopping = True
        _fire(self._idle)
        _fire(self._resting)
        ended, self._ended = self._ended, None
        return ended or succeed(None)

    async def _follow(self) -> None:
        try:
            # From the beginning the store knows the name: what it has not seen is kept for longer.
            await self._fates.seen(self._name, 0)
        except MailServerError as error:
            self._log.failure(f"the handler {self._name} is not known to the store yet", error)
        try:
            while not self._stopping:
                await self._page()
        except SpoolFailed:
            return  # a fresh process goes on
        except Exception as error:
            self._log.failure(f"the handler {self._name} gets nothing any more", error)

    async def _page(self) -> None:
        page = self._fates.unseen(self._name, PAGE)
        if not page:
            self._idle = Deferred()
            await self._idle
            return
        for settled in page:
            if self._stopping or not await self._told(settled):
                break
            self._handled = settled.number
            self._save()
        await self._all_saved()

    async def _told(self, settled: Settled) -> bool:
        """Call the handler until it succeeds; False when it was stopped before."""
        wait = FIRST
        while True:
            try:
                answer = self._handler(settled)
                if isinstance(answer, Awaitable):
                    await answer
            except GeneratorExit:
                raise
            except BaseException as error:
                what = f"the handler {self._name} failed"
                self._log.failure(what, error, queue=settled.queue_id, again=f"in {wait:.0f} s")
            else:
                return True
            await self._rest(wait)
            if self._stopping:
                return False
            wait = min(2 * wait, LONGEST)

    # The cursor.

    def _save(self) -> None:
        if self._saving is None or self._saving.called:
            self._saving = Deferred.fromCoroutine(self._written())

    async def _written(self) -> None:
        try:
            while self._saved < self._handled:
                number = self._handled
                await self._fates.seen(self._name, number)
                self._saved = number
        except MailServerError as error:
            self._log.failure(f"what the handler {self._name} has seen cannot be stored", error)
            if isinstance(error, SpoolFailed):
                self._stopping = True

    async def _all_saved(self) -> None:
        """The next page begins behind what is stored."""
        while self._saving is not None:
            await self._saving
            if self._saved >= self._handled or self._stopping:
                return
            await self._rest(AGAIN)
            self._save()

    async def _rest(self, seconds: float) -> None:
        if self._stopping:
            return
        self._resting = resting = Deferred[None]()
        timer = self._reactor.callLater(seconds, _fire, resting)
        await resting
        if timer.active():
            timer.cancel()


def _fire(waiter: Deferred[None] | None) -> None:
    if waiter is not None and not waiter.called:
        waiter.callback(None)
