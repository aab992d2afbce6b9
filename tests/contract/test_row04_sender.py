"""Row 4: validateFrom gets two octet strings and an Address; what it answers is the sender."""

from __future__ import annotations

import gc

import pytest
from twisted.internet.defer import AlreadyCalledError
from twisted.logger import globalLogPublisher
from twisted.mail.smtp import Address, SMTPBadSender

from tests.contract.application import (
    Application,
    Later,
    answering,
    coroutine,
    failing,
    failing_coroutine,
    fired,
    raising,
    refusal,
)
from tests.contract.differences import differs
from tests.contract.servers import FROM, HELLO, MESSAGE, TO, Ours, Stock, codes, same

CULPRIT = ["tests.contract.application.Delivery.validateFrom"]


@pytest.mark.parametrize(
    "path",
    [b"<>", b"<x@far.example>", b"<X.y@Far.EXAMPLE>", b'<"a b"@far.example>', b"<a+b@far.example>",
     b"<@one,@two:x@far.example>"],
)  # fmt: skip
def test_its_arguments(path: bytes) -> None:
    app = same(Application, HELLO, b"MAIL FROM:" + path, TO)
    [(helo, origin)] = app.arguments("validateFrom")
    assert helo == (b"client.example", b"192.0.2.7")
    assert origin[0] == "Address"
    assert {type(part) for part in origin[1:]} == {bytes}


def test_an_address_literal_is_no_address_for_twisted() -> None:
    for server in (Stock(Application()), Ours(Application())):
        assert codes(server.talk(HELLO, b"MAIL FROM:<x@[192.0.2.1]>"))[1] in (501, 553)
        assert "validateFrom" not in server.app.names()


@pytest.mark.parametrize("how", [None, fired, coroutine])
@pytest.mark.parametrize("answer", [Address("y@other.example"), "z@other.example", b"w@other.example"])
def test_its_answer_replaces_the_sender(how, answer: object) -> None:
    def app() -> Application:
        return Application(validateFrom=lambda plain, *args: answer if how is None else how(answer))

    app_ = same(app, *MESSAGE)
    assert b"other.example" in app_.arguments("validateTo")[0][0][2]
    assert app_.arguments("receivedHeader")[0][1] != ("Address", b"x", b"far.example")


@pytest.mark.parametrize("how", [raising, failing, failing_coroutine])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SMTPBadSender("x@far.example", 550, "not you"), ["550 5.0.0 not you"]),
        (refusal(451, "5.7.1 later"), ["451 4.0.0 5.7.1 later"]),
        (refusal(553, "5.7.1 never"), ["553 5.7.1 never"]),
        (refusal(450, "4.2.1 one\n4.2.1 two\nthree"), ["450-4.2.1 one", "450-4.2.1 two", "450 4.2.1 three"]),
        (refusal(550, "x\r\n250 ok"), ["550-5.0.0 x", "550 5.0.0 250 ok"]),
        (refusal(550, ""), ["550 5.0.0 "]),
    ],
)
def test_its_refusal_keeps_code_and_text(how, error: Exception, said: list[str]) -> None:
    def app() -> Application:
        return Application(validateFrom=how(error))

    assert same(app, HELLO, FROM, TO).names() == ["login", "requestAvatar", "validateFrom"]
    ours = Ours(app())
    ours.talk(HELLO)
    assert ours.send(FROM + b"\r\n") == said
    assert ours.culprits == []


@differs(
    4,
    "the text of an SMTPServerError must be `str`; with `bytes` the client gets no answer",
    "`str` or `bytes`, several lines allowed",
)
def test_a_text_in_octets() -> None:
    error = refusal(550, b"no\nnever")
    assert codes(Stock(Application(validateFrom=raising(error))).talk(HELLO, FROM)) == [250]
    error.__traceback__ = None
    gc.collect()  # its unhandled error is logged now, and not in the midst of another test
    ours = Ours(Application(validateFrom=raising(error)))
    ours.talk(HELLO)
    assert ours.send(FROM + b"\r\n") == ["550-5.0.0 no", "550 5.0.0 never"]


@pytest.mark.parametrize("how", [raising, failing, failing_coroutine])
def test_any_other_failure_is_451_and_names_it(how) -> None:
    def app() -> Application:
        return Application(validateFrom=how(ZeroDivisionError("a secret of ours")))

    stock, ours = Stock(app()), Ours(app())
    for server in (stock, ours):
        assert codes(server.talk(HELLO, FROM, TO)) == [250, 451, 503]
    assert ours.culprits == CULPRIT
    assert "secret" not in ours.transport.value().decode()


@differs(
    4,
    "a `validateFrom` that forgets its return (`None`, `True`) is answered 250, and every RCPT after it 503",
    "451 at MAIL, and the log names it",
)
@pytest.mark.parametrize("answer", [None, True])
def test_an_answer_that_is_no_sender(answer: object) -> None:
    stock = Stock(Application(validateFrom=answering(answer)))
    assert codes(stock.talk(HELLO, FROM))[1] == 250
    ours = Ours(Application(validateFrom=answering(answer)))
    assert codes(ours.talk(HELLO, FROM, FROM)) == [250, 451, 451]
    assert ours.culprits == CULPRIT * 2


@differs(
    4,
    "the code of an SMTPServerError is said whatever it is: 250 for a refusal",
    "what is no code of a refusal is a bug: 451, and the log names the hook",
)
@pytest.mark.parametrize("code", [250, 354, 99, 600, "550"])
def test_a_code_that_is_no_refusal(code: object) -> None:
    ours = Ours(Application(validateFrom=raising(refusal(code))))
    assert codes(ours.talk(HELLO, FROM, TO)) == [250, 451, 503]
    assert ours.culprits == CULPRIT
    assert codes(Stock(Application(validateFrom=raising(refusal(250)))).talk(HELLO, FROM)) == [250, 250]


@differs(
    4,
    "a command behind a hook that has not answered is executed before its answer, and answered out of order",
    "one question is open at a time: replies stand in the order of the commands",
)
def test_pipelining_behind_a_hook() -> None:
    later = Later()
    stock = Stock(Application(validateFrom=later))
    stock.talk(HELLO)
    assert codes(stock.send(FROM + b"\r\n" + TO + b"\r\n")) == [503]
    ours = Ours(Application(validateFrom=Later()))
    ours.talk(HELLO)
    assert ours.send(FROM + b"\r\n" + TO + b"\r\n") == []
    ours.app.behaviours["validateFrom"].fire()
    assert codes(ours.said()) == [250, 250]


@differs(
    4,
    "a hook that never answers keeps the client waiting until it gives up",
    "after a bound of ours (`factory.bounds`) 451; the Deferred is cancelled, and the log names the hook",
)
def test_a_hook_that_never_answers() -> None:
    later = Later()
    ours = Ours(Application(validateFrom=later))
    ours.talk(HELLO, FROM)
    stock = Stock(Application(validateFrom=Later()))
    assert codes(stock.talk(HELLO, FROM)) == [250]
    assert ours.send(b"") == []
    globalLogPublisher.addObserver(ours.events.append)
    for _ in range(300):
        ours.clock.advance(1)
    globalLogPublisher.removeObserver(ours.events.append)
    assert codes(ours.said()) == [451]
    assert ours.culprits == CULPRIT
    [(answer, _)] = later.open
    assert answer.called
    answer.callback("too late")  # nobody hears it
    assert codes(ours.talk(b"NOOP")) == [250]


def test_a_hook_that_answers_twice() -> None:
    def twice(plain, *args):
        answer = fired(plain)
        answer.callback(plain)
        return answer

    ours = Ours(Application(validateFrom=twice))
    assert codes(ours.talk(HELLO, FROM, TO)) == [250, 451, 503]
    assert ours.culprits == CULPRIT


def test_a_second_answer_later_changes_nothing() -> None:
    later = Later()
    ours = Ours(Application(validateFrom=later))
    ours.talk(HELLO, FROM)
    [(answer, plain)] = later.open
    later.fire()
    assert codes(ours.said()) == [250]
    with pytest.raises(AlreadyCalledError):
        answer.callback(plain)
    assert ours.said() == []
    ours.app.behaviours.clear()
    assert codes(ours.talk(TO)) == [250]


def test_a_connection_lost_meanwhile_cancels_the_hook() -> None:
    later = Later()
    ours = Ours(Application(validateFrom=later))
    ours.talk(HELLO, FROM)
    ours.lose()
    [(answer, _)] = later.open
    assert answer.called
    assert ours.culprits == []
    assert ours.app.names()[-1] == "logout"
