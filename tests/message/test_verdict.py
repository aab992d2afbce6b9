"""Verdicts: a refusal is of class 4 or 5."""

from __future__ import annotations

import pytest

from mailserver.message.verdict import CONTINUE, reject
from mailserver.smtp.status import Status


@pytest.mark.parametrize("klass", [4, 5])
def test_reject(klass: int) -> None:
    verdict = reject(Status(klass, 7, 1), "not welcome", "listed")
    assert (verdict.status, verdict.text, verdict.reason) == (Status(klass, 7, 1), "not welcome", "listed")


def test_a_refusal_cannot_be_positive() -> None:
    with pytest.raises(ValueError, match=r"2\.0\.0"):
        reject(Status(2, 0, 0), "welcome")


def test_to_continue_is_no_status() -> None:
    assert CONTINUE.status is None
