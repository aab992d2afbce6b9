"""The table of outcomes, row by row."""

from __future__ import annotations

import pytest

from mailserver.message.outcome import Klass, Scope
from mailserver.message.state import State
from mailserver.net.outcomes import MAX_WORDS, outcome_of
from mailserver.smtp.reply import Reply
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Answer, Phase

P, T = Klass.PERMANENT, Klass.TRANSIENT


@pytest.mark.parametrize(
    ("phase", "code", "status", "klass", "scope", "expected"),
    [
        (Phase.RCPT, 550, Status(5, 1, 1), P, Scope.RECIPIENT, Status(5, 1, 1)),
        (Phase.RCPT, 450, None, T, Scope.RECIPIENT, Status(4, 0, 0)),
        (Phase.RCPT, 552, Status(5, 5, 3), T, Scope.RECIPIENT, Status(4, 5, 3)),
        (Phase.MAIL, 553, None, P, Scope.MESSAGE, Status(5, 0, 0)),
        (Phase.DATA, 451, None, T, Scope.MESSAGE, Status(4, 0, 0)),
        (Phase.CONTENT, 552, Status(5, 3, 4), P, Scope.MESSAGE, Status(5, 3, 4)),
        (Phase.FINAL, 554, Status(5, 6, 0), P, Scope.MESSAGE, Status(5, 6, 0)),
        (Phase.GREETING, 554, None, P, Scope.HOST, Status(5, 0, 0)),
        (Phase.HELLO, 450, None, T, Scope.HOST, Status(4, 0, 0)),
        (Phase.RESET, 500, None, T, Scope.HOST, Status(4, 0, 0)),
        (Phase.AUTH, 535, Status(5, 7, 8), T, Scope.HOST, Status(4, 7, 8)),
        (Phase.TLS, 554, None, T, Scope.HOST, Status(4, 7, 5)),
        (Phase.RCPT, 421, Status(4, 3, 2), T, Scope.HOST, Status(4, 3, 2)),
    ],
)
def test_replies(
    phase: Phase, code: int, status: Status | None, klass: Klass, scope: Scope, expected: Status
) -> None:
    outcome = outcome_of(Answer(phase, Reply(code, status, ("words",))), "mx.example")
    assert (outcome.klass, outcome.scope, outcome.status) == (klass, scope, expected)
    assert outcome.state is (State.FAILED if klass is P else State.DEFERRED)
    assert outcome.remote_mta == "mx.example"
    assert outcome.remote_reply == str(Reply(code, status, ("words",)))
    assert outcome.phase is phase


def test_success() -> None:
    outcome = outcome_of(Answer(Phase.FINAL, Reply(250, None, ("kept as 17",))), "mx.example")
    assert (outcome.klass, outcome.state, outcome.status) == (Klass.SUCCESS, State.RELAYED, Status(2, 0, 0))
    assert outcome.remote_reply == "250 kept as 17"


def test_no_reply() -> None:
    outcome = outcome_of(Answer(Phase.FINAL, None, Status(4, 4, 2), "lost", uncertain=True), "mx.example")
    assert (outcome.klass, outcome.scope, outcome.remote_reply) == (T, Scope.HOST, None)
    assert outcome.uncertain
    assert (outcome.phase, outcome.about_host) == (Phase.FINAL, False)


def test_not_even_asked() -> None:
    outcome = outcome_of(Answer(Phase.MAIL, None, Status(5, 6, 7), "needs SMTPUTF8"), "mx.example")
    assert (outcome.klass, outcome.scope, outcome.status) == (P, Scope.MESSAGE, Status(5, 6, 7))


def test_words_are_one_bounded_line() -> None:
    outcome = outcome_of(Answer(Phase.RCPT, Reply(550, None, ("x" * 900, "y"))), "mx.example")
    assert outcome.remote_reply is not None
    assert len(outcome.remote_reply) == MAX_WORDS
