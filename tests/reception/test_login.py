"""Only an IMessageDelivery that says who it is is a login; everything else is a refusal or a fault."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory

from mailserver.message.identity import Identity
from mailserver.reception.login import Refused
from mailserver.smtp.sasl import PasswordCredentials
from tests.harness.reception import ANNA, PASSWORD, Kit, login_to


def now(coroutine: Any) -> Any:
    results: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    assert results, "still waiting"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


def credentials(password: bytes = PASSWORD, authzid: bytes = b"") -> PasswordCredentials:
    return PasswordCredentials(authzid, ANNA.encode(), password)


class FixedPortal:
    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[Any, ...]] = []

    async def login(self, credentials: Any, mind: Any, *interfaces: Any) -> Any:
        self.asked.append((mind, *interfaces))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_the_right_password() -> None:
    login = login_to(Kit().portal)
    assert now(login.with_credentials(credentials())) == Identity(ANNA)
    assert login.identity == Identity(ANNA)


def test_the_wrong_password() -> None:
    login = login_to(Kit().portal)
    with pytest.raises(Refused):
        now(login.with_credentials(credentials(b"wrong")))
    assert login.identity is None


def test_acting_as_another_account_is_refused_before_the_portal_is_asked() -> None:
    kit = Kit()
    with pytest.raises(Refused):
        now(login_to(kit.portal).with_credentials(credentials(authzid=b"bert@mail.test")))
    assert kit.logins == 0


def test_authzid_may_name_the_same_account() -> None:
    login = login_to(Kit().portal)
    assert now(login.with_credentials(credentials(authzid=ANNA.encode()))) == Identity(ANNA)


def test_the_portal_is_asked_for_two_interfaces_in_this_order() -> None:
    portal = FixedPortal(UnauthorizedLogin())
    with pytest.raises(Refused):
        now(login_to(portal).anonymously())
    assert portal.asked == [(None, IMessageDeliveryFactory, IMessageDelivery)]


@pytest.mark.parametrize(
    "avatar", [None, True, object(), "anna", (i for i in ())], ids=["None", "True", "object", "str", "generator"]
)
@pytest.mark.parametrize("interface", [IMessageDelivery, IMessageDeliveryFactory, object])
def test_what_is_no_delivery_is_no_login(avatar: Any, interface: Any) -> None:
    login = login_to(FixedPortal((interface, avatar, lambda: None)))
    with pytest.raises(Refused):
        now(login.with_credentials(credentials()))
    assert login.identity is None


def test_what_are_no_credentials_are_refused() -> None:
    with pytest.raises(Refused):
        now(login_to(Kit().portal).with_credentials(object()))


def test_a_fault_of_a_checker_is_no_refusal() -> None:
    with pytest.raises(ZeroDivisionError):
        now(login_to(FixedPortal(ZeroDivisionError())).with_credentials(credentials()))


def test_logout_is_called_once_for_each_login() -> None:
    kit = Kit()
    avatar = kit.delivery_for(Identity(ANNA))
    calls: list[int] = []
    login = login_to(FixedPortal((IMessageDelivery, avatar, lambda: calls.append(1))))
    now(login.anonymously())
    now(login.with_credentials(credentials()))
    assert calls == [1]
    login.forget()
    login.forget()
    assert calls == [1, 1]
    assert login.identity is None
