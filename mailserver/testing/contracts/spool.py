"""The contract of :class:`~mailserver.interfaces.ISpool` and :class:`~mailserver.interfaces.ISpoolReader`.

Subclass it in a test module, and say how a spool of yours is made::

    class TestMySpool(SpoolContract):
        def bench(self, directory):
            return MyBench(directory)          # a mailserver.testing.contracts.SpoolBench

Every test gets a bench of its own. A spool that keeps mail over a restart also passes
:class:`~mailserver.testing.contracts.DurableSpoolContract`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from zope.interface.verify import verifyObject

from mailserver.interfaces import IFates, ISpool, ISpoolReader, SpoolFailed
from mailserver.message.claim import Change, Progress, Settlement
from mailserver.message.fate import Fate
from mailserver.message.query import Query
from mailserver.message.state import State
from mailserver.testing.contracts.spoolbench import LATER, SpoolBench, deferred, delivered


class SpoolContract:
    """Stored, claimed, settled, found."""

    def bench(self, directory: Path) -> SpoolBench:
        """A bench with nothing stored; `directory` is empty and its own."""
        raise NotImplementedError

    @pytest.fixture
    def at(self, tmp_path: Path) -> Iterator[SpoolBench]:
        """The bench of one test."""
        made = self.bench(tmp_path)
        yield made
        if hasattr(made, "spool"):
            made.close()

    def test_it_provides_its_interfaces(self, at: SpoolBench) -> None:
        assert verifyObject(ISpool, at.open())
        assert verifyObject(ISpoolReader, at.spool)

    # Fresh messages.

    def test_a_fresh_message_is_handed_over_after_its_waiter_was_told(self, at: SpoolBench) -> None:
        spool = at.open(subscribed=False)
        order: list[Any] = []
        spool.subscribe(order.append)

        def noted(queue_id: str) -> str:
            order.append(queue_id)
            return queue_id

        prepared = at.message(2)
        done = spool.store(prepared)
        assert order == []
        done.addCallback(noted)
        at.wait(done)
        assert order[0] == prepared.queue_id
        (claim,) = order[1]
        found = (claim.queue_id, claim.envelope, claim.recipients, claim.progress, claim.again)
        assert found == (prepared.queue_id, prepared.envelope, prepared.recipients, {}, False)
        assert claim.content is prepared.content

    def test_what_was_handed_over_is_in_flight(self, at: SpoolBench) -> None:
        at.open()
        at.store()
        assert at.claim() == []
        assert at.spool.next_due() is None
        assert at.spool.counts() == {"messages": 1, "queued": 1, "active": 1}

    def test_without_a_subscriber_claim_finds_them(self, at: SpoolBench) -> None:
        at.open(subscribed=False)
        ids = sorted(at.store() for _ in range(3))
        due = at.spool.next_due()
        assert due is not None
        assert due <= at.clock.now
        assert sorted(claim.queue_id for claim in at.claim(2) + at.claim(2)) == ids
        assert at.claim() == []
        assert at.spool.next_due() is None

    def test_delivered_is_gone(self, at: SpoolBench) -> None:
        at.open()
        queue_id = at.store(3)
        at.settle(queue_id, *delivered(0, 1, 2))
        assert at.spool.counts() == {"messages": 0, "active": 0}
        assert at.spool.content(queue_id) is None
        assert at.spool.find(Query(queue_id=queue_id)).messages == ()

    def test_the_same_queue_id_twice_is_refused_and_hurts_nobody_else(self, at: SpoolBench) -> None:
        spool = at.open()
        queue_id = at.store()
        others = [spool.store(at.message()) for _ in range(3)]
        twin = spool.store(replace(at.message(), queue_id=queue_id))
        others += [spool.store(at.message()) for _ in range(3)]
        with pytest.raises(Exception, match=r"UNIQUE|already"):
            at.wait(twin)
        assert len({at.wait(one) for one in others}) == 6
        assert spool.counts()["messages"] == 7

    def test_a_content_that_is_stored_cannot_be_discarded(self, at: SpoolBench) -> None:
        at.open()
        prepared = at.message(octets=b"kept\n")
        at.wait(at.spool.store(prepared))
        prepared.content.discard()
        assert b"".join(prepared.content.chunks()) == b"kept\n"

    # Settled.

    def test_some_are_final_and_some_are_not(self, at: SpoolBench) -> None:
        at.open()
        queue_id = at.store(4)
        at.settle(queue_id, *delivered(0), deferred(1, at.clock.now + 60, "slow.example"))
        states = at.states(queue_id)
        assert states == {0: State.DELIVERED, 1: State.DEFERRED, 2: State.ACTIVE, 3: State.ACTIVE}
        assert at.claim() == []

    def test_a_deferred_recipient_comes_back_with_its_progress(self, at: SpoolBench) -> None:
        spool = at.open()
        queue_id = at.store(2)
        due = at.clock.now + 60
        at.settle(queue_id, deferred(0, due, notified=True), *delivered(1))
        assert spool.next_due() == due
        assert at.claim() == []
        at.clock.now += 60
        (claim,) = at.claim()
        assert claim.again
        assert claim.progress == {0: Progress(1, True, LATER)}
        assert at.claim() == []
        at.settle(queue_id, deferred(0, due + 60))
        at.clock.now += 60
        (claim,) = at.claim()
        assert claim.progress == {0: Progress(2, True, LATER)}
        at.settle(queue_id, *delivered(0))
        assert spool.counts() == {"messages": 0, "active": 0}

    def test_settlements_of_one_message_in_one_call_meet(self, at: SpoolBench) -> None:
        spool = at.open()
        queue_id = at.store(2)
        changes = [Settlement(queue_id, tuple(delivered(number))) for number in (0, 1)]
        at.wait(spool.settle(changes))
        assert spool.counts() == {"messages": 0, "active": 0}

    def test_what_is_not_admitted_goes_back_and_is_found_again(self, at: SpoolBench) -> None:
        at.open()
        queue_id = at.store()
        at.settle(queue_id, Change(0, State.QUEUED, due=at.clock.now, destination="d.example"))
        (claim,) = at.claim()
        assert (claim.queue_id, claim.again, claim.progress) == (queue_id, True, {})

    def test_messages_stored_with_a_settlement(self, at: SpoolBench) -> None:
        spool = at.open()
        queue_id = at.store()
        at.fresh.clear()
        reports = [at.message(), at.message()]
        ids = at.settle(queue_id, Change(0, State.FAILED), stored=reports)
        assert ids == [one.queue_id for one in reports]
        assert [claim.queue_id for claim in at.fresh] == ids
        assert spool.counts() == {"messages": 2, "queued": 2, "active": 2}

    def test_nothing_to_settle(self, at: SpoolBench) -> None:
        spool = at.open()
        assert list(at.wait(spool.settle([]))) == []

    def test_a_change_of_an_unknown_recipient_changes_nothing(self, at: SpoolBench) -> None:
        at.open()
        queue_id = at.store(2)
        with pytest.raises(KeyError):
            at.settle(queue_id, *delivered(0), deferred(7, 0.0), stored=[at.message()])
        assert at.states(queue_id) == {0: State.ACTIVE, 1: State.ACTIVE}
        assert at.spool.counts()["messages"] == 1

    def test_active_is_never_written(self, at: SpoolBench) -> None:
        at.open()
        queue_id = at.store(2)
        with pytest.raises(ValueError, match="active is never written"):
            at.settle(queue_id, *delivered(0), Change(1, State.ACTIVE))
        assert at.states(queue_id) == {0: State.ACTIVE, 1: State.ACTIVE}
        assert at.claim() == []

    # Operators.

    def test_hold_of_an_active_recipient_takes_effect_when_its_attempt_ends_deferred(self, at: SpoolBench) -> None:
        at.open()
        queue_id = at.store(2)
        at.settle(queue_id, Change(0, State.HELD), Change(1, State.HELD), claimed=False)
        assert at.states(queue_id) == {0: State.ACTIVE, 1: State.ACTIVE}
        at.settle(queue_id, deferred(0, at.clock.now), *delivered(1))
        assert at.states(queue_id) == {0: State.HELD, 1: State.DELIVERED}
        assert at.claim() == []
        at.settle(queue_id, Change(0, State.QUEUED, due=at.clock.now), claimed=False)
        (claim,) = at.claim()
        assert claim.progress[0].attempts == 1

    def test_removed_while_active_stays_removed_and_its_content_outlives_the_attempt(self, at: SpoolBench) -> None:
        spool = at.open()
        queue_id = at.store(1, b"x" * 5000)
        at.settle(queue_id, Change(0, State.REMOVED), claimed=False)
        assert spool.counts()["messages"] == 0
        assert b"".join(at.fresh[0].content.pieces()) == b"x" * 5000
        at.settle(queue_id, deferred(0, at.clock.now))
        assert at.claim() == []
        assert spool.counts() == {"messages": 0, "active": 0}

    def test_one_of_two_removed_while_active(self, at: SpoolBench) -> None:
        at.open()
        queue_id = at.store(2)
        at.settle(queue_id, Change(0, State.REMOVED), claimed=False)
        at.settle(queue_id, deferred(0, at.clock.now), deferred(1, at.clock.now))
        assert at.states(queue_id) == {0: State.REMOVED, 1: State.DEFERRED}

    def test_retry_of_an_active_recipient_is_ignored(self, at: SpoolBench) -> None:
        at.open()
        queue_id = at.store()
        at.settle(queue_id, Change(0, State.QUEUED, due=at.clock.now), claimed=False)
        assert at.claim() == []
        at.settle(queue_id, *delivered(0))
        assert at.spool.counts()["messages"] == 0

    def test_retry_now(self, at: SpoolBench) -> None:
        at.open()
        queue_id = at.store()
        at.settle(queue_id, deferred(0, at.clock.now + 3600))
        at.settle(queue_id, Change(0, State.QUEUED, due=at.clock.now), claimed=False)
        assert at.spool.next_due() == at.clock.now
        assert len(at.claim()) == 1

    def test_an_operator_comes_between_a_claim_and_its_settlement(self, at: SpoolBench) -> None:
        """Asked before the claim, committed after it, and the holder ends the message in the same batch."""
        spool = at.open(subscribed=False)
        queue_id = at.store(2)
        held = spool.settle([Settlement(queue_id, (Change(0, State.HELD),), claimed=False)])
        (claim,) = at.claim()
        done = spool.settle([Settlement(queue_id, tuple(delivered(0, 1)))])
        at.wait(held)
        at.wait(done)
        assert claim.queue_id == queue_id
        assert spool.counts() == {"messages": 0, "active": 0}

    # Due.

    def test_oldest_due_first(self, at: SpoolBench) -> None:
        at.open()
        ids = [at.store() for _ in range(3)]
        for age, queue_id in zip((30, 10, 20), ids, strict=True):
            at.settle(queue_id, deferred(0, at.clock.now - age))
        assert [at.claim(1)[0].queue_id for _ in range(3)] == [ids[0], ids[2], ids[1]]
        assert at.claim(1) == []

    def test_closed_destinations_are_skipped_and_starve_nobody(self, at: SpoolBench) -> None:
        at.open()
        now = at.clock.now
        shut = [at.store() for _ in range(7)]
        free = at.store()
        for queue_id in shut:
            at.settle(queue_id, deferred(0, now - 10, "shut.example"))
        at.settle(free, deferred(0, now - 5, "free.example"))
        assert [claim.queue_id for claim in at.claim(5, {"shut.example"})] == [free]
        assert at.claim(5, {"shut.example"}) == []
        due = at.spool.next_due()
        assert due is not None
        assert due <= now
        assert len(at.claim(5)) == 5
        assert len(at.claim(5)) == 2
        assert at.spool.next_due() is None

    def test_only_some_destinations_are_claimed(self, at: SpoolBench) -> None:
        at.open(longest_interval=3600.0)
        now = at.clock.now
        remote, here, ahead, both = at.store(), at.store(), at.store(), at.store(2)
        at.settle(remote, deferred(0, now - 10, "far.example"))
        at.settle(here, deferred(0, now - 5, "local"))
        at.settle(ahead, deferred(0, now + 86_400, "local"))
        at.settle(both, deferred(0, now - 9, "far.example"), deferred(1, now - 4, "local"))
        assert at.claim(5, {"local"}, {"local"}) == []
        assert at.claim(5, (), {"other.example"}) == []
        claims = at.claim(5, (), {"local", ""})
        assert [claim.queue_id for claim in claims] == [here, both, ahead]
        assert [one.number for one in claims[1].recipients] == [1]
        assert at.claim(5, (), {"local", ""}) == []
        at.settle(here, deferred(0, now, "local"))
        assert [claim.queue_id for claim in at.claim(5, (), {"local", ""})] == [here]
        assert [claim.queue_id for claim in at.claim(5)] == [remote, both]

    def test_what_was_never_tried_has_no_destination(self, at: SpoolBench) -> None:
        at.open(subscribed=False)
        queue_id = at.store()
        assert at.claim(5, (), {"local"}) == []
        assert [claim.queue_id for claim in at.claim(5, (), {"local", ""})] == [queue_id]

    def test_too_far_ahead_counts_as_now(self, at: SpoolBench) -> None:
        at.open(longest_interval=3600.0)
        queue_id = at.store()
        at.settle(queue_id, deferred(0, at.clock.now + 3000))
        assert at.claim() == []
        at.clock.now -= 86_400
        assert at.spool.next_due() == at.clock.now
        (claim,) = at.claim()
        assert claim.queue_id == queue_id
        assert at.claim() == []

    def test_in_flight_is_left_out_of_next_due(self, at: SpoolBench) -> None:
        at.open()
        first, second = at.store(), at.store()
        at.settle(first, deferred(0, at.clock.now))
        at.settle(second, deferred(0, at.clock.now + 100))
        at.claim()
        assert at.spool.next_due() == at.clock.now + 100

    def test_a_message_is_claimed_in_parts(self, at: SpoolBench) -> None:
        at.open()
        now = at.clock.now
        queue_id = at.store(2, b"x" * 5000)
        at.settle(queue_id, deferred(0, now), deferred(1, now + 10))
        (first,) = at.claim()
        at.clock.now += 10
        (second,) = at.claim()
        assert [[one.number for one in claim.recipients] for claim in (first, second)] == [[0], [1]]
        at.settle(queue_id, *delivered(0))
        assert b"".join(second.content.pieces()) == b"x" * 5000
        at.settle(queue_id, *delivered(1))
        assert at.spool.counts() == {"messages": 0, "active": 0}

    # Listings.

    def test_pages_go_by_queue_id(self, at: SpoolBench) -> None:
        spool = at.open()
        ids = sorted(at.store() for _ in range(5))
        first = spool.find(Query(limit=3))
        assert [one.queue_id for one in first.messages] == ids[:3]
        second = spool.find(Query(limit=3, after=first.after))
        assert [one.queue_id for one in second.messages] == ids[3:]
        assert second.after == ""

    def test_an_empty_queue_id_is_that_of_no_message(self, at: SpoolBench) -> None:
        spool = at.open()
        queue_id = at.store()
        for wrong in ("", queue_id[:-1]):
            assert spool.find(Query(queue_id=wrong)).messages == ()
        assert [one.queue_id for one in spool.find(Query(queue_id=queue_id)).messages] == [queue_id]

    def test_a_listing_shows_what_is_known(self, at: SpoolBench) -> None:
        spool = at.open()
        prepared = at.message(2)
        at.wait(spool.store(prepared))
        due = at.clock.now + 60
        at.settle(prepared.queue_id, deferred(0, due, "d.example"))
        (message,) = spool.find(Query(destination="d.example")).messages
        found = (message.queue_id, message.envelope, message.arrived, message.size)
        assert found == (prepared.queue_id, prepared.envelope, prepared.arrived, prepared.content.size)
        first, second = message.recipients
        assert (first.recipient, first.state, first.due) == (prepared.recipients[0], State.DEFERRED, due)
        assert (first.attempts, first.destination, first.last) == (1, "d.example", LATER)
        assert second.state is State.ACTIVE

    def test_search_by_state(self, at: SpoolBench) -> None:
        spool = at.open(subscribed=False)
        packed = at.store()
        late, held = at.store(), at.store()
        at.settle(late, deferred(0, at.clock.now + 60))
        at.settle(held, Change(0, State.HELD), claimed=False)

        def ids(state: State) -> list[str]:
            return [one.queue_id for one in spool.find(Query(state=state)).messages]

        assert (ids(State.QUEUED), ids(State.DEFERRED), ids(State.HELD)) == ([packed], [late], [held])
        assert ids(State.ACTIVE) == []
        at.claim()
        assert (ids(State.QUEUED), ids(State.ACTIVE)) == ([], [packed])

    def test_counts(self, at: SpoolBench) -> None:
        at.open()
        at.store(3)
        queue_id = at.store(2)
        at.settle(queue_id, *delivered(0), deferred(1, at.clock.now + 60))
        assert at.spool.counts() == {"messages": 2, "queued": 3, "delivered": 1, "deferred": 1, "active": 3}

    def test_the_content_of_a_stored_message(self, at: SpoolBench) -> None:
        spool = at.open()
        content = spool.content(at.store(octets=b"Subject: y\n\nhi\n"))
        assert b"".join(content.chunks()) == b"Subject: y\n\nhi\n"
        assert content.size == 18

    # Fates.

    def test_fates_are_kept_for_who_asked(self, at: SpoolBench) -> None:
        fates = at.open().fates
        assert verifyObject(IFates, fates)
        told: list[Any] = []
        fates.subscribe(told.append)
        silent, asking = at.message(1), replace(at.message(2), fates=True, key="order-1")
        for one in (silent, asking):
            at.wait(at.spool.store(one))
        at.settle(silent.queue_id, *delivered(0))
        at.settle(asking.queue_id, deferred(0, at.clock.now), Change(1, State.FAILED, LATER, attempted=True))
        found = fates.find(asking.queue_id)
        assert (found.key, found.number, [str(one) for one in found.fates]) == ("order-1", 0, ["r1@example.org"])
        at.claim()
        at.settle(asking.queue_id, Change(0, State.RELAYED, replace(LATER, remote_reply="250 ok"), attempted=True))
        (settled,) = fates.unseen("billing", 10)
        assert settled == fates.find(asking.queue_id)
        assert settled.fates["r0@example.org"] == Fate(State.RELAYED, LATER.status, "250 ok", 2)
        assert settled.fates["r1@example.org"] == Fate(State.FAILED, LATER.status, LATER.remote_reply, 1)
        assert (told, fates.find(silent.queue_id)) == ([[asking.queue_id]], None)
        at.wait(fates.seen("billing", settled.number))
        assert list(fates.unseen("billing", 10)) == []
        assert list(fates.unseen("another", 10)) == [settled]

    def test_a_key_is_taken_once(self, at: SpoolBench) -> None:
        spool = at.open()
        first, second = (replace(at.message(), fates=True, key="order-1") for _ in range(2))
        one, two = spool.store(first), spool.store(second)
        assert (at.wait(one), at.wait(two)) == (first.queue_id, first.queue_id)
        assert [claim.queue_id for claim in at.fresh] == [first.queue_id]
        assert (spool.fates.sent("order-1"), spool.fates.sent("order-2")) == (first.queue_id, None)
        assert spool.counts()["messages"] == 1

    # The end.

    def test_stop_commits_what_is_waiting(self, at: SpoolBench) -> None:
        spool = at.open()
        waiting = [spool.store(at.message()) for _ in range(20)]
        late = at.message()
        at.close()
        assert all(one.called for one in waiting)
        with pytest.raises(SpoolFailed):
            at.wait(spool.store(late))
        assert (at.claim(), spool.next_due(), spool.healthy) == ([], None, "the spool is not running")
