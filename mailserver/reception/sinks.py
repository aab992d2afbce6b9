"""One content on its way to an application: the ``IMessageSMTP`` of every recipient.

They are made at DATA, in the order of the recipients: each recipient's callable, then its ``receivedHeader``,
which goes to ``lineReceived`` in one call however it is folded. Every line goes to all of them, without its line
end; a content whose first line is no header field gets an empty line before it, as ``twisted.mail`` does it.

``connectionLost`` is called once on each of them when there will be no end: a hook failed, the content is bad,
the connection is gone. When one fails in the midst of a content, the rest of it is swallowed and its end gets
the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailserver.message.content import HEADER_SCAN
from mailserver.reception.asking import Asking, BadAnswer, Declined, Flow, Hook, SessionGone, is_awaitable
from mailserver.smtp.reply import Reply

_METHODS = ("lineReceived", "eomReceived", "connectionLost")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A recipient: the ``User`` that was validated, and the callable that its validation answered."""

    user: Any
    make: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of one recipient's sink: ``refusal`` is None where it has stored its copy."""

    user: Any
    refusal: Reply | None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What an ``eomReceived`` answered; ``value`` is kept, because its identity is the key."""

    hook: Hook
    value: object
    answer: Deferred[Any]


class Sinks:
    """The sinks of one content. ``header`` are the first octets of it, if `keep_header`: for a report."""

    def __init__(self, asking: Asking, keep_header: bool) -> None:
        self._asking = asking
        self._keep_header = keep_header
        self._sinks: list[tuple[Any, Any]] = []
        self._line: list[bytes] = []
        self._begun = False
        self._refusal: Reply | None = None
        self.header = b""

    def open(self, recipients: Sequence[Accepted], trace: Callable[[Any], Any], hook: Hook) -> Flow[None]:
        """Make all sinks; `trace` is the delivery's ``receivedHeader`` for one user. Raises Declined, and then
        those that were made know it."""
        try:
            for one in recipients:
                yield from self._open(one, trace, hook)
        except Declined:
            self.lost()
            raise

    def _open(self, one: Accepted, trace: Callable[[Any], Any], hook: Hook) -> Flow[None]:
        asking, maker = self._asking, Hook(one.make)
        sink = yield from asking.ask(maker, one.make)
        if not all(callable(getattr(sink, name, None)) for name in _METHODS):
            what = f"it answered a {type(sink).__name__}, which is no IMessageSMTP"
            raise asking.declined(maker, BadAnswer(what))
        self._sinks.append((one.user, sink))
        header = yield from asking.ask(hook, trace, one.user)
        if header:
            yield from asking.ask(Hook(sink, "lineReceived"), sink.lineReceived, header)

    def feed(self, octets: bytes) -> Flow[None]:
        """More of the content, with LF line ends."""
        if self._keep_header and len(self.header) < HEADER_SCAN:
            self.header += octets[: HEADER_SCAN - len(self.header)]
        first, *rest = octets.split(b"\n")
        self._line.append(first)
        for following in rest:
            line, self._line = b"".join(self._line), [following]
            if self._refusal is None:
                yield from self._give(line)

    def _give(self, line: bytes) -> Flow[None]:
        if not self._begun:
            self._begun = True
            if line and b":" not in line:
                yield from self._to_all(b"")
        yield from self._to_all(line)

    def _to_all(self, line: bytes) -> Flow[None]:
        sink: Any = None
        try:
            for _, sink in self._sinks:
                said = sink.lineReceived(line)
                if said is not None and is_awaitable(said):
                    yield self._asking.wait(said)
        except SessionGone:
            raise
        except Exception as error:
            self._refusal = self._asking.declined(Hook(sink, "lineReceived"), error).reply
            self.lost()

    def end(self) -> Flow[Sequence[Delivered] | Reply]:
        """The content is complete: what became of each sink, or the answer where it had failed before."""
        if self._refusal is not None:
            return self._refusal
        sinks, self._sinks = self._sinks, []
        # All are told before one is waited for. One Deferred may stand for several recipients.
        waiting: dict[int, _Waiting] = {}
        told = [self._tell(sink, waiting) for _, sink in sinks]
        outcomes = {}
        for place, one in waiting.items():
            outcomes[place] = yield from self._outcome(one)
        return [
            Delivered(user, outcomes[answer] if isinstance(answer, int) else answer)
            for (user, _), answer in zip(sinks, told, strict=True)
        ]

    def _tell(self, sink: Any, waiting: dict[int, _Waiting]) -> Reply | int | None:
        """The refusal, None for stored, or the key in `waiting` of what is not known yet."""
        hook = Hook(sink, "eomReceived")
        try:
            value = sink.eomReceived()
            if value is None:
                raise BadAnswer("it answered None: a return may be missing, a Deferred is needed")
            if isinstance(value, Failure):
                value.raiseException()
        except Exception as error:
            return self._asking.declined(hook, error).reply
        if not is_awaitable(value):
            return None
        if id(value) not in waiting:
            waiting[id(value)] = _Waiting(hook, value, self._asking.wait(value, at_end=True))
        return id(value)

    def _outcome(self, one: _Waiting) -> Flow[Reply | None]:
        try:
            yield one.answer
        except Exception as error:
            return self._asking.declined(one.hook, error).reply
        return None

    def lost(self) -> None:
        """There will be no end."""
        sinks, self._sinks = self._sinks, []
        for _, sink in sinks:
            try:
                sink.connectionLost()
            except Exception as error:
                self._asking.blame(Hook(sink, "connectionLost"), error)
