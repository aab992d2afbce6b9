"""Sessions kept and ended, with recorders in their place and a clock of its own."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mailserver.net.client import ClientSession
from mailserver.transport.pool import IDLE, SessionPool


class Session:
    """Stands for a ClientSession."""

    def __init__(self, sent: int = 1) -> None:
        self.sent = sent
        self.usable = True
        self.gone: Deferred[None] | None = None

    def quit(self) -> Deferred[None]:
        self.usable = False
        self.gone = Deferred()
        return self.gone


class Rack:
    """A pool and its clock."""

    def __init__(self, reuse: int = 3, limit: int = 10) -> None:
        self.clock = Clock()
        self.pool = SessionPool(self.clock, reuse, limit)

    def give(self, key: str, session: Any) -> None:
        self.pool.give(key, cast(ClientSession, session))


def test_taken_as_given_the_newest_first() -> None:
    rack, first, second = Rack(), Session(), Session()
    rack.give("a", first)
    rack.give("a", second)
    assert rack.pool.take("b") is None
    assert [rack.pool.take("a") for _ in range(3)] == [second, first, None]
    assert rack.clock.getDelayedCalls() == []


def test_a_session_that_ended_while_it_waited_is_not_given_out() -> None:
    rack, good, dead = Rack(), Session(), Session()
    rack.give("a", good)
    rack.give("a", dead)
    dead.usable = False
    assert rack.pool.take("a") is good


def test_idle_sessions_say_quit() -> None:
    rack, first, second = Rack(), Session(), Session()
    rack.give("a", first)
    rack.clock.advance(IDLE - 1)
    rack.give("a", second)
    rack.clock.advance(1)
    assert first.gone is not None
    assert second.gone is None
    assert rack.pool.take("a") is second


def test_messages_are_counted() -> None:
    rack, nearly, full = Rack(reuse=3), Session(2), Session(3)
    rack.give("a", nearly)
    rack.give("a", full)
    assert full.gone is not None
    assert rack.pool.take("a") is nearly


def test_a_broken_session_is_ended() -> None:
    rack, broken = Rack(), Session()
    broken.usable = False
    rack.give("a", broken)
    assert broken.gone is not None
    assert rack.pool.take("a") is None


def test_no_more_than_the_limit_wait() -> None:
    rack, sessions = Rack(limit=2), [Session() for _ in range(3)]
    for number, session in enumerate(sessions):
        rack.give(str(number), session)
    assert [session.gone is not None for session in sessions] == [False, False, True]
    assert rack.pool.take("0") is sessions[0]
    third = Session()
    rack.give("2", third)
    assert rack.pool.take("2") is third


def test_stop_waits_for_all_that_leave() -> None:
    rack, waiting, leaving, used = Rack(reuse=2), Session(), Session(2), Session()
    rack.give("a", waiting)
    rack.give("b", leaving)
    done: list[None] = []
    rack.pool.stop().addCallback(done.append)
    assert waiting.gone is not None
    waiting.gone.callback(None)
    assert done == []
    assert leaving.gone is not None
    leaving.gone.callback(None)
    assert done == [None]
    rack.give("a", used)
    assert used.gone is not None
    assert rack.clock.getDelayedCalls() == []
