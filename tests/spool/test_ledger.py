"""How a batch becomes statements: one where there is only new mail, a transaction of several otherwise."""

from __future__ import annotations

import functools
import sqlite3
from typing import Any

import pytest

from mailserver.message import Change, Settlement, State
from mailserver.spool.work import Work


@pytest.fixture
def said(harness: Any) -> list[str]:
    """The first words of what the writing connection was told, since the spool was opened."""
    told: list[str] = []

    class Connection(sqlite3.Connection):
        def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
            told.append(statement.split(maxsplit=1)[0])
            return super().execute(statement, *parameters)

    harness.extra["connect"] = functools.partial(sqlite3.connect, factory=Connection)
    harness.open(subscribed=False)
    told.clear()
    return told


def new(harness: Any, count: int) -> list[Work]:
    return [Work((harness.message(number % 3 + 1),), single=True) for number in range(count)]


def kept(harness: Any) -> set[str]:
    """What a crash now would leave."""
    image = harness.crash()
    image.open(subscribed=False)
    ids = {claim.queue_id for claim in image.claim(1000)}
    image.close()
    return ids


@pytest.mark.parametrize("count", [1, 2, 3, 7, 63, 64])
def test_new_mail_alone_is_one_statement(harness: Any, said: list[str], count: int) -> None:
    ledger, works = harness.spool._committer.ledger, new(harness, count)
    ledger.commit(works)
    assert said == ["INSERT"]
    assert not ledger.connection.in_transaction
    assert ledger.counts["messages"] == count
    assert kept(harness) == {work.stored[0].queue_id for work in works}


def test_more_than_one_statement_takes_is_one_transaction(harness: Any, said: list[str]) -> None:
    ledger = harness.spool._committer.ledger
    ledger.commit(new(harness, 65))
    assert said == ["BEGIN", "INSERT", "INSERT", "COMMIT"]
    assert ledger.counts["messages"] == 65


def test_a_settlement_makes_it_a_transaction(harness: Any, said: list[str]) -> None:
    ledger, (first,) = harness.spool._committer.ledger, new(harness, 1)
    ledger.commit([first])
    said.clear()
    settling = Work((), single=False)
    settling.changes.append((Settlement(first.stored[0].queue_id, (Change(0, State.DELIVERED),)), frozenset()))
    ledger.commit([*new(harness, 2), settling])
    assert (said[0], said[-1]) == ("BEGIN", "COMMIT")
    assert ledger.counts["messages"] == 2


def test_one_bad_row_leaves_nothing_of_its_statement(harness: Any, said: list[str]) -> None:
    ledger, works = harness.spool._committer.ledger, new(harness, 3)
    works.append(Work(works[0].stored, single=True))  # its id is there already
    with pytest.raises(sqlite3.IntegrityError):
        ledger.commit(works)
    assert not ledger.connection.in_transaction
    assert ledger.counts["messages"] == 0
    assert kept(harness) == set()
