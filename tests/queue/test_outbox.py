"""The outbox: durable sends, keys, fates, and handlers that miss nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from mailserver.interfaces import MailServerError, SpoolFailed, SpoolFull
from mailserver.message import Content, Fate, Fates, Settled, State, Status
from mailserver.queue.bounce import Bounces
from mailserver.queue.destination import Windows
from mailserver.queue.follower import FIRST, LONGEST, PAGE
from mailserver.queue.intake import Intake
from mailserver.queue.manager import Parts, QueueManager
from mailserver.queue.outbox import KEY, NotSettled, Outbox, OutboxParts, TooLarge, UnknownMessage
from mailserver.queue.schedule import Schedule
from mailserver.smtp.address import NULL, AddressError, Mailbox
from mailserver.spool.contract import SpoolWorld
from mailserver.spool.memory import MemorySpool
from mailserver.threads import inline

LETTER = b"From: shop@here.example\r\nSubject: hi\r\n\r\nhi\r\n"
RELAYED = Fate(State.RELAYED, Status(2, 0, 0), None, 1)


class Reactor(Clock):
    def callFromThread(self, function: Any, *args: Any) -> None:
        self.callLater(0, function, *args)


class Bench:
    """An outbox on a queue manager on a spool in memory; each is restarted with :meth:`restart`."""

    def __init__(self, make: Any) -> None:
        self.clock, self.log, self.directory = make.FakeClock(), make.FakeLog(), make.Directory()
        self.clock.reactor = Reactor()
        self.transport = make.Transport(lambda attempt: make.relayed())
        self.max_size = 1000
        self.blocked: str | None = None
        world = SpoolWorld(self.clock.reactor, self.clock, inline, self.log.event, lambda reason: None)
        self.spool = MemorySpool(world, beat=0)
        self.spool.start()
        self.outbox = self.made()

    def made(self) -> Outbox:
        clock, spool = self.clock, self.spool
        intake = Intake(spool, self.directory, "mx.here.example")
        bounces = Bounces("mx.here.example", intake, spool.new_content, inline, clock)

        class Everywhere:
            def route(self, recipient: Any, envelope: Any) -> Any:
                from mailserver.message.route import Route

                return Route("smtp", str(recipient.mailbox.domain))

        parts = Parts(spool, Everywhere(), {"smtp": self.transport}, bounces, clock, self.log)
        self.manager = QueueManager(parts, Schedule(), Windows(20, 100))
        spool.subscribe(self.manager.stored)
        outbox = Outbox(
            OutboxParts(
                intake, spool.new_content, spool.fates, lambda: self.blocked, clock, clock.reactor, self.log,
                self.max_size,
            )
        )  # fmt: skip
        outbox.start()
        return outbox

    def restart(self) -> Outbox:
        """Stopped, and started as another process would: with what is in the store and nothing else."""
        self.wait(self.outbox.stop(lambda done: done))
        self.wait(self.spool.stop())
        self.spool.start()
        self.outbox = self.made()
        return self.outbox

    def turn(self, seconds: float = 0) -> None:
        for _ in range(20):  # what one commit starts, the next one settles
            self.clock.reactor.advance(0)
        self.clock.reactor.advance(seconds)
        for _ in range(20):
            self.clock.reactor.advance(0)

    def begun(self, coroutine: Any) -> Deferred[Any]:
        deferred: Deferred[Any] = (
            coroutine if isinstance(coroutine, Deferred) else Deferred.fromCoroutine(coroutine)
        )
        return deferred

    def wait(self, awaitable: Any) -> Any:
        results: list[Any] = []
        deferred = self.begun(awaitable)
        deferred.addBoth(results.append)
        self.turn()
        assert results, "still waiting"
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]

    def send(self, *recipients: Any, content: Any = LETTER, sender: Any = "shop@here.example", **more: Any) -> Any:
        names = recipients or ("bert@far.example",)
        return self.wait(self.outbox.send(content, sender=sender, recipients=list(names), **more))

    def fates(self, queue_id: str) -> dict[str, Fate]:
        return {str(mailbox): fate for mailbox, fate in self.wait(self.outbox.fates(queue_id)).items()}


@pytest.fixture
def bench(make: Any) -> Bench:
    return Bench(make)


# Sending.


def test_a_message_is_stored_delivered_and_its_fate_known(bench: Bench) -> None:
    sent = bench.send("bert@far.example", Mailbox.parse("cleo@far.example"))
    assert bench.wait(sent.settled(timeout=60)) == Fates(
        {Mailbox.parse("bert@far.example"): RELAYED, Mailbox.parse("cleo@far.example"): RELAYED}
    )
    assert bench.fates(sent.queue_id) == {"bert@far.example": RELAYED, "cleo@far.example": RELAYED}
    (attempt,) = bench.transport.attempts
    assert attempt.queue_id == sent.queue_id
    assert str(attempt.envelope.reverse_path) == "shop@here.example"
    assert not bench.clock.reactor.getDelayedCalls()


def test_the_promise_is_made_by_the_commit(bench: Bench) -> None:
    sending = bench.begun(bench.outbox.send(LETTER, sender="", recipients=["bert@far.example"]))
    assert not sending.called
    bench.turn()
    assert sending.called
    assert bench.transport.attempts[0].envelope.reverse_path == NULL


def content_of(bench: Bench) -> bytes:
    return b"".join(bench.transport.attempts[-1].content.chunks())


def test_date_and_message_id_are_added_where_they_lack(bench: Bench) -> None:
    sent = bench.send()
    assert f"Message-ID: <{sent.queue_id}@mx.here.example>".encode() in content_of(bench)
    assert b"Date: " in content_of(bench)
    bench.send(content=b"Date: x\nMessage-ID: <y>\n\nz\n")
    assert content_of(bench) == b"Date: x\nMessage-ID: <y>\n\nz\n"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"Date: x\r\nMessage-ID: y\r\n\r\na\rb", b"a\nb\n"),
        ([b"Date: x\r", b"\nMessage-ID: y\r\n", b"\r\na\r"], b"a\n"),
        ([b"Date: x\nMessage-ID: y\n\n", b"", b"a\r", b"\nb\n"], b"a\nb\n"),
        (bytearray(b"Date: x\nMessage-ID: y\n\na\n"), b"a\n"),
        (Content.of(b"Date: x\r\nMessage-ID: y\r\n\r\na\r\n"), b"a\n"),
    ],
)
def test_line_ends_are_made_the_same_wherever_they_are_cut(bench: Bench, given: Any, kept: bytes) -> None:
    bench.send(content=given)
    assert content_of(bench) == b"Date: x\nMessage-ID: y\n\n" + kept


def test_what_the_next_server_must_be_able_to_do_is_in_the_envelope(bench: Bench) -> None:
    def envelope() -> tuple[str | None, bool]:
        last = bench.transport.attempts[-1].envelope
        return last.body, last.smtputf8

    bench.send()
    assert envelope() == (None, False)
    bench.send(content="Subject: x\n\ngrün\n".encode())
    assert envelope() == ("8BITMIME", False)
    bench.send(content="Subject: grün\n\nx\n".encode())
    assert envelope() == ("8BITMIME", True)
    bench.send("jürgen@far.example")
    assert envelope() == (None, True)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"recipients": ["bert"]}, AddressError, "the recipient 'bert' is no mail address: the address has no @"),
        ({"sender": "shop@"}, AddressError, "the sender 'shop@' is no mail address"),
        ({"recipients": [NULL]}, AddressError, "a recipient is empty"),
        ({"recipients": []}, ValueError, "a message needs a recipient"),
        ({"recipients": "bert@far.example"}, TypeError, "a list of addresses"),
        ({"content": "text"}, TypeError, "encode the text first"),
        ({"content": b"x" * 1001}, TooLarge, "larger than 1000 octets"),
        ({"content": [b"\n" * 499, b"\n\n"]}, TooLarge, "larger than 1000 octets"),
        ({"key": ""}, ValueError, "from 1 to 500 characters, not 0"),
        ({"key": "k" * (KEY + 1)}, ValueError, "not 501"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_stored(
    bench: Bench, arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    good = {"content": LETTER, "sender": "shop@here.example", "recipients": ["bert@far.example"]}
    with pytest.raises(error, match=says):
        bench.wait(bench.outbox.send(**{**good, **arguments}))
    assert bench.spool.counts()["messages"] == 0


def test_no_room(bench: Bench) -> None:
    bench.blocked = "a settlement waits"
    with pytest.raises(SpoolFull, match="a settlement waits"):
        bench.send()
    bench.blocked, bench.spool.full = None, "the disk is full"
    with pytest.raises(SpoolFull, match="the disk is full"):
        bench.send()
    bench.spool.full = None
    assert bench.send()


def test_it_sends_only_while_the_queue_runs(bench: Bench) -> None:
    bench.wait(bench.outbox.stop(lambda done: done))
    with pytest.raises(SpoolFailed, match="start its service first"):
        bench.send()


def test_a_spool_without_fates(bench: Bench) -> None:
    parts = bench.outbox._parts
    without = Outbox(
        OutboxParts(parts.intake, parts.new_content, None, parts.blocked, parts.clock, None, bench.log, 1000)
    )
    without.start()
    with pytest.raises(MailServerError, match="keeps no fates"):
        bench.wait(without.send(LETTER, sender="", recipients=["bert@far.example"]))
    bench.wait(without.stop(lambda done: done))


# Keys.


def test_the_same_key_is_the_same_message(bench: Bench) -> None:
    first = bench.send(key="order-42")
    assert bench.send("cleo@far.example", key="order-42") == first
    bench.restart()
    assert bench.send(key="order-42").queue_id == first.queue_id
    assert bench.send(key="order-43") != first
    assert len(bench.transport.attempts) == 2


def test_a_key_is_known_even_without_room_for_more(bench: Bench) -> None:
    first = bench.send(key="k")
    bench.blocked = "no room"
    assert bench.send(key="k") == first


def test_two_calls_at_once_with_one_key(bench: Bench) -> None:
    contents: list[Content] = []
    parts = bench.outbox._parts

    def new_content() -> Content:
        contents.append(parts.new_content())
        return contents[-1]

    bench.outbox._parts = replace(parts, new_content=new_content)

    def one() -> Deferred[Any]:
        return bench.begun(bench.outbox.send(LETTER, sender="", recipients=["bert@far.example"], key="k"))

    calls = [one() for _ in range(3)]
    ids = {bench.wait(call).queue_id for call in calls}
    assert len(ids) == 1
    (attempt,) = bench.transport.attempts
    assert len(contents) == 3
    # Nothing is left of the others, in memory or in a file.
    assert [one for one in contents if b"".join(one.pieces())] == [attempt.content]


# Fates.


def test_settled_waits_for_the_last_recipient(bench: Bench, make: Any) -> None:
    bench.transport.answer = lambda attempt: make.transient("busy", Status(4, 2, 1))
    sent = bench.send()
    waiting = [bench.begun(sent.settled()), bench.begun(sent.settled(timeout=600))]
    assert bench.fates(sent.queue_id) == {}
    bench.transport.answer = lambda attempt: make.relayed()
    bench.clock.advance(300)
    bench.manager.tick()
    assert [bench.wait(one)["bert@far.example"].attempts for one in waiting] == [2, 2]
    assert not bench.clock.reactor.getDelayedCalls()


def test_who_waits_too_long_gets_what_is_known(bench: Bench, make: Any) -> None:
    answers = {"far.example": make.relayed(), "busy.example": make.transient("busy", Status(4, 2, 1))}
    bench.transport.answer = lambda attempt: answers[attempt.route.destination]
    sent = bench.send("bert@far.example", "cleo@busy.example")
    waiting = bench.begun(sent.settled(timeout=60))
    bench.turn(59)
    assert not waiting.called
    bench.turn(1)
    with pytest.raises(NotSettled, match="recipients that are not final") as caught:
        bench.wait(waiting)
    assert isinstance(caught.value, TimeoutError)
    assert dict(caught.value.fates) == {Mailbox.parse("bert@far.example"): RELAYED}


def test_a_stop_ends_the_waiting(bench: Bench, make: Any) -> None:
    bench.transport.answer = lambda attempt: make.transient("busy")
    waiting = bench.begun(bench.send().settled(timeout=60))
    bench.wait(bench.outbox.stop(lambda done: done))
    with pytest.raises(NotSettled):
        bench.wait(waiting)
    assert not bench.clock.reactor.getDelayedCalls()


def test_a_failure_has_the_words_of_the_other_side(bench: Bench, make: Any) -> None:
    no = replace(make.permanent("refused", Status(5, 1, 1)), remote_reply="550 5.1.1 no such user")
    bench.transport.answer = lambda attempt: no
    sent = bench.send(sender="")
    expected = Fate(State.FAILED, Status(5, 1, 1), "550 5.1.1 no such user", 1)
    assert bench.wait(sent.settled())["bert@far.example"] == expected
    bench.restart()
    assert bench.fates(sent.queue_id) == {"bert@far.example": expected}


def test_a_fate_is_of_the_recipient_as_given(bench: Bench) -> None:
    bench.directory.aliases["team@here.example"] = ["bert@far.example", "cleo@far.example"]
    sent = bench.send("team@here.example")
    assert len(bench.transport.attempts[0].recipients) == 2
    assert bench.fates(sent.queue_id) == {"team@here.example": RELAYED}


def test_nothing_is_known_of_others(bench: Bench) -> None:
    with pytest.raises(UnknownMessage, match="no fates are known"):
        bench.wait(bench.outbox.fates("0683mw5z8r1p2q3s4t5v6w7"))
    with pytest.raises(LookupError):
        bench.wait(bench.outbox.settled("0683mw5z8r1p2q3s4t5v6w7"))


# Handlers.


class Handler:
    """Records; answers what ``answer(settled)`` says, or raises it."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []
        self.answer: Any = lambda settled: None

    def __call__(self, settled: Settled) -> Any:
        self.seen.append(settled.key)
        answer = self.answer(settled)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_handler_hears_of_every_message_in_order_once(bench: Bench) -> None:
    handler = Handler()
    keys = [f"k{number}" for number in range(2 * PAGE + 3)]
    for key in keys[:60]:
        bench.send(key=key)
    bench.outbox.on_settled("billing", handler)
    bench.turn()
    for key in keys[60:]:
        bench.send(key=key)
    bench.turn()
    assert handler.seen == keys
    bench.restart().on_settled("billing", handler)
    bench.turn()
    assert handler.seen == keys


def test_a_handler_is_told_all(bench: Bench) -> None:
    told: list[Settled] = []
    bench.outbox.on_settled("billing", told.append)
    sent = bench.send(key="k")
    expected = Settled(sent.queue_id, "k", Fates({Mailbox.parse("bert@far.example"): RELAYED}), 1)
    assert told == [expected]


def test_the_next_message_waits_for_the_answer(bench: Bench) -> None:
    handler = Handler()
    answers: list[Deferred[None]] = []

    def later(_settled: Settled) -> Deferred[None]:
        answers.append(Deferred())
        return answers[-1]

    async def coroutine(settled: Settled) -> None:
        await later(settled)

    handler.answer = later
    bench.outbox.on_settled("billing", handler)
    bench.send(key="a")
    bench.send(key="b")
    assert handler.seen == ["a"]
    handler.answer = coroutine
    answers[0].callback(None)
    bench.turn()
    assert handler.seen == ["a", "b"]
    handler.answer = lambda _settled: succeed("anything")
    answers[1].callback(None)
    bench.send(key="c")
    assert handler.seen == ["a", "b", "c"]


def test_what_a_handler_did_not_finish_is_told_again_after_a_restart(bench: Bench) -> None:
    handler = Handler()
    never: Deferred[None] = Deferred()
    handler.answer = lambda settled: never if settled.key == "b" else None
    bench.outbox.on_settled("billing", handler)
    for key in "abc":
        bench.send(key=key)
    assert handler.seen == ["a", "b"]
    stopping = bench.begun(bench.outbox.stop(lambda done: succeed(None)))
    assert stopping.called
    bench.wait(bench.spool.stop())
    bench.spool.start()
    bench.outbox = bench.made()
    handler.answer = lambda settled: None
    bench.outbox.on_settled("billing", handler)
    bench.turn()
    assert handler.seen == ["a", "b", "b", "c"]
    never.callback(None)  # an answer to the process before
    bench.turn()
    assert handler.seen == ["a", "b", "b", "c"]


def test_each_name_goes_on_for_itself(bench: Bench) -> None:
    broken, good = Handler(), Handler()
    broken.answer = lambda settled: ValueError("no")
    bench.outbox.on_settled("broken", broken)
    bench.outbox.on_settled("good", good)
    bench.send(key="a")
    bench.send(key="b")
    assert (broken.seen, good.seen) == (["a"], ["a", "b"])
    broken.answer = lambda settled: None
    bench.restart().on_settled("broken", broken)
    bench.turn()
    assert broken.seen == ["a", "a", "b"]


def test_a_handler_that_raises_is_called_again_with_back_off(bench: Bench) -> None:
    handler = Handler()

    async def fails(_settled: Settled) -> None:
        raise ValueError("the shop is closed")

    handler.answer = fails
    bench.outbox.on_settled("billing", handler)
    bench.send(key="a")
    bench.send(key="b")
    waits, wait = [], FIRST
    for _ in range(11):
        waits.append(wait)
        bench.turn(wait - 0.5)
        assert len(handler.seen) == len(waits)
        bench.turn(0.5)
        assert len(handler.seen) == len(waits) + 1
        wait = min(2 * wait, LONGEST)
    assert waits[-1] == LONGEST
    assert set(handler.seen) == {"a"}
    assert bench.log.failures[0][0] == "the handler billing failed"
    handler.answer = lambda settled: None
    bench.turn(LONGEST)
    assert handler.seen[-2:] == ["a", "b"]


def test_a_stop_ends_the_back_off(bench: Bench) -> None:
    handler = Handler()
    handler.answer = lambda settled: ValueError("no")
    bench.outbox.on_settled("billing", handler)
    bench.send(key="a")
    bench.wait(bench.outbox.stop(lambda done: done))
    assert not bench.clock.reactor.getDelayedCalls()
    assert handler.seen == ["a"]


def test_a_stop_waits_for_the_handler_and_keeps_what_it_did(bench: Bench) -> None:
    handler, answer = Handler(), Deferred[None]()
    handler.answer = lambda settled: answer
    bench.outbox.on_settled("billing", handler)
    bench.send(key="a")
    bench.send(key="b")
    stopping = bench.begun(bench.outbox.stop(lambda done: done))
    bench.turn()
    assert not stopping.called
    answer.callback(None)
    bench.wait(stopping)
    assert handler.seen == ["a"]
    assert [one.key for one in bench.spool.fates.unseen("billing", 10)] == ["b"]


def test_a_stop_waits_for_all_handlers_at_once(bench: Bench) -> None:
    asked: list[Deferred[Any]] = []

    def patience(done: Deferred[Any]) -> Deferred[None]:
        asked.append(done)
        return succeed(None)

    for name in ("one", "two", "three"):
        bench.outbox.on_settled(name, lambda settled: Deferred())
    bench.send()
    bench.wait(bench.outbox.stop(patience))
    assert len(asked) == 1
    assert not asked[0].called


def test_no_room_for_a_cursor(bench: Bench) -> None:
    handler = Handler()
    bench.outbox.on_settled("billing", handler)
    sent = bench.send(key="a")
    handler.answer = lambda settled: setattr(bench.spool, "full", "the disk is full")
    bench.send(key="b")
    assert handler.seen == ["a", "b"]
    assert bench.wait(sent.settled())
    bench.spool.full = None
    bench.turn(60)
    assert handler.seen == ["a", "b"]
    assert bench.spool.fates.unseen("billing", 10) == []


def test_a_name_is_taken_once(bench: Bench) -> None:
    bench.outbox.on_settled("billing", Handler())
    with pytest.raises(ValueError, match="'billing' has a handler already"):
        bench.outbox.on_settled("billing", Handler())
    with pytest.raises(ValueError, match="needs a name"):
        bench.outbox.on_settled("", Handler())
