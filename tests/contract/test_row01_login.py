"""Row 1: the portal is asked for exactly two interfaces, in order, with a mind of None."""

from __future__ import annotations

import pytest
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory

from tests.contract.application import Application, Delivery, DeliveryFactory, answering
from tests.contract.differences import differs
from tests.contract.servers import FROM, HELLO, MESSAGE, PLAIN, TO, Ours, Stock, codes, same

ASKED = (None, "IMessageDeliveryFactory", "IMessageDelivery")


def test_the_anonymous_login() -> None:
    app = same(Application, *MESSAGE)
    assert app.arguments("login") == [("Anonymous", *ASKED)]
    assert app.arguments("requestAvatar") == [((), *ASKED)]


def test_a_login_with_a_password() -> None:
    app = same(Application, HELLO, PLAIN, FROM, TO)
    assert app.arguments("login") == [("PLAINCredentials", *ASKED)]
    assert app.arguments("requestAvatar") == [(b"anna", *ASKED)]


def test_a_realm_that_answers_the_first_interface() -> None:
    class First:
        def __call__(self, plain, avatar_id, mind, *interfaces):
            return interfaces[0], DeliveryFactory(app_of[0]), plain[2]

    app_of = []

    def app() -> Application:
        app_of[:] = [Application(requestAvatar=First())]
        return app_of[0]

    calls = []
    for kind in (Stock, Ours):
        server = kind(app())
        assert codes(server.talk(*MESSAGE))[-1] == 250
        calls.append(server.app.calls)
    assert calls[0] == calls[1]
    assert "getMessageDelivery" in [name for name, *_ in calls[1]]


class Undeclared:
    """Able, but without ``@implementer``."""

    def __init__(self, app: Application) -> None:
        delivery = Delivery(app)
        self.validateFrom = delivery.validateFrom
        self.validateTo = delivery.validateTo
        self.receivedHeader = delivery.receivedHeader


def test_a_delivery_that_declares_nothing() -> None:
    def app() -> Application:
        made = Application()
        made.behaviours["requestAvatar"] = lambda plain, *args: (IMessageDelivery, Undeclared(made), plain[2])
        return made

    assert "eomReceived" in same(app, *MESSAGE).names()


def test_a_richer_interface_counts_as_the_one_that_was_asked_for() -> None:
    class IRicher(IMessageDelivery):
        pass

    def app() -> Application:
        made = Application()
        made.behaviours["requestAvatar"] = lambda plain, *args: (IRicher, plain[1], plain[2])
        return made

    server = Ours(app())
    assert codes(server.talk(*MESSAGE))[-1] == 250


@differs(
    1,
    "whatever the realm answers for one of the two interfaces is taken for an avatar, `None` and `True` too",
    "an answer that cannot deliver is a bug of the realm: 451 at MAIL, 454 at AUTH, and the log names it",
)
@pytest.mark.parametrize("avatar", [None, True, object()], ids=["None", "True", "object"])
@pytest.mark.parametrize("interface", [IMessageDelivery, IMessageDeliveryFactory])
def test_an_answer_that_is_no_avatar(avatar: object, interface: object) -> None:
    logouts: list[int] = []
    answer = answering((interface, avatar, lambda: logouts.append(1)))
    stock = Stock(Application(requestAvatar=answer))
    assert stock.talk(HELLO, PLAIN)[-1].startswith("235")
    ours = Ours(Application(requestAvatar=answer))
    assert codes(ours.talk(HELLO, PLAIN, FROM))[1:] == [454, 451]
    assert ours.culprits == ["tests.contract.application.Realm.requestAvatar"] * 2
    assert logouts == [1, 1]


@differs(
    1,
    "a realm that answers an interface nobody asked for: the client is not answered, or the connection ends",
    "451 at MAIL, 454 at AUTH, and the log names the realm",
)
@pytest.mark.parametrize("answer", [(IMessageDelivery,), None, (str, 1, lambda: None), (None, None, None), "x"])
def test_an_interface_that_nobody_asked_for(answer: object) -> None:
    stock = Stock(Application(requestAvatar=answering(answer)))
    assert not any(code in (250, 235) for code in codes(stock.talk(HELLO, PLAIN)[1:]))
    ours = Ours(Application(requestAvatar=answering(answer)))
    assert codes(ours.talk(HELLO, PLAIN, FROM))[1:] == [454, 451]
    assert ours.culprits == ["tests.contract.application.Realm.requestAvatar"] * 2
