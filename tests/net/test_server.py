"""The server's shell: turns, waiting, deadlines, back-pressure, TLS, and losing the connection."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import ClientCreator, Factory, Protocol
from twisted.internet.ssl import ClientContextFactory
from twisted.internet.task import Clock as TaskClock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from mailserver.interfaces import SpoolFull
from mailserver.net.server import ServerProtocol, Surroundings
from mailserver.net.tls import self_signed, server_context
from mailserver.smtp import events, replies
from mailserver.smtp.limits import Patience, Profile, ServerLimits
from mailserver.smtp.reply import reply
from mailserver.smtp.sasl import PASSWORD_MECHANISMS
from mailserver.smtp.server import ServerCore
from tests.harness.servercore import YES

PROFILE = Profile(
    "mx.example.org",
    mechanisms=("PLAIN",),
    starttls=True,
    auth_in_clear=True,
    limits=ServerLimits(error_limit=0),
    patience=Patience(10, 20, 30, 600),
)
ENVELOPE = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def wall(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return self.now


class Recorder:
    """A handler whose answers stand in a table: a value, an exception to raise, or something to call."""

    def __init__(self, **answers: Any) -> None:
        self.answers = YES | {getattr(events, name): answer for name, answer in answers.items()}
        self.events: list[Any] = []
        self.reasons: list[str] = []

    def handle(self, event: Any) -> Any:
        assert not self.reasons, "an event after the end"
        self.events.append(event)
        answer = self.answers.get(type(event))
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


class Log:
    def __init__(self) -> None:
        self.failures: list[tuple[str, Any]] = []

    def failure(self, what: str, error: Any, /, **fields: object) -> None:
        self.failures.append((what, error.value if isinstance(error, Failure) else error))


class Transport(StringTransport):
    """Counts writes; notes how it was ended."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.tls: Any = None
        self.aborted = False
        self.no_delay = False

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def startTLS(self, context: Any) -> None:
        self.tls = (context, self.value())

    def abortConnection(self) -> None:
        self.aborted = True


class Session:
    def __init__(self, profile: Profile = PROFILE, tls: bool = False, **answers: Any) -> None:
        self.clock, self.log, self.handler = Clock(), Log(), Recorder(**answers)
        self.transport = Transport()
        core = ServerCore(profile, PASSWORD_MECHANISMS, tls)
        self.protocol = ServerProtocol(core, self.handler, Surroundings(self.clock, self.log, "context", linger=5))
        self.protocol.makeConnection(self.transport)

    def say(self, data: bytes) -> list[int]:
        """Codes of the replies to `data`."""
        self.transport.clear()
        self.transport.writes = 0
        self.protocol.dataReceived(data)
        return self.codes()

    def codes(self) -> list[int]:
        return [int(line[:3]) for line in self.transport.value().splitlines() if line[3:4] == b" "]

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.protocol.check_deadline(self.clock.now)

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionLost()))


def content(**answers: Any) -> Session:
    session = Session(**answers)
    assert session.say(ENVELOPE) == [250, 250, 250, 354]
    return session


# Turns.


def test_it_greets_without_delay():
    session = Session()
    assert session.transport.value() == b"220 mx.example.org ESMTP\r\n"
    assert session.transport.no_delay


def test_one_write_for_each_turn():
    session = Session()
    assert session.say(ENVELOPE) == [250, 250, 250, 354]
    assert session.transport.writes == 1
    assert session.say(b"hello\r\n.\r\nQUIT\r\n") == [250, 221]
    assert session.transport.writes == 1
    assert session.transport.disconnecting
    session.lose()
    assert session.handler.reasons == ["QUIT"]


def test_half_a_line_writes_nothing():
    session = Session()
    assert session.say(b"NO") == []
    assert session.transport.writes == 0


def test_several_replies_to_the_end_of_content():
    session = Session(replace(PROFILE, lmtp=True), ContentEnds=[replies.OK, replies.LOCAL_ERROR])
    assert session.say(b"LHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n")[-1] == 354
    assert session.say(b".\r\n") == [250, 451]


class Turns(TaskClock):
    """A reactor that has one turn in a second."""

    def callLater(self, when: float, what: Any, *args: Any, **more: Any) -> Any:
        return super().callLater(when + 1, what, *args, **more)


def busy() -> Session:
    """A session whose transport has a reactor, and others to serve."""
    session = Session(replace(PROFILE, limits=ServerLimits(error_limit=0, junk_limit=0)))
    session.transport.reactor = Turns()
    return session


def test_a_turn_is_a_hundred_commands_and_the_next_goes_on():
    session = busy()
    reactor = session.transport.reactor
    assert len(session.say(b"NOOP\r\n" * 250 + b"QUIT\r\n")) == 100
    assert session.say(b"NOOP\r\n") == []
    reactor.advance(1)
    assert len(session.codes()) == 100
    reactor.advance(1)
    assert session.codes()[-2:] == [250, 221]
    assert len(session.codes()) == 151
    assert reactor.getDelayedCalls() == []


def test_what_is_not_worked_on_in_a_turn_pauses_the_socket():
    session = busy()
    session.say(b"NOOP\r\n" * 20_000)
    assert session.transport.producerState == "paused"
    while session.transport.reactor.getDelayedCalls():
        session.transport.reactor.advance(1)
    assert session.transport.producerState == "producing"
    assert len(session.codes()) == 20_000


def test_a_lost_connection_has_no_next_turn():
    session = busy()
    session.say(b"NOOP\r\n" * 250)
    session.lose()
    assert session.transport.reactor.getDelayedCalls() == []


def test_the_end_of_input_waits_for_the_commands_before_it():
    session = busy()
    session.say(b"NOOP\r\n" * 150)
    session.protocol.readConnectionLost()
    assert not session.transport.disconnecting
    session.transport.reactor.advance(1)
    assert len(session.codes()) == 150
    assert session.transport.disconnecting


def test_back_pressure_is_seen_within_a_turn():
    long = reply(250, None, *["x" * 400] * 20)
    session = busy()
    session.handler.answers[events.MailFrom] = long
    session.say(b"EHLO x\r\n")
    session.transport.write = lambda data: session.protocol.pauseProducing()
    session.say(b"MAIL FROM:<a@b>\r\nRSET\r\n" * 40)
    assert session.handler.names().count("MailFrom") == 3


# Waiting.


async def coroutine(value: Any) -> Any:
    return value


@pytest.mark.parametrize("wrap", [coroutine, lambda value: Deferred.fromCoroutine(coroutine(value))])
def test_an_awaitable_that_has_its_answer_costs_no_turn(wrap):
    session = Session(Hello=lambda: wrap(replies.OK))
    assert session.say(b"EHLO x\r\nNOOP\r\n") == [250, 250]
    assert session.transport.writes == 1


def test_replies_stay_in_order_behind_a_slow_answer():
    slow: Deferred[Any] = Deferred()
    session = Session(MailFrom=slow)
    assert session.say(ENVELOPE) == [250]
    assert session.protocol.busy
    session.transport.clear()
    slow.callback(replies.SENDER_OK)
    assert session.codes() == [250, 250, 354]


def test_much_input_behind_a_slow_answer_pauses_the_socket():
    slow: Deferred[Any] = Deferred()
    session = Session(Hello=slow)
    session.say(b"EHLO x\r\n" + b"NOOP\r\n" * 10_000)
    assert session.transport.producerState == "producing"
    session.say(b"NOOP\r\n" * 1000)
    assert session.transport.producerState == "paused"
    slow.callback(replies.OK)
    assert session.transport.producerState == "producing"
    assert len(session.codes()) == 11_001


def test_a_slice_may_ask_to_wait():
    slow: Deferred[None] = Deferred()
    session = content(ContentSlice=slow)
    assert session.say(b"x" * 60_000 + b"\r\n") == []
    session.say(b"y" * 70_000)
    assert session.handler.names().count("ContentSlice") == 1
    assert session.transport.producerState == "paused"
    session.handler.answers[events.ContentSlice] = None
    slow.callback(None)
    assert session.transport.producerState == "producing"
    assert session.say(b"\r\n.\r\n") == [250]
    assert sum(len(e.octets) for e in session.handler.events if isinstance(e, events.ContentSlice)) == 130_002


def test_a_peer_that_does_not_read_is_not_served():
    session = Session()
    session.protocol.pauseProducing()
    assert session.say(b"NOOP\r\n" * 20_000) == []
    assert session.transport.producerState == "paused"
    session.protocol.resumeProducing()
    assert len(session.codes()) == 20_000
    assert session.transport.producerState == "producing"


# Failures.


@pytest.mark.parametrize(
    ("event", "codes"),
    [
        ("Hello", [451, 503, 503, 503]),
        ("MailFrom", [250, 451, 503, 503]),
        ("RcptTo", [250, 250, 451, 554]),
        ("ContentBegins", [250, 250, 250, 451]),
    ],
)
def test_what_a_handler_raises_is_transient_and_logged(event, codes):
    boom = ValueError("secret detail")
    session = Session(**{event: boom})
    assert session.say(ENVELOPE) == codes
    assert session.log.failures == [("a handler failed", boom)]
    assert b"secret" not in session.transport.value()


@pytest.mark.parametrize(
    "answer", [None, [], "250 ok", [replies.OK, "x"], lambda: coroutine(None), lambda: coroutine(7)]
)
def test_an_answer_that_is_none_is_transient_and_logged(answer):
    session = Session(Hello=answer)
    assert session.say(b"EHLO x\r\n") == [451]
    assert len(session.log.failures) == 1


def test_a_failed_awaitable_is_the_same_as_an_exception():
    slow: Deferred[Any] = Deferred()
    session = content(ContentEnds=slow)
    assert session.say(b"hi\r\n.\r\nNOOP\r\n") == []
    slow.errback(SpoolFull("no"))
    assert session.codes() == [452, 250]


@pytest.mark.parametrize("late", [False, True])
def test_a_slice_that_cannot_be_kept_drops_the_content(late):
    session = content(ContentSlice=(lambda: failing(SpoolFull("no"))) if late else SpoolFull("no"))
    assert session.say(b"hi\r\n") == []
    assert session.handler.names()[-2:] == ["ContentSlice", "ContentDropped"]
    assert session.say(b"more\r\n.\r\nNOOP\r\n") == [452, 250]
    assert "ContentEnds" not in session.handler.names()


def test_a_chunk_is_answered_when_its_slice_is_kept():
    slow: Deferred[None] = Deferred()
    session = Session(ContentSlice=slow)
    assert session.say(ENVELOPE.replace(b"DATA", b"BDAT 3") + b"a\r\nNOOP\r\n") == [250, 250, 250]
    session.transport.clear()
    slow.callback(None)
    assert session.codes() == [250, 250]


@pytest.mark.parametrize("late", [False, True])
def test_a_chunk_that_cannot_be_kept_is_refused_and_the_rest_with_it(late):
    session = Session(ContentSlice=(lambda: failing(SpoolFull("no"))) if late else SpoolFull("no"))
    said = session.say(ENVELOPE.replace(b"DATA", b"BDAT 3") + b"a\r\nBDAT 3 LAST\r\nb\r\nNOOP\r\n")
    assert said == [250, 250, 250, 452, 503, 250]
    assert session.handler.names()[-2:] == ["ContentSlice", "ContentDropped"]


@pytest.mark.parametrize("refused", [False, True])
def test_octets_of_a_chunk_are_progress_and_half_a_command_between_chunks_is_none(refused):
    session = Session(**({"ContentBegins": replies.NO_ROOM} if refused else {}))
    session.say(ENVELOPE.replace(b"DATA", b"BDAT 9"))
    for _ in range(4):
        session.wait(PROFILE.patience.data_block - 1)
        session.say(b"ab")
    assert session.handler.reasons == []
    session.say(b"c")
    for _ in range(4):
        session.wait(PROFILE.patience.command / 2)
        session.say(b"N")
    session.lose()
    assert session.handler.reasons == ["timed out waiting for command"]


def test_a_slice_that_cannot_be_kept_though_the_end_is_there():
    session = content(ContentSlice=OSError("no"))
    assert session.say(b"hi\r\n.\r\n") == [451]
    assert session.handler.names()[-2:] == ["ContentSlice", "ContentDropped"]


async def failing(error: Exception) -> None:
    raise error


def test_a_greeting_that_fails_is_421():
    session = Session(Opened=ValueError())
    assert session.codes() == [421]
    assert session.transport.disconnecting


def test_a_failed_login_check_is_454():
    session = Session(Authenticate=ValueError())
    assert session.say(b"EHLO x\r\nAUTH PLAIN AGEAYg==\r\n") == [250, 454]


def test_a_mechanism_that_raises_ends_the_session():
    class Broken:
        def start(self, initial: object) -> object:
            raise RuntimeError

    session = Session()
    session.protocol.core.mechanisms = {"PLAIN": Broken}
    assert session.say(b"EHLO x\r\nAUTH PLAIN\r\n") == [250, 421]
    assert session.transport.disconnecting
    assert len(session.log.failures) == 1


# Deadlines.


def test_the_peer_has_its_time_from_its_last_command():
    session = Session()
    session.wait(9)
    assert session.say(b"EHLO x\r\n") == [250]
    session.wait(19)
    session.say(b"half a li")
    session.wait(0.5)
    assert not session.transport.disconnecting
    session.wait(1)
    assert session.codes() == [421]
    assert session.transport.disconnecting
    assert session.log.failures == []


def test_every_piece_of_content_is_progress():
    session = content()
    for _ in range(3):
        session.wait(29)
        session.say(b".")
    session.wait(31)
    assert session.codes() == [421]
    session.lose()
    assert session.handler.reasons == ["timed out waiting for data_block"]


def test_while_we_owe_an_answer_the_deadline_does_not_run():
    slow: Deferred[Any] = Deferred()
    session = Session(Hello=slow)
    session.say(b"EHLO x\r\n")
    session.wait(599)
    assert not session.transport.aborted
    assert not session.transport.disconnecting
    slow.callback(replies.OK)
    session.wait(19)
    assert session.codes() == [250]
    session.wait(2)
    assert session.codes() == [250, 421]


def test_while_we_keep_a_slice_the_deadline_does_not_run():
    slow: Deferred[None] = Deferred()
    session = content(ContentSlice=slow)
    session.say(b"hi\r\n")
    session.wait(599)
    assert not session.transport.aborted
    assert not session.transport.disconnecting
    slow.callback(None)
    session.wait(29)
    assert session.say(b".\r\n") == [250]


def test_a_question_that_nobody_answers_ends_in_a_cut_connection():
    never: Deferred[Any] = Deferred()
    session = content(ContentEnds=never)
    session.say(b".\r\n")
    session.wait(601)
    assert session.transport.aborted
    assert session.codes() == []
    assert str(session.log.failures[0][1]) == "an answer took too long"
    assert not never.called


def test_who_does_not_close_after_us_is_cut():
    session = Session()
    session.say(b"QUIT\r\n")
    session.wait(4)
    assert not session.transport.aborted
    session.wait(1)
    assert session.transport.aborted


def test_who_never_reads_is_cut():
    session = content(ContentSlice=lambda: coroutine(None))
    session.protocol.pauseProducing()
    session.say(b"hi\r\n.\r\n")
    session.wait(31)
    assert session.transport.aborted


# Losing the connection.


@pytest.mark.parametrize(
    ("event", "cancelled"), [("MailFrom", True), ("ContentEnds", False), ("ContentSlice", True)]
)
def test_only_the_end_of_content_outlives_the_connection(event, cancelled):
    gone: list[Any] = []
    slow: Deferred[Any] = Deferred(gone.append)
    session = Session(**{event: slow})
    session.say(ENVELOPE)
    session.say(b"hi\r\n.\r\n")
    session.lose()
    assert bool(gone) is cancelled
    assert session.handler.reasons == ["Connection to the other side was lost in a non-clean fashion."]
    if not cancelled:
        slow.callback(replies.OK)
    assert session.log.failures == []
    session.wait(10_000)
    session.protocol.hang_up()
    session.protocol.abort()
    assert not session.transport.aborted


def test_a_failure_after_the_end_is_still_logged():
    slow: Deferred[Any] = Deferred()
    session = content(ContentEnds=slow)
    session.say(b".\r\n")
    session.lose()
    slow.errback(OSError("disk"))
    assert len(session.log.failures) == 1


def test_a_peer_that_sends_no_more_is_still_answered():
    slow: Deferred[Any] = Deferred()
    session = content(ContentEnds=slow)
    session.say(b"hi\r\n.\r\nNOOP\r\n")
    session.protocol.readConnectionLost()
    assert not session.transport.disconnecting
    slow.callback(replies.OK)
    assert session.codes() == [250, 250]
    assert session.transport.disconnecting


# Stopping.


def test_an_idle_session_is_told_at_once():
    session = Session()
    session.say(b"EHLO x\r\nMAIL FROM:<a@b>\r\n")
    session.protocol.hang_up()
    assert session.codes() == [250, 250, 421]
    assert session.transport.disconnecting


def test_a_content_under_way_is_finished_first():
    session = content()
    session.say(b"hi\r\n")
    session.protocol.hang_up()
    assert session.protocol.busy
    assert session.say(b".\r\nNOOP\r\n") == [250, 421]
    assert session.transport.disconnecting


def test_a_question_under_way_is_answered_first():
    slow: Deferred[Any] = Deferred()
    session = Session(MailFrom=slow)
    session.say(ENVELOPE)
    session.protocol.hang_up(reply(421, (4, 3, 2), "bye"))
    assert session.codes() == [250]
    slow.callback(replies.SENDER_OK)
    assert session.codes() == [250, 250, 421]


def test_abort():
    session = Session()
    session.protocol.abort()
    assert session.transport.aborted


# TLS.


def test_starttls_comes_after_the_220_and_before_anything_else():
    session = Session()
    assert session.say(b"EHLO x\r\nSTARTTLS\r\nEHLO evil\r\n") == [250, 220]
    context, written = session.transport.tls
    assert context == "context"
    assert written.endswith(b"220 2.0.0 Ready to start TLS\r\n")
    assert session.handler.names() == ["Opened", "Hello", "StartTls", "TransactionReset"]
    assert session.protocol.core.tls


def test_implicit_tls_comes_before_the_greeting():
    session = Session(tls=True)
    assert session.transport.tls == ("context", b"")
    assert session.codes() == [220]


class Collector(Protocol):
    """A client that waits for text."""

    received = b""

    def __init__(self) -> None:
        self.waiting: tuple[bytes, Deferred[bytes]] | None = None
        self.closed: Deferred[None] = Deferred()

    def until(self, text: bytes) -> Deferred[bytes]:
        done: Deferred[bytes] = Deferred()
        self.waiting = (text, done)
        self.dataReceived(b"")
        return done

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.waiting is not None and self.waiting[0] in self.received:
            (_, done), self.waiting = self.waiting, None
            received, self.received = self.received, b""
            done.callback(received)

    def connectionLost(self, reason: Any = None) -> None:
        self.closed.callback(None)


class OverSockets(TestCase):
    """Real sockets, real TLS."""

    async def connect(self, tls: bool = False) -> Collector:
        chain, key = Path(self.mktemp()), Path(self.mktemp())
        for file, octets in zip((chain, key), self_signed("localhost", 1_700_000_000.0), strict=True):
            file.write_bytes(octets)
        self.recorder, self.log = Recorder(), Log()
        surroundings = Surroundings(Clock(), self.log, server_context(chain, key))
        factory = Factory.forProtocol(Protocol)
        factory.buildProtocol = lambda _: ServerProtocol(  # type: ignore[method-assign]
            ServerCore(PROFILE, PASSWORD_MECHANISMS, tls), self.recorder, surroundings
        )
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return await ClientCreator(reactor, Collector).connectTCP("127.0.0.1", port.getHost().port)

    async def test_starttls(self) -> None:
        client = await self.connect()
        await client.until(b"220 ")
        client.transport.write(b"EHLO x\r\nSTARTTLS\r\nMAIL FROM:<evil@x>\r\n")
        await client.until(b"220 2.0.0 Ready")
        client.transport.startTLS(ClientContextFactory())
        client.transport.write(b"NOOP\r\n" + ENVELOPE)
        await client.until(b"354 ")
        client.transport.write(b"hi\r\n.\r\nQUIT\r\n")
        await client.until(b"221 ")
        await client.closed
        assert self.recorder.names().count("MailFrom") == 1
        assert self.log.failures == []

    async def test_implicit_tls_with_a_large_content(self) -> None:
        client = await self.connect(tls=True)
        client.transport.startTLS(ClientContextFactory())
        await client.until(b"220 ")
        client.transport.write(ENVELOPE)
        await client.until(b"354 ")
        client.transport.write((b"x" * 998 + b"\r\n") * 2000 + b".\r\nQUIT\r\n")
        await client.until(b"221 ")
        await client.closed
        slices = [event for event in self.recorder.events if isinstance(event, events.ContentSlice)]
        assert sum(len(event.octets) for event in slices) == 999 * 2000

    async def test_a_client_that_closes_its_side_gets_its_answers(self) -> None:
        client = await self.connect()
        await client.until(b"220 ")
        client.transport.write(ENVELOPE + b"hi\r\n.\r\n")
        client.transport.loseWriteConnection()
        await client.until(b"250 2.0.0 Ok\r\n")
        await client.closed
        assert self.recorder.reasons == ["the peer ended the connection"]

    async def test_a_reset_connection(self) -> None:
        client = await self.connect()
        await client.until(b"220 ")
        ended: Deferred[str] = Deferred()
        self.recorder.lost = ended.callback  # type: ignore[method-assign]
        client.transport.abortConnection()
        assert await ended
        assert self.log.failures == []
