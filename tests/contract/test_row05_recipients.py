"""Row 5: validateTo gets a User and answers a callable, which is called at DATA, once for each recipient."""

from __future__ import annotations

from itertools import permutations

import pytest
from twisted.mail.smtp import SMTPBadRcpt

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

CULPRIT = ["tests.contract.application.Delivery.validateTo"]
ANNA, BERT = b"anna@here.example", b"bert@here.example"


@pytest.mark.parametrize("path", [b"<anna@here.example>", b"<Anna@HERE.example>", b"<postmaster>", b'<"a b"@x>'])
def test_its_arguments(path: bytes) -> None:
    app = same(Application, HELLO, FROM, b"RCPT TO:" + path, b"DATA", *CONTENT)
    [(user,)] = app.arguments("validateTo")
    assert user[0] == "User"
    assert user[2:] == (("Address", b"x", b"far.example"), (b"client.example", b"192.0.2.7"))
    [user] = app.users
    assert str(user) == bytes(user).decode() == str(user.dest)


@pytest.mark.parametrize("how", [None, fired, coroutine])
def test_its_callable_is_called_at_data(how) -> None:
    def app() -> Application:
        return Application(**({} if how is None else {"validateTo": how}))

    names = same(app, HELLO, FROM, TO, TO_BERT).names()
    assert "callable" not in names
    names = same(app, HELLO, FROM, TO, TO_BERT, b"DATA").names()
    assert names[-6:] == ["callable", "receivedHeader", "lineReceived"] * 2


def test_the_same_recipient_twice_is_two() -> None:
    assert same(Application, HELLO, FROM, TO, TO, b"DATA", *CONTENT).names().count("callable") == 2


def test_not_for_a_transaction_that_was_given_up() -> None:
    app = same(Application, HELLO, FROM, TO, b"RSET", FROM, TO_BERT, b"DATA", *CONTENT)
    assert [user[0][1][1] for user in app.arguments("callable")] == [b"bert"]
    assert same(Application, HELLO, FROM, TO, HELLO, FROM, TO_BERT, b"DATA").names().count("callable") == 1


@pytest.mark.parametrize("how", [raising, failing, failing_coroutine])
def test_its_refusal_is_of_that_recipient_alone(how) -> None:
    def app() -> Application:
        return Application(validateTo=only_for(ANNA, how(SMTPBadRcpt("anna@here.example", 550, "5.1.1 nobody"))))

    assert same(app, HELLO, FROM, TO, TO_BERT, b"DATA", *CONTENT).names().count("eomReceived") == 1
    ours = Ours(app())
    assert ours.talk(HELLO, FROM, TO, TO_BERT)[2:] == ["550 5.1.1 nobody", "250 2.1.5 Recipient ok"]


@pytest.mark.parametrize("how", [raising, failing, failing_coroutine])
def test_any_other_failure_is_451_and_names_it(how) -> None:
    def app() -> Application:
        return Application(validateTo=how(ZeroDivisionError()))

    for server in (Stock(app()), Ours(app())):
        assert codes(server.talk(HELLO, FROM, TO))[-1] == 451
    assert server.culprits == CULPRIT


@differs(
    5,
    "an answer of `validateTo` that is no callable is answered 250, and found out at DATA: 550",
    "451 at RCPT, and the log names the hook",
)
@pytest.mark.parametrize("answer", [None, True, object()])
def test_an_answer_that_is_no_callable(answer: object) -> None:
    stock = Stock(Application(validateTo=answering(answer)))
    assert codes(stock.talk(HELLO, FROM, TO, b"DATA")) == [250, 250, 250, 550]
    ours = Ours(Application(validateTo=answering(answer)))
    assert codes(ours.talk(HELLO, FROM, TO, b"DATA")) == [250, 250, 451, 554]
    assert ours.culprits == CULPRIT


@differs(
    5,
    "at DATA the text of an SMTPServerError must be `bytes`; with `str` the connection ends",
    "`str` or `bytes`, everywhere",
)
@pytest.mark.parametrize("hook", ["callable", "receivedHeader"])
def test_a_refusal_at_data_answers_data(hook: str) -> None:
    for text in (b"4.2.2 full", "4.2.2 full"):
        stock, ours = (kind(Application(**{hook: raising(refusal(452, text))})) for kind in (Stock, Ours))
        assert stock.talk(HELLO, FROM, TO, b"DATA")[3:] == (["452 4.2.2 full"] if text == b"4.2.2 full" else [])
        assert ours.talk(HELLO, FROM, TO, b"DATA", b"NOOP")[3:] == ["452 4.2.2 full", "250 2.0.0 Ok"]
        assert ours.app.names()[: len(stock.app.names()) - 1] == stock.app.names()[: len(stock.app.names()) - 1]


@differs(
    5,
    "when something fails at DATA, the sink that was being made is not told",
    "every sink that was made is told `connectionLost`, once",
)
def test_a_failure_at_data_is_told_to_the_sinks() -> None:
    def app() -> Application:
        return Application(receivedHeader=lambda plain, helo, origin, recipients: at(recipients[0], plain))

    def at(user, plain):
        if bytes(user.dest) == BERT:
            raise refusal(550, b"no")
        return plain

    stock, ours = Stock(app()), Ours(app())
    for server in (stock, ours):
        assert codes(server.talk(HELLO, FROM, TO, TO_BERT, b"DATA", b"RSET"))[-2:] == [550, 250]
        server.lose()
    assert stock.app.arguments("connectionLost") == [(ANNA,)]
    assert ours.app.arguments("connectionLost") == [(ANNA,), (BERT,)]


@differs(
    5,
    "any other failure at DATA is a permanent 550",
    "451, and the log names the hook",
)
@pytest.mark.parametrize("hook", ["callable", "receivedHeader", "lineReceived"])
def test_any_other_failure_at_data(hook: str) -> None:
    stock = Stock(Application(**{hook: raising(ZeroDivisionError())}))
    assert codes(stock.talk(HELLO, FROM, TO, b"DATA"))[-1] == 550
    ours = Ours(Application(**{hook: raising(ZeroDivisionError())}))
    assert codes(ours.talk(HELLO, FROM, TO, b"DATA", b"NOOP"))[-2:] == [451, 250]
    assert len(ours.culprits) == 1


@differs(5, "the callable must make its sink at once", "it may answer a Deferred or a coroutine")
@pytest.mark.parametrize("how", [fired, coroutine])
def test_a_callable_that_answers_later(how) -> None:
    assert 354 not in codes(Stock(Application(callable=how)).talk(HELLO, FROM, TO, b"DATA"))
    ours = Ours(Application(callable=how))
    assert codes(ours.talk(*MESSAGE))[-1] == 250
    assert ours.app.names()[-1] == "eomReceived"


@pytest.mark.parametrize("answer", [None, 3, object()])
def test_a_callable_that_makes_no_sink(answer: object) -> None:
    ours = Ours(Application(callable=answering(answer)))
    assert codes(ours.talk(HELLO, FROM, TO, b"DATA"))[-1] == 451
    assert "Delivery.validateTo" in ours.culprits[0] or "lambda" in ours.culprits[0]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_deferreds_that_fire_in_every_order_under_pipelining(order: tuple[int, ...]) -> None:
    """Each recipient has its Deferred before it is asked; the application fires them in any order."""
    names = [b"anna", b"bert", b"carl"]
    later = [Later() for _ in names]
    waiting = {name: one(None) for name, one in zip(names, later, strict=True)}
    made: list[bytes] = []

    def behaviour(plain, user):
        return waiting[user.dest.local].addCallback(lambda _: lambda: (made.append(user.dest.local), plain())[1])

    ours = Ours(Application(validateTo=behaviour))
    commands = [HELLO, FROM, *(b"RCPT TO:<%s@here.example>" % name for name in names), b"DATA", b""]
    assert codes(ours.send(b"\r\n".join(commands)))[-1] == 250
    said: list[str] = []
    for number in order:
        later[number].fire()
        said += ours.said()
    assert codes(said) == [250, 250, 250, 354]
    assert made == names


@differs(
    5,
    "behind recipients that are being checked, DATA is taken at once: those answered later are lost or mixed up",
    "every recipient is answered before DATA is looked at",
)
def test_data_behind_a_recipient() -> None:
    later = Later()
    stock = Stock(Application(validateTo=later))
    stock.talk(HELLO, FROM)
    assert codes(stock.send(TO + b"\r\nDATA\r\n")) == [503]
