"""Row 2: without AUTH the anonymous login happens at the first MAIL, and again until it succeeds."""

from __future__ import annotations

import pytest
from twisted.cred.error import LoginDenied, UnauthorizedLogin, UnhandledCredentials

from tests.contract.application import Application, answering, coroutine, failing, fired, raising
from tests.contract.differences import differs
from tests.contract.servers import CONTENT, FROM, HELLO, MESSAGE, PLAIN, TO, Ours, Stock, codes, same

# What a stock server does with a coroutine: it never awaits it.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")


def test_one_login_for_all_transactions() -> None:
    app = same(Application, *MESSAGE, FROM, TO, b"DATA", *CONTENT, FROM, b"RSET", FROM)
    assert app.names().count("login") == 1
    assert app.names().count("validateFrom") == 4


def test_no_login_before_mail() -> None:
    server = Ours(Application())
    server.talk(HELLO, b"NOOP", b"RSET", TO, b"DATA")
    assert server.app.calls == []


@pytest.mark.parametrize("error", [UnauthorizedLogin(), UnhandledCredentials("x"), LoginDenied()])
@pytest.mark.parametrize("how", [raising, failing])
def test_a_refused_login_is_asked_again(error: Exception, how) -> None:
    def app() -> Application:
        return Application(requestAvatar=how(error))

    assert same(app, HELLO, FROM, FROM, FROM).names() == ["login", "requestAvatar"] * 3
    assert codes(Ours(app()).talk(HELLO, FROM)) == [250, 550]


def test_nobody_checks_strangers() -> None:
    def app() -> Application:
        return Application(anonymous=False)

    assert same(app, HELLO, FROM, FROM).names() == ["login", "login"]
    assert codes(Ours(app()).talk(HELLO, FROM, PLAIN, FROM)) == [250, 550, 235, 250]


def test_the_login_succeeds_at_last() -> None:
    def app() -> Application:
        refused = [UnauthorizedLogin(), UnauthorizedLogin()]

        def behaviour(plain, *args):
            if refused:
                raise refused.pop()
            return plain

        return Application(requestAvatar=behaviour)

    app_ = same(app, HELLO, FROM, FROM, FROM, b"RSET", FROM)
    assert app_.names().count("login") == 3


def test_a_realm_that_answers_later() -> None:
    assert same(lambda: Application(requestAvatar=fired), *MESSAGE).names()[-1] == "eomReceived"


def test_a_delivery_factory_is_asked_once_for_each_mail() -> None:
    def app() -> Application:
        return Application(avatar_is_factory=True)

    assert same(app, *MESSAGE, FROM, TO, b"DATA", *CONTENT).names().count("getMessageDelivery") == 2


@differs(
    2,
    "`getMessageDelivery` must answer at once",
    "it may answer a Deferred or a coroutine, as every hook may",
)
@pytest.mark.parametrize("how", [fired, coroutine])
def test_a_delivery_factory_that_answers_later(how) -> None:
    stock = Stock(Application(True, getMessageDelivery=how))
    assert 250 not in codes(stock.talk(*MESSAGE)[1:])
    ours = Ours(Application(True, getMessageDelivery=how))
    assert codes(ours.talk(*MESSAGE))[-1] == 250


@differs(
    2,
    "a delivery factory that answers `None` is taken for no login: the anonymous one begins again, without an end",
    "451, and the log names the factory",
)
@pytest.mark.parametrize("answer", [True, object(), "delivery"])
def test_a_delivery_factory_that_answers_something_else(answer: object) -> None:
    ours = Ours(Application(True, getMessageDelivery=answering(answer)))
    assert codes(ours.talk(HELLO, FROM)) == [250, 451]
    assert ours.culprits == ["tests.contract.application.DeliveryFactory.getMessageDelivery"]
    none = Ours(Application(True, getMessageDelivery=answering(None)))
    assert codes(none.talk(HELLO, FROM, FROM)) == [250, 451, 451]
    assert none.app.names().count("login") == 1
    # The stock server logs in again within the same MAIL, without an end.
    limit = [0]

    def counted(plain, *args):
        limit[0] += 1
        return None if limit[0] < 5 else plain

    stock = Stock(Application(True, getMessageDelivery=counted))
    assert codes(stock.talk(HELLO, FROM)) == [250, 250]
    assert stock.app.names().count("login") == 5


@differs(
    2,
    "MAIL is taken before EHLO or HELO; the application gets `(None, str)` for `helo`",
    "503 (RFC 5321 §4.1.4), and `helo` is always two `bytes`",
)
def test_mail_without_a_greeting() -> None:
    stock, ours = Stock(Application()), Ours(Application())
    assert codes(stock.talk(FROM)) == [250]
    assert stock.app.arguments("validateFrom")[0][0] == (None, "192.0.2.7")
    assert codes(ours.talk(FROM)) == [503]
    ours.talk(b"HELO old.example", FROM)
    assert ours.app.arguments("validateFrom")[0][0] == (b"old.example", b"192.0.2.7")
