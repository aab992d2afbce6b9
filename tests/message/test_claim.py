"""Claims and settlements."""

from __future__ import annotations

from mailserver.message.claim import FRESH, Change, Claim, Progress, Settlement
from mailserver.message.content import Content
from mailserver.message.envelope import Envelope
from mailserver.message.state import State
from mailserver.smtp.address import NULL


def test_a_fresh_claim_has_no_progress_of_its_own() -> None:
    claims = [Claim(name, Envelope(NULL), (), Content(), 0.0) for name in "ab"]
    assert claims[0].progress is not claims[1].progress
    assert not claims[0].again
    assert claims[0].progress.get(0, FRESH) == Progress(0, False, None)


def test_a_settlement_is_the_holders_unless_it_says_otherwise() -> None:
    settlement = Settlement("a", (Change(0, State.HELD),))
    assert settlement.claimed
    assert settlement.stored == ()
    assert not settlement.changes[0].attempted
