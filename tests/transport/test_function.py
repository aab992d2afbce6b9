"""Delivery to a function: what it gets, and what its answers and its exceptions become."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import Klass, Outcome
from mailserver.message.route import Attempt, Route
from mailserver.message.state import State
from mailserver.smtp.address import Mailbox
from mailserver.smtp.status import Status
from mailserver.transport import FunctionTransport, PermanentFailure, TransientFailure


def attempt(*addresses: str) -> Attempt:
    mailboxes = [Mailbox.parse(address) for address in addresses]
    recipients = tuple(Recipient(n, mailbox, (Original(mailbox),)) for n, mailbox in enumerate(mailboxes))
    envelope = Envelope(Mailbox.parse("shop@example.test"))
    return Attempt("q1", envelope, recipients, Content.of(b"hi\r\n"), Route("local", "local"), 0.0)


def outcomes(function: Any, one: Attempt) -> list[Outcome]:
    got: list[Any] = []
    Deferred.fromCoroutine(FunctionTransport(function).deliver(one)).addCallback(got.append)
    return [got[0][recipient] for recipient in one.recipients]


@pytest.fixture
def logged() -> Any:
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def test_it_is_called_once_for_each_recipient() -> None:
    mails: list[Any] = []
    one = attempt("a@example.test", "b@example.test")
    assert [each.state for each in outcomes(mails.append, one)] == [State.DELIVERED] * 2
    assert [str(mail.recipient) for mail in mails] == ["a@example.test", "b@example.test"]
    assert {(mail.queue_id, mail.envelope, mail.content) for mail in mails} == {("q1", one.envelope, one.content)}


def test_a_coroutine_is_waited_for() -> None:
    gate: Deferred[None] = Deferred()

    async def on_mail(mail: Any) -> None:
        await gate

    done: list[Any] = []
    Deferred.fromCoroutine(FunctionTransport(on_mail).deliver(attempt("a@example.test"))).addCallback(done.append)
    assert done == []
    gate.callback(None)
    assert len(done) == 1


@pytest.mark.parametrize(
    ("refusal", "klass", "status"),
    [
        (TransientFailure("shut"), Klass.TRANSIENT, "4.3.0"),
        (TransientFailure("full", Status(4, 2, 2)), Klass.TRANSIENT, "4.2.2"),
        (PermanentFailure("no such order"), Klass.PERMANENT, "5.3.0"),
        (PermanentFailure("gone", Status(5, 1, 1)), Klass.PERMANENT, "5.1.1"),
    ],
)
def test_refusals_are_values(refusal: Exception, klass: Klass, status: str) -> None:
    def on_mail(mail: Any) -> None:
        if str(mail.recipient).startswith("a@"):
            raise refusal

    refused, fine = outcomes(on_mail, attempt("a@example.test", "b@example.test"))
    assert (refused.klass, str(refused.status), refused.text) == (klass, status, str(refusal))
    assert fine.state is State.DELIVERED


def test_a_bug_is_transient_and_logged(logged: list[Any]) -> None:
    def on_mail(mail: Any) -> None:
        raise KeyError("order")

    (outcome,) = outcomes(on_mail, attempt("a@example.test"))
    assert outcome.klass is Klass.TRANSIENT
    assert "KeyError" in outcome.text
    assert [event["queue_id"] for event in logged if "log_failure" in event] == ["q1"]
