from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, succeed

from mailserver.message.identity import Identity
from mailserver.message.resolution import Found, Resolution
from mailserver.reception import refusals
from mailserver.reception.policy import Policy
from mailserver.smtp.address import NULL, Mailbox
from tests.harness.reception import ANNA, Kit

STRANGER, USER = Identity(), Identity(ANNA)


@pytest.mark.parametrize(
    ("recipient", "identity", "client", "refusal"),
    [
        (ANNA, STRANGER, "192.0.2.1", None),
        ("postmaster@mail.test", STRANGER, "192.0.2.1", None),
        ("nobody@mail.test", STRANGER, "192.0.2.1", refusals.NO_SUCH_USER),
        ("nobody@mail.test", USER, "192.0.2.1", refusals.NO_SUCH_USER),
        ("x@far.example", STRANGER, "192.0.2.1", refusals.NO_RELAY),
        ("x@far.example", STRANGER, "127.0.0.1", refusals.NO_RELAY),
        ("x@far.example", STRANGER, "10.0.0.1", None),
        ("x@far.example", USER, "192.0.2.1", None),
    ],
)
def test_who_may_send_to_whom(recipient: str, identity: Identity, client: str, refusal: object) -> None:
    policy = Kit(trusted={"10.0.0.1"}).policy
    assert policy.recipient(Mailbox.parse(recipient), identity, client) is refusal


@pytest.mark.parametrize(
    ("sender", "identity", "refusal"),
    [
        (Mailbox.parse(ANNA), USER, None),
        (NULL, USER, None),
        (Mailbox.parse("bert@mail.test"), USER, refusals.NOT_YOUR_SENDER),
        (Mailbox.parse("bert@mail.test"), STRANGER, None),
    ],
)
def test_senders(sender: Mailbox, identity: Identity, refusal: object) -> None:
    assert Kit().policy.sender(sender, identity) is refusal


def test_a_directory_may_answer_later() -> None:
    class Slow:
        def resolve(self, mailbox: Mailbox) -> Deferred[Resolution]:
            return succeed(Resolution(Found.UNKNOWN, mailbox))

    policy = Policy(Slow(), lambda client: False, lambda identity, mailbox: True)
    answer = policy.recipient(Mailbox.parse(ANNA), STRANGER, "192.0.2.1")
    results: list[object] = []
    Deferred.fromCoroutine(answer).addBoth(results.append)
    assert results == [refusals.NO_SUCH_USER]
