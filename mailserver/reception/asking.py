"""Asking an application: its hooks may answer at once, later, wrongly, or never.

A hook is called by :meth:`Asking.ask` within a *flow*: a generator that yields only what it has to wait for, so
that plain answers cost no Deferred and no coroutine. :func:`run` drives a flow to its result.

What a hook means to say with ``SMTPServerError`` is said to the client with its own code and text. Everything
else that goes wrong is the application's bug or its silence: 451 to the client, and one log event that names
the culprit. A Deferred or coroutine has so many seconds; then it is cancelled, and whatever it answers
afterwards is thrown away. None of it ever leaves as an exception but :class:`Declined`, which carries the reply.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.mail.smtp import SMTPServerError
from twisted.python.failure import Failure

from mailserver.interfaces import IClock
from mailserver.reception import refusals
from mailserver.smtp.reply import Reply
from mailserver.smtp.status import Status

T = TypeVar("T")
Flow = Generator[Awaitable[Any], Any, T]

# An application's text is cut: RFC 5321 §4.5.3.1.5 has 512 octets for a reply line.
_MAX_LINE, _MAX_LINES = 400, 20


class Declined(Exception):
    """A hook said no, or failed. ``reply`` is for the client, what there was to log is logged."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class BadAnswer(Exception):
    """A hook answered what it may not answer; ``str()`` says what."""


class NeverAnswered(Exception):
    """A hook took too long."""


class SessionGone(CancelledError):
    """Nobody waits for the answer any more: the connection is lost."""


@dataclass(frozen=True, slots=True)
class Hook:
    """Whose hook it is, and its name; ``str()`` is for the log: ``acme.mail.Delivery.validateFrom``."""

    owner: object
    name: str = ""

    def __str__(self) -> str:
        owner: Any = self.owner
        named = owner if hasattr(owner, "__qualname__") else type(owner)
        place = f"{named.__module__}.{named.__qualname__}"
        return f"{place}.{self.name}" if self.name else place


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many seconds an application has: for ``command`` hooks, and at the ``data_end``.

    A little less than RFC 5321 §4.5.3.2 gives a client's patience, so that it is told instead of leaving.
    """

    command: float = 270
    data_end: float = 570


class _Pending:
    __slots__ = ("answer", "asked", "deadline", "late")

    def __init__(self, asked: Deferred[Any], deadline: float, late: Callable[[Any], None] | None) -> None:
        self.asked = asked
        self.deadline = deadline
        self.late = late
        self.answer: Deferred[Any] = Deferred(self._gone)

    def _gone(self, answer: Deferred[Any]) -> None:
        answer.errback(SessionGone())
        self.asked.cancel()


class Asking:
    """Asks the application behind one session. ``session`` names it in the log."""

    __slots__ = ("_bounds", "_clock", "_pending", "_session", "log")

    def __init__(self, clock: IClock, log: Any, session: str, bounds: Bounds) -> None:
        self.log = log
        self._clock = clock
        self._session = session
        self._bounds = bounds
        self._pending: dict[int, _Pending] = {}

    def ask(self, hook: Hook, call: Callable[..., Any], *args: Any) -> Flow[Any]:
        """What the hook answers. Raises Declined."""
        try:
            value = call(*args)
            if is_awaitable(value):
                value = yield self.wait(value)
            if isinstance(value, Failure):
                value.raiseException()
        except SessionGone:
            raise
        except Exception as error:
            raise self.declined(hook, error) from None
        return value

    def wait(self, value: Any, at_end: bool = False, late: Callable[[Any], None] | None = None) -> Deferred[Any]:
        """A Deferred of what an awaitable answers, or of NeverAnswered; cancel it, and the awaitable is too.
        `late` is given what it answers all the same."""
        asked = value if isinstance(value, Deferred) else Deferred.fromCoroutine(_awaited(value))
        seconds = self._bounds.data_end if at_end else self._bounds.command
        pending = _Pending(asked, self._clock.monotonic() + seconds, late)
        self._pending[id(pending)] = pending
        asked.addBoth(self._came, pending)
        return pending.answer

    def _came(self, result: Any, pending: _Pending) -> Any:
        self._pending.pop(id(pending), None)
        if not pending.answer.called:
            pending.answer.callback(result)
        elif pending.late is not None and not isinstance(result, Failure):
            pending.late(result)
        # The Deferred is the application's, who may keep it; a failure has been taken notice of.
        return None if isinstance(result, Failure) else result

    def check(self, now: float) -> None:
        """Give up on whatever took too long; `now` is monotonic."""
        if not self._pending:
            return
        for pending in [one for one in self._pending.values() if one.deadline <= now]:
            if not pending.answer.called:
                pending.answer.errback(NeverAnswered("no answer in time"))
            pending.asked.cancel()

    def declined(self, hook: Hook, error: Exception) -> Declined:
        """What an exception of a hook means to the client; logged where it means nothing."""
        if isinstance(error, Declined):
            return error
        reply = reply_of(error) if isinstance(error, SMTPServerError) else None
        if reply is not None:
            return Declined(reply)
        self.blame(hook, error)
        return Declined(refusals.INTERNAL)

    def blame(self, hook: Hook, error: BaseException) -> None:
        """Log that a hook failed."""
        if isinstance(error, (BadAnswer, NeverAnswered)):
            self.log.event("hook.failed", culprit=str(hook), reason=str(error), session=self._session)
        else:
            self.log.failure("a hook failed", error, culprit=str(hook), session=self._session)


def run(flow: Flow[T]) -> Any:
    """The result of `flow`, or an awaitable of it where it has to wait."""
    try:
        waiting = next(flow)
    except StopIteration as done:
        return done.value
    return _rest(flow, waiting)


async def _rest(flow: Flow[T], waiting: Awaitable[Any]) -> T:
    try:
        while True:
            try:
                value = await waiting
            except Exception as error:
                waiting = flow.throw(error)
            else:
                waiting = flow.send(value)
    except StopIteration as done:
        result: T = done.value
        return result


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def is_awaitable(value: object) -> bool:
    """Whether `value` is a Deferred, a coroutine, or anything else that may be awaited."""
    return hasattr(type(value), "__await__")


def reply_of(error: Any) -> Reply | None:
    """The reply that an SMTPServerError asks for; None when its code is no refusal.

    ``resp`` is ``str`` or octets, several lines allowed; a line may begin with an enhanced status of its own.
    """
    code, text = error.code, error.resp
    if not isinstance(code, int) or not 400 <= code <= 599:
        return None
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    lines = [line[:_MAX_LINE] for line in text.splitlines()[:_MAX_LINES]] or [""]
    status = Status.parse(lines[0].partition(" ")[0])
    if status is None or status.klass != code // 100:
        return Reply(code, Status(code // 100, 0, 0), tuple(lines))
    return Reply(code, status, tuple(line.removeprefix(str(status)).removeprefix(" ") for line in lines))
