"""How many passwords one address may try in a minute: at once, one after another, and half-way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred

from mailserver.reception import refusals
from mailserver.reception.limits import PerMinute
from mailserver.smtp import events
from mailserver.smtp.sasl import PasswordCredentials
from tests.harness.reception import ANNA, Kit
from tests.reception.test_session import Wire, plain

KEYS = object()


class Portal:
    """Answers when it is told to."""

    def __init__(self, portal: Any) -> None:
        self.asked: list[Deferred[Any]] = []
        self.checkers: dict[Any, Any] = {}
        self.realm = portal.realm

    def login(self, *_: Any) -> Deferred[Any]:
        self.asked.append(Deferred())
        return self.asked[-1]


def kit_with(bound: int) -> Kit:
    kit = Kit()
    kit.world = replace(kit.world, rates=replace(kit.world.rates, auth_failures=PerMinute(bound)))
    return kit


def test_as_many_at_once_as_one_after_another() -> None:
    kit = kit_with(2)
    portal = Portal(kit.portal)
    wires = [Wire(kit, submission=True, portal=portal) for _ in range(4)]
    said = [wire.send(plain()) for wire in wires]
    assert len(portal.asked) == 2
    assert [codes[-1][:3] for codes in said[2:]] == ["454", "454"]


def test_a_login_that_was_right_is_none() -> None:
    kit = kit_with(1)
    for _ in range(3):
        assert Wire(kit, submission=True).send(plain())[-1].startswith("235")
    assert Wire(kit, submission=True).send(plain(password=b"wrong"))[-1].startswith("535")
    assert Wire(kit, submission=True).send(plain())[-1].startswith("454")


def test_an_exchange_that_is_given_up_counts() -> None:
    kit = kit_with(2)
    wire = Wire(kit, submission=True)
    wire.session._login.find_keys = lambda _: KEYS  # type: ignore[method-assign]
    answers = [wire.session.handle(events.FindKeys("SCRAM-SHA-256", ANNA.encode())) for _ in range(3)]
    assert answers == [KEYS, KEYS, refusals.LOGIN_LATER]


def test_an_exchange_is_one_failure() -> None:
    kit = kit_with(1)
    portal = Portal(kit.portal)
    wire = Wire(kit, submission=True, portal=portal)
    wire.session.handle(events.FindKeys("SCRAM-SHA-256", ANNA.encode()))
    answer = Deferred.fromCoroutine(
        wire.session.handle(events.Authenticate("SCRAM-SHA-256", PasswordCredentials(b"", b"a", b"b")))
    )
    assert len(portal.asked) == 1, "it was not counted a second time"
    answer.addErrback(lambda _: None)
    answer.cancel()
