"""A checker that answers no avatar id never logs anybody in, whatever the realm would do with it."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IAnonymous, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import globalLogPublisher
from zope.interface import implementer

from tests.contract.application import Application, Realm
from tests.contract.differences import differs
from tests.contract.servers import FROM, HELLO, PLAIN, Ours, Stock, codes


async def somebody() -> bytes:
    return b"anna"


async def nobody() -> None:
    return None


@implementer(ICredentialsChecker)
class Checker:
    credentialInterfaces = (IUsernamePassword, IAnonymous)

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def requestAvatarId(self, credentials: Any) -> Any:
        return self.answer()


CULPRIT = f"{__name__}.Checker.requestAvatarId"


def server_with(kind: Any, answer: Any) -> Any:
    app = Application()
    server = kind(app, portal=Portal(Realm(app), [Checker(answer)]))
    server.connect()
    return server


@differs(
    1,
    "whatever a checker answers is given to the realm, and realms that never look at it log in `True` and `None`",
    "`True`, `False`, `None` and coroutines that nobody awaited are a bug of the checker: 454 at AUTH, 451 at "
    "MAIL, and the log names it",
)
@pytest.mark.parametrize(
    "answer",
    [
        lambda: True,
        lambda: False,
        lambda: None,
        lambda: succeed(True),
        lambda: succeed(None),
        nobody,
        lambda: succeed(NeverAwaited()),
    ],
)
def test_no_avatar_id(answer: Any) -> None:
    assert codes(server_with(Stock, answer).talk(HELLO, PLAIN))[1] == 235
    ours = server_with(Ours, answer)
    assert codes(ours.talk(HELLO, PLAIN, FROM)) == [250, 454, 451]
    assert "requestAvatar" not in ours.app.names()
    assert ours.culprits == [CULPRIT] * 2


class NeverAwaited:
    """What a coroutine is to whoever does not await it."""

    def __await__(self) -> Any:
        raise AssertionError("nobody awaits it")


@pytest.mark.parametrize(
    "answer", [lambda: b"anna", lambda: succeed(b"anna"), somebody, lambda: "anna", lambda: ()]
)
def test_an_avatar_id_in_every_manner(answer: Any) -> None:
    assert codes(server_with(Ours, answer).talk(HELLO, PLAIN, FROM)) == [250, 235, 250]


@pytest.mark.parametrize("answer", [lambda: 1 / 0, lambda: fail(CancelledError()), lambda: fail(KeyError("anna"))])
def test_a_checker_that_fails(answer: Any) -> None:
    ours = server_with(Ours, answer)
    assert codes(ours.talk(HELLO, PLAIN, FROM)) == [250, 454, 451]
    assert "requestAvatar" not in ours.app.names()
    assert all(CULPRIT in culprit for culprit in ours.culprits)
    assert len(ours.culprits) == 2


def test_a_checker_that_refuses() -> None:
    ours = server_with(Ours, lambda: fail(UnauthorizedLogin()))
    assert codes(ours.talk(HELLO, PLAIN, FROM)) == [250, 535, 550]
    assert ours.culprits == []


@differs(
    1,
    "a checker that never answers keeps the client waiting",
    "454 at AUTH and 451 at MAIL after a bound of ours; the Deferred is cancelled, and the log names it",
)
@pytest.mark.parametrize(("command", "code"), [(PLAIN, 454), (FROM, 451)])
def test_a_checker_that_never_answers(command: bytes, code: int) -> None:
    assert codes(server_with(Stock, Deferred).talk(HELLO, command)) == [250]
    waiting: Deferred = Deferred()
    ours = server_with(Ours, lambda: waiting)
    assert codes(ours.talk(HELLO, command)) == [250]
    globalLogPublisher.addObserver(ours.events.append)
    for _ in range(300):
        ours.clock.advance(1)
    globalLogPublisher.removeObserver(ours.events.append)
    assert codes(ours.said()) == [code]
    assert CULPRIT in ours.culprits[0]
    assert waiting.called
    waiting.callback(b"anna")
    assert "requestAvatar" not in ours.app.names()


def test_a_connection_that_is_lost_during_the_login() -> None:
    waiting: Deferred = Deferred()
    ours = server_with(Ours, lambda: waiting)
    ours.talk(HELLO, PLAIN)
    ours.lose()
    assert waiting.called
    assert ours.app.calls == []
    assert ours.culprits == []
