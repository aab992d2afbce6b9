"""Row 8: lines, the end of a content, and contents that have no end."""

from __future__ import annotations

from itertools import product

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogPublisher

from mailserver.smtp.limits import ServerLimits
from tests.contract.application import (
    Application,
    Later,
    answering,
    coroutine,
    failing,
    failing_coroutine,
    fired,
    only_for,
    raising,
    refusal,
)
from tests.contract.differences import differs
from tests.contract.servers import (
    CONTENT,
    FROM,
    HELLO,
    MESSAGE,
    TO,
    TO_BERT,
    Ours,
    Stock,
    codes,
    same,
)

# What a stock server does with a coroutine: it never awaits it.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")

ANNA, BERT = b"anna@here.example", b"bert@here.example"
TWO = (HELLO, FROM, TO, TO_BERT, b"DATA", *CONTENT)
CULPRIT = ["tests.contract.application.Sink.eomReceived"]


def test_lines_come_without_their_ends_and_without_the_stuffed_dot() -> None:
    app = same(Application, HELLO, FROM, TO, b"DATA", b"a: b", b"", b"..", b"...x", b". y", b"caf\xe9", b"", b".")
    assert app.sinks[0].lines[1:] == [b"a: b", b"", b".", b"..x", b" y", b"caf\xe9", b""]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_however_the_octets_are_cut(size: int) -> None:
    whole = Ours(Application())
    whole.talk(*TWO)
    cut = Ours(Application())
    octets = b"\r\n".join(TWO) + b"\r\n"
    for place in range(0, len(octets), size):
        cut.send(octets[place : place + size])
    assert cut.app.calls == whole.app.calls


def test_the_end_is_told_to_all_sinks_in_order() -> None:
    assert same(Application, *TWO).arguments("eomReceived") == [(ANNA,), (BERT,)]


@pytest.mark.parametrize("number", [1, 2])
def test_the_answer_waits_for_every_sink(number: int) -> None:
    commands = TWO if number == 2 else MESSAGE
    for kind in (Stock, Ours):
        later = Later()
        server = kind(Application(eomReceived=later))
        assert codes(server.talk(*commands))[-1] == 354
        for left in range(number, 0, -1):
            assert server.said() == []
            later.fire(left - 1)
        assert codes(server.said()) == [250]


@differs(
    8,
    "`eomReceived` must answer a Deferred: with a plain value or a coroutine the client gets no answer at all",
    "a Deferred, a coroutine or a plain value",
)
@pytest.mark.parametrize("how", [answering("stored"), answering(True), coroutine])
def test_a_plain_answer_or_a_coroutine(how) -> None:
    assert codes(Stock(Application(eomReceived=how)).talk(*MESSAGE))[-1] == 354
    assert codes(Ours(Application(eomReceived=how)).talk(*MESSAGE))[-1] == 250


@differs(
    8,
    "an `eomReceived` that answers `None` (a forgotten `return`) ends the connection without an answer",
    "451, and the log names it",
)
def test_none_is_a_bug() -> None:
    assert codes(Stock(Application(eomReceived=answering(None))).talk(*MESSAGE))[-1] == 354
    ours = Ours(Application(eomReceived=answering(None)))
    assert codes(ours.talk(*MESSAGE))[-1] == 451
    assert ours.culprits == CULPRIT


@differs(
    8,
    "every failure of `eomReceived` is said as `550 Could not send e-mail`, a full disk too",
    "an SMTPServerError keeps its code and text; anything else is 451, and the log names it",
)
@pytest.mark.parametrize("how", [failing, failing_coroutine, raising])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (refusal(452, "4.2.2 full"), "452 4.2.2 full"),
        (refusal(554, b"spam"), "554 5.0.0 spam"),
        (ZeroDivisionError("secret"), "451 4.3.0 Local error in processing, try again later"),
        (CancelledError(), "451 4.3.0 Local error in processing, try again later"),
    ],
)
def test_a_failure_at_the_end(how, error: Exception, said: str) -> None:
    ours = Ours(Application(eomReceived=how(error)))
    assert ours.talk(*MESSAGE)[-1] == said
    assert ours.culprits == ([] if hasattr(error, "code") else CULPRIT)
    if how is failing:
        assert codes(Stock(Application(eomReceived=how(error))).talk(*MESSAGE))[-1] == 550


@differs(
    8,
    "one sink's failure is a permanent 550 for the whole content, although another has stored its copy",
    "the worst class is answered, transient over permanent, and the log says who has the message "
    "(the client may send a duplicate); with a spool behind the listener 250, and a report on the others",
)
@pytest.mark.parametrize("codes_", list(product((None, 452, 550), repeat=2)))
def test_two_sinks_with_two_opinions(codes_: tuple[int | None, int | None]) -> None:
    opinions = iter(codes_)

    def behaviour(plain, name):
        code = next(opinions)
        return plain if code is None else failing(refusal(code))(plain)

    ours = Ours(Application(eomReceived=behaviour))
    expected = 452 if 452 in codes_ else 550 if 550 in codes_ else 250
    assert codes(ours.talk(*TWO))[-1] == expected
    partly = [event for event in ours.events if event.get("event") == "message.partly-stored"]
    assert bool(partly) is (None in codes_ and expected != 250)
    if partly:
        stored = [name.decode() for name, code in zip((ANNA, BERT), codes_, strict=True) if code is None]
        assert partly[0]["stored"] == stored


def test_one_deferred_for_all_sinks() -> None:
    shared: Deferred = Deferred()
    ours = Ours(Application(eomReceived=answering(shared)))
    ours.talk(*TWO)
    shared.errback(refusal(452, "later"))
    assert ours.said() == ["452 4.0.0 later"]
    assert ours.culprits == []


@differs(
    8,
    "after an SMTPServerError in mid-content a lost connection tells the sinks `connectionLost` a second time",
    "once for each sink",
)
def test_a_refusal_in_mid_content() -> None:
    def app() -> Application:
        return Application(lineReceived=lambda plain, name, line: at(line))

    def at(line: bytes) -> None:
        if line == b"hello":
            raise refusal(554, b"5.7.1 not that")

    stock, ours = Stock(app()), Ours(app())
    for server in (stock, ours):
        assert server.talk(*TWO)[-1] == "554 5.7.1 not that"
    assert ours.app.calls == stock.app.calls
    assert ours.app.names()[-3:] == ["lineReceived", "connectionLost", "connectionLost"]
    for server in (stock, ours):
        server.talk(FROM, TO, b"DATA", b"hello")
        server.lose()
    assert stock.app.names().count("connectionLost") == 4
    assert ours.app.names().count("connectionLost") == 3


@differs(
    8,
    "any other exception of `lineReceived` ends the connection",
    "the rest of the content is swallowed, its end is 451, and the log names the sink",
)
def test_any_other_failure_in_mid_content() -> None:
    app = {"lineReceived": only_for(BERT, lambda plain, name, line: 1 / (line != b"hello"))}
    assert codes(Stock(Application(**app)).talk(*TWO))[-1] == 354
    ours = Ours(Application(**app))
    assert codes(ours.talk(*TWO, b"NOOP"))[-2:] == [451, 250]
    assert ours.app.arguments("connectionLost") == [(ANNA,), (BERT,)]
    assert ours.culprits == ["tests.contract.application.Sink.lineReceived"]


@differs(8, "what `lineReceived` answers is ignored", "a Deferred or a coroutine is awaited before the next line")
@pytest.mark.parametrize("how", [fired, coroutine])
def test_lines_that_take_time(how) -> None:
    stock = Stock(Application(lineReceived=Later()))
    assert codes(stock.talk(*TWO))[-1] == 250
    ours = Ours(Application(lineReceived=how))
    assert codes(ours.talk(*TWO))[-1] == 250
    plain = Ours(Application())
    plain.talk(*TWO)
    assert ours.app.calls == plain.app.calls
    later = Later()
    slow = Ours(Application(receivedHeader=answering(b""), lineReceived=later))
    slow.talk(*MESSAGE)
    assert [line for _, line in slow.app.arguments("lineReceived")] == [b"Subject: hi"]
    later.fire()
    assert [line for _, line in slow.app.arguments("lineReceived")] == [b"Subject: hi", b""]


def test_a_connection_lost_in_mid_content() -> None:
    app = same(Application, *TWO[:-1], lose=True)
    assert app.names()[-3:] == ["connectionLost", "connectionLost", "logout"]
    assert "eomReceived" not in app.names()


def test_a_connection_lost_after_the_end_leaves_the_sinks_alone() -> None:
    for kind in (Stock, Ours):
        later = Later()
        server = kind(Application(eomReceived=later))
        server.talk(*TWO)
        server.lose()
        assert "connectionLost" not in server.app.names()
        assert [answer.called for answer, _ in later.open] == [False, False]
        later.fire()
        later.fire()


def test_a_sink_that_raises_in_connectionlost_does_not_harm_the_next() -> None:
    def app() -> Application:
        return Application(connectionLost=raising(ZeroDivisionError()))

    assert same(app, *TWO[:-1], lose=True).names()[-3:] == ["connectionLost", "connectionLost", "logout"]


@differs(
    8,
    "line ends of other kinds pass within a content (class: SMTP smuggling)",
    "a content with a bare CR, a bare LF or a NUL is 550, and the sinks are told `connectionLost`",
    security=True,
)
@pytest.mark.parametrize("line", [b"a\nb", b"a\rb", b"a\0b"])
def test_a_bare_line_end(line: bytes) -> None:
    stock, ours = Stock(Application()), Ours(Application())
    assert codes(stock.talk(HELLO, FROM, TO, b"DATA", line, b"."))[-1] == 250
    assert line in stock.app.sinks[0].lines
    assert codes(ours.talk(HELLO, FROM, TO, b"DATA", line, b"."))[-1] == 550
    assert ours.app.names()[-1] == "connectionLost"


@differs(
    8,
    "a content can end sooner than its sender thinks (class: command injection)",
    "a line may be as long as the content",
    security=True,
)
def test_a_long_line() -> None:
    stock = Stock(Application())
    assert codes(stock.talk(HELLO, FROM, TO, b"DATA", b"x" * 100_000, b"."))[-1] == 500
    ours = Ours(Application())
    assert codes(ours.talk(HELLO, FROM, TO, b"DATA", b"x" * 100_000, b"."))[-1] == 250
    assert len(ours.app.sinks[0].lines[-1]) == 100_000


@differs(8, "a content has no bound", "SIZE is announced and held: 552, and the sinks are told `connectionLost`")
def test_a_large_content() -> None:
    large = [b"x" * 60] * 2
    assert codes(Stock(Application()).talk(HELLO, FROM, TO, b"DATA", *large, b"."))[-1] == 250
    ours = Ours(Application(), limits=ServerLimits(max_message_size=100))
    assert codes(ours.talk(HELLO, FROM, TO, b"DATA", *large, b"."))[-1] == 552
    assert ours.app.names()[-1] == "connectionLost"


def test_an_end_that_never_comes() -> None:
    later = Later()
    ours = Ours(Application(eomReceived=later))
    ours.talk(*TWO)
    globalLogPublisher.addObserver(ours.events.append)
    for _ in range(600):
        ours.clock.advance(1)
    globalLogPublisher.removeObserver(ours.events.append)
    assert codes(ours.said()) == [451]
    assert ours.culprits == CULPRIT * 2
    assert [answer.called for answer, _ in later.open] == [True, True]
