"""The SMTP server's shell on Twisted: sockets, deadlines, TLS and waiting, around a core that has none of it.

:class:`ServerProtocol` feeds what comes in to a :class:`~mailserver.smtp.server.ServerCore`, hands its events to
a handler, gives the answers back, and writes once per turn, however many commands were pipelined; a turn is a
hundred of them at most, then the other connections have theirs.

It guarantees to the handler: one event at a time; ``lost`` exactly once, and no event after it; a pending
awaitable is cancelled when the connection is lost, except for the end of a content, which runs to its end,
because the message may be stored already. To the peer: what is raised in a handler is a 4yz, never a traceback.
To the machine: input and unread output are bounded; a peer that is silent, or does not close, is cut off.

Deadlines cost nothing per command: whoever owns the connections calls ``check_deadline(now)`` about once a
second with its clock's monotonic time. While we owe an answer, the peer's deadline does not run, but our own
does: a question that nobody answers within ``data_end`` ends in a cut connection, not in a reply that lies.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any
from typing import Protocol as Shape

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.interfaces import IClock, SpoolFull
from mailserver.net import atonce
from mailserver.smtp import events, replies, states
from mailserver.smtp.reply import Reply
from mailserver.smtp.scram import ScramKeys
from mailserver.smtp.server import ServerCore

# Input held while nothing may be parsed; over it the socket is not read.
MAX_BUFFERED = 65_536
# Lines of one connection in one turn of the reactor: a socket's buffer holds thousands, and others wait.
LINES_A_TURN = 100
# Octets of replies that are held; over it they are written within the turn, so that back-pressure is seen.
MAX_UNSENT = 16_384

Answer = Reply | Sequence[Reply] | ScramKeys | None


class Handler(Shape):
    """Decides. A question wants a reply (ContentEnds: or a sequence of them; FindKeys: or keys), plain or
    awaitable; what is no question wants None, or an awaitable after which the next slice may come."""

    def handle(self, event: events.Event) -> Answer | Awaitable[Answer]:
        """One event, never ``Closing``."""

    def lost(self, reason: str) -> None:
        """The connection is gone: forget everything."""


class SessionLog(Shape):
    """Where failures go."""

    def failure(self, what: str, error: BaseException | Failure, /, **fields: object) -> None:
        """Something of ours raised."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sessions of a listener share.

    ``context`` makes TLS connections (a Twisted context factory), None where there is no TLS; ``linger`` is how
    many seconds a peer has to close after we did; ``send(transport, octets)`` is how replies leave.
    """

    clock: IClock
    log: SessionLog
    context: Any = None
    linger: float = 5
    send: Callable[[Any, bytes], None] = atonce.queue


@implementer(IPushProducer, IHalfCloseableProtocol)
class ServerProtocol(Protocol):
    """One connection. A core that was made with ``tls=True`` starts TLS before the greeting, unless the
    transport has it already."""

    transport: Any
    # Twisted addresses of the client's own connection, where it came through a proxy that stated them.
    stated_peer: Any = None
    stated_host: Any = None

    def __init__(self, core: ServerCore, handler: Handler, surroundings: Surroundings) -> None:
        self.core = core
        self.handler = handler
        self._surroundings = surroundings
        self._pumping = False
        self._waiting: Deferred[Any] | None = None
        self._waiting_event: events.Event | None = None
        self._unread = False
        self._paused = False
        self._lost = False
        self._closing: str | None = None
        self._ending = False
        self._hang_up: Reply | None = None
        self._deadline = inf
        self._next_turn: Any = None

    @property
    def _asked(self) -> str:
        return type(self._waiting_event).__name__

    # What the owner of the connection calls.

    @property
    def busy(self) -> bool:
        """True while a content is coming or an answer of ours is due."""
        return self.core.busy or self._waiting is not None

    def hang_up(self, reply: Reply = replies.SHUTTING_DOWN) -> None:
        """End the session with a 421: at once, or after the content or the answer that is under way."""
        self._hang_up = reply
        self._pump()

    def abort(self) -> None:
        """Cut the connection, whatever is under way."""
        if not self._lost:
            self.transport.abortConnection()

    def check_deadline(self, now: float) -> None:
        """Act if the peer's time is over; `now` is monotonic."""
        if now < self._deadline or self._lost:
            return
        if self._waiting is not None:
            # What is asked may still be done: there is no true reply, and the peer will try again.
            error = TimeoutError("an answer took too long")
            self._surroundings.log.failure("a question was not answered", error, event=self._asked)
            self.transport.abortConnection()
        elif self._unread or self._ending:
            # A last word would not be read.
            self._closing = self._closing or "timed out: what we sent was not taken"
            self.transport.abortConnection()
        else:
            self.core.timed_out()
            self._pump()

    # What the transport calls.

    def connectionMade(self) -> None:
        # Nagle's algorithm would hold back the second of two small writes for 40 ms.
        with suppress(AttributeError):
            self.transport.setTcpNoDelay(True)
        if self.core.tls and not ISSLTransport.providedBy(self.transport):
            self.transport.startTLS(self._surroundings.context)
        self.transport.registerProducer(self, True)
        self._pump()

    def dataReceived(self, data: bytes) -> None:
        self.core.receive(data)
        self._pump(progress=self.core.state.phase == "data_block")

    def readConnectionLost(self) -> None:
        """The peer sends no more, but may still read: what it sent is answered."""
        self.core.receive_eof()
        self._pump()

    def writeConnectionLost(self) -> None:
        """We never close one side alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None
        waiting = self._waiting
        if waiting is not None and not isinstance(self._waiting_event, events.ContentEnds):
            waiting.cancel()
        self.handler.lost(self._closing or reason.getErrorMessage())

    def pauseProducing(self) -> None:
        """The peer does not read: nothing more is parsed, so that replies do not pile up."""
        self._unread = True

    def resumeProducing(self) -> None:
        self._unread = False
        self._pump(progress=True)

    def stopProducing(self) -> None:
        """The transport is going away; connectionLost follows."""

    # The turn.

    def _pump(self, progress: bool = False) -> None:
        """Work on what there is to work on, as far as the turn allows, then write once."""
        if self._pumping or self._lost:
            return
        if self._next_turn is not None:
            # This connection had its turn. What came meanwhile is worked on in the next one.
            self._balance()
            return
        self._pumping = True
        self.core.lines_left = LINES_A_TURN
        try:
            progress = self._drain() or progress
        except Exception as error:
            self._broken(error)
        finally:
            self._pumping = False
        self._flush(progress)

    def _drain(self) -> bool:
        core, progress = self.core, False
        while self._waiting is None and not self._unread and not self._lost:
            if self._hang_up is not None and not core.busy:
                core.hang_up(self._hang_up)
            event = core.next_event()
            if event is None:
                if core.state is states.TLS:
                    self._start_tls()
                elif not self._goes_on():
                    break
            else:
                self._hand_over(event)
                if core.unsent > MAX_UNSENT:
                    self._surroundings.send(self.transport, core.data_to_send())
            progress = True
        return progress

    def _goes_on(self) -> bool:
        """Whether there is more for this turn. If only its bound ended it, the reactor's next one goes on."""
        core = self.core
        if core.lines_left > 0 or core.state is states.CLOSED:
            return False
        reactor = getattr(self.transport, "reactor", None)
        if reactor is not None:
            self._next_turn = reactor.callLater(0, self._turn)
            return False
        # A transport in memory: there is nobody else to have a turn.
        core.lines_left = LINES_A_TURN
        return True

    def _turn(self) -> None:
        self._next_turn = None
        self._pump(progress=True)

    def _flush(self, progress: bool) -> None:
        if self._lost:
            return
        data = self.core.data_to_send()
        if data:
            self._surroundings.send(self.transport, data)
        if self._closing is not None:
            self._close()
        elif progress or data:
            self._deadline = self._now() + self._patience()
        self._balance()

    def _patience(self) -> float:
        if self._waiting is not None:
            return self.core.profile.patience.data_end
        return self.core.profile.patience.command if self._unread else self.core.waiting_for[1]

    def _now(self) -> float:
        return self._surroundings.clock.monotonic()

    def _balance(self) -> None:
        """Read from the socket only as far as we get on with it."""
        waits = self._waiting is not None or self._unread or self._next_turn is not None
        too_much = waits and self.core.buffered > MAX_BUFFERED
        if too_much is not self._paused and not self._lost:
            self._paused = too_much
            if too_much:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def _close(self) -> None:
        if self._ending:
            return
        self._ending = True
        self._deadline = self._now() + self._surroundings.linger
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _start_tls(self) -> None:
        self.transport.write(self.core.data_to_send())
        self.transport.startTLS(self._surroundings.context)
        self.core.tls_started()

    # Events and their answers.

    def _hand_over(self, event: events.Event) -> None:
        if type(event) is events.Closing:
            self._closing = event.reason
            return
        try:
            answer = self.handler.handle(event)
        except Exception as error:
            self._failed(error, event)
            return
        if isinstance(answer, Reply):
            self.core.answer(answer)
        elif answer is None or isinstance(answer, (list, tuple, ScramKeys)):
            self._answer(answer, event)
        else:
            self._wait(answer, event)

    def _answer(self, answer: Any, event: events.Event) -> None:
        if answer is None and not self.core.asking:
            return
        if isinstance(answer, ScramKeys) and isinstance(event, events.FindKeys):
            self.core.found(answer)
            return
        answers = answer if isinstance(answer, (list, tuple)) else (answer,)
        if answers and all(isinstance(one, Reply) for one in answers):
            self.core.answer(*answers)
        else:
            self._failed(TypeError(f"a handler answered {answer!r}"), event)

    def _wait(self, answer: Any, event: events.Event) -> None:
        done = answer if isinstance(answer, Deferred) else Deferred.fromCoroutine(_awaited(answer))
        self._waiting, self._waiting_event = done, event
        done.addCallbacks(self._came, self._came_to_nothing, callbackArgs=(event,), errbackArgs=(event,))

    def _came(self, answer: Any, event: events.Event) -> None:
        self._waiting = self._waiting_event = None
        if not self._lost:
            try:
                self._answer(answer, event)
            except Exception as error:
                self._broken(error)
            self._pump(progress=True)

    def _came_to_nothing(self, failure: Failure, event: events.Event) -> None:
        self._waiting = self._waiting_event = None
        if self._lost:
            if not failure.check(CancelledError):
                self._log(failure, event)
            return
        self._failed(failure, event)
        self._pump(progress=True)

    # Failures of ours.

    def _failed(self, problem: BaseException | Failure, event: events.Event) -> None:
        """A handler raised: the question gets a transient refusal, a content is thrown away."""
        self._log(problem, event)
        error = problem.value if isinstance(problem, Failure) else problem
        if self.core.asking:
            self.core.answer(_refusal(error, event))
        elif isinstance(event, events.ContentSlice):
            self.core.drop_content(_refusal(error, event))

    def _broken(self, error: Exception) -> None:
        """Something raised that never should: the session ends."""
        self._surroundings.log.failure("a session broke", error)
        if self.core.busy:
            self.abort()
        else:
            self.core.hang_up(replies.BROKEN)
            self._closing = "broken"

    def _log(self, error: BaseException | Failure, event: events.Event) -> None:
        self._surroundings.log.failure("a handler failed", error, event=type(event).__name__)


async def _awaited(answer: Awaitable[Answer]) -> Answer:
    return await answer


def _refusal(error: object, event: events.Event) -> Reply:
    if isinstance(event, events.Opened):
        return replies.BROKEN
    if isinstance(event, (events.FindKeys, events.Authenticate)):
        return replies.NO_CAPACITY
    return replies.NO_ROOM if isinstance(error, SpoolFull) else replies.LOCAL_ERROR
