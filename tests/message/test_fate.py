"""Fates: of a recipient as given, whatever it was expanded to."""

from __future__ import annotations

import pytest

from mailserver.message import Fate, Fates, Original, Recipient, State, Status
from mailserver.message.fate import fates_of
from mailserver.message.outcome import Outcome, delivered, permanent, transient
from mailserver.message.query import QueuedRecipient
from mailserver.smtp.address import Mailbox

ANNA, TEAM, LIST = (Mailbox.parse(name) for name in ("anna@x.example", "team@x.example", "list@x.example"))
NO = permanent("no such user", Status(5, 1, 1))
GONE = Fate(State.DELIVERED, Status(2, 0, 0), None, 1)


def queued(
    number: int, state: State, *given: Mailbox, last: Outcome | None = None, attempts: int = 1
) -> QueuedRecipient:
    recipient = Recipient(number, Mailbox.parse(f"r{number}@x.example"), tuple(map(Original, given)))
    return QueuedRecipient(recipient, state, 0.0, attempts, last=last)


def test_one_recipient_has_the_state_and_the_words_it_ended_with() -> None:
    said = Outcome(NO.klass, NO.scope, NO.status, NO.text, remote_reply="550 5.1.1 who?")
    fates = fates_of([queued(0, State.FAILED, ANNA, last=said, attempts=3)])
    assert fates == {ANNA: Fate(State.FAILED, Status(5, 1, 1), "550 5.1.1 who?", 3)}


def test_what_is_not_final_has_no_fate() -> None:
    fates = fates_of([queued(0, State.DEFERRED, ANNA), queued(1, State.DELIVERED, TEAM, last=delivered())])
    assert fates == {ANNA: None, TEAM: GONE}
    assert list(fates) == [ANNA, TEAM]


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        ((State.DELIVERED, State.RELAYED), State.RELAYED),
        ((State.EXPANDED, State.DELIVERED), State.DELIVERED),
        ((State.DELIVERED, State.EXPANDED, State.FAILED), State.FAILED),
        ((State.DELIVERED, State.REMOVED), State.REMOVED),
        ((State.REMOVED, State.EXPIRED), State.EXPIRED),
        ((State.EXPIRED, State.RELAYED, State.FAILED), State.FAILED),
    ],
)
def test_an_address_that_led_to_several_has_the_worst_of_their_fates(
    states: tuple[State, ...], worst: State
) -> None:
    fate = fates_of(queued(number, state, LIST) for number, state in enumerate(states))[LIST]
    assert fate is not None
    assert fate.state is worst


def test_it_waits_for_the_last_of_them() -> None:
    assert fates_of([queued(0, State.FAILED, LIST, last=NO), queued(1, State.QUEUED, LIST)]) == {LIST: None}


def test_among_equals_the_most_attempts_count() -> None:
    late = transient("busy", Status(4, 2, 1))
    fates = fates_of(queued(n, State.EXPIRED, LIST, last=late, attempts=n + 1) for n in range(3))
    assert fates[LIST] == Fate(State.EXPIRED, Status(4, 2, 1), None, 3)


def test_two_addresses_that_led_to_one_recipient_have_its_fate_both() -> None:
    assert fates_of([queued(0, State.DELIVERED, ANNA, TEAM, last=delivered())]) == {ANNA: GONE, TEAM: GONE}


def test_removed_untried() -> None:
    removed = fates_of([queued(0, State.REMOVED, ANNA, attempts=0)])
    assert removed == {ANNA: Fate(State.REMOVED, Status(5, 0, 0), None, 0)}


def test_a_recipient_without_originals_was_given_as_it_is() -> None:
    assert fates_of([queued(0, State.DELIVERED, last=delivered())]) == {Mailbox.parse("r0@x.example"): GONE}


def test_a_look_up_takes_text_too() -> None:
    fates = Fates({ANNA: GONE})
    assert fates["anna@x.example"] == fates[ANNA] == fates["anna@X.Example"] == GONE
    assert "anna@x.example" in fates
    assert ANNA in fates
    assert "else@x.example" not in fates
    assert "no address" not in fates
    with pytest.raises(KeyError, match="no address"):
        fates["no address"]
    assert (list(fates), len(fates)) == ([ANNA], 1)
    assert fates == Fates({ANNA: GONE})
    assert "anna@x.example" in repr(fates)
