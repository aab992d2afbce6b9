"""Recipients as keys of outcomes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from mailserver.message.envelope import Envelope, Facts, Original, Recipient
from mailserver.smtp.address import NULL, Mailbox

ANNA = Mailbox.parse("anna@here.example")


def test_a_recipient_is_found_by_an_equal_one() -> None:
    one, same = Recipient(1, ANNA, (Original(ANNA),)), Recipient(1, ANNA, (Original(ANNA),))
    assert {one: "outcome"}[same] == "outcome"
    # The number alone does not make them equal.
    assert Recipient(1, ANNA, ()) not in {one: "outcome"}


def test_values_do_not_change() -> None:
    for value, name in (
        (Envelope(NULL), "envid"),
        (Original(ANNA), "orcpt"),
        (Recipient(0, ANNA, ()), "number"),
        (Facts("id", (), 0.0), "queue_id"),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, "x")
