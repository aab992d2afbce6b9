"""The contract of a spool that keeps mail over a restart."""

from __future__ import annotations

from mailserver.message.state import State
from mailserver.testing.contracts.spool import SpoolContract
from mailserver.testing.contracts.spoolbench import SpoolBench, deferred, delivered


class DurableSpoolContract(SpoolContract):
    """What was in flight is due again; what was put off keeps its time; what has ended stays away."""

    def test_what_was_delivered_stays_away(self, at: SpoolBench) -> None:
        at.open()
        at.settle(at.store(2), *delivered(0, 1))
        at.reopen()
        assert at.claim() == []
        assert at.spool.counts() == {"messages": 0, "active": 0}

    def test_what_was_in_flight_is_due_again(self, at: SpoolBench) -> None:
        at.open()
        ids = sorted(at.store(2) for _ in range(5))
        at.reopen()
        due = at.spool.next_due()
        assert due is not None
        assert due <= at.clock.now
        claims = at.claim()
        assert sorted(claim.queue_id for claim in claims) == ids
        assert all(claim.again and len(claim.recipients) == 2 for claim in claims)
        assert b"".join(claims[0].content.chunks()) == b"Subject: x\n\nbody\n"

    def test_a_message_in_part(self, at: SpoolBench) -> None:
        at.open()
        queue_id = at.store(4)
        at.settle(queue_id, *delivered(0), deferred(1, at.clock.now + 60, "slow.example"))
        at.reopen()
        states = at.states(queue_id)
        assert states == {0: State.DELIVERED, 1: State.DEFERRED, 2: State.QUEUED, 3: State.QUEUED}
        (claim,) = at.claim()
        assert [one.number for one in claim.recipients] == [2, 3]
        assert claim.again
        assert at.spool.next_due() == at.clock.now + 60
        assert at.spool.counts() == {"messages": 1, "delivered": 1, "deferred": 1, "queued": 2, "active": 2}
