"""The spool on disk: what the contract of spools (tests/contract/test_spools.py) does not say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mailserver.interfaces import SpoolFailed
from mailserver.message import Change, Klass, Outcome, Scope, Settlement, State, Status

DELIVERED = State.DELIVERED
LATER = Outcome(Klass.TRANSIENT, Scope.HOST, Status(4, 4, 1), "not now", remote_mta="mx", remote_reply="450 no")


def deferred(number: int, due: float, destination: str = "", **more: Any) -> Change:
    return Change(number, State.DEFERRED, LATER, due, destination, attempted=True, **more)


def final(*numbers: int) -> list[Change]:
    return [Change(number, DELIVERED) for number in numbers]


def rows_on_disk(harness: Any) -> int:
    number: int = harness.spool._reader.rows("SELECT count(*) FROM recipients")[0][0]
    return number


# Fresh messages.


def test_one_batch_comes_back_in_one_call(harness: Any) -> None:
    spool = harness.open(subscribed=False)
    batches: list[int] = []
    spool.subscribe(lambda claims: batches.append(len(claims)))
    first = spool.store(harness.message())
    rest = [spool.store(harness.message()) for _ in range(200)]
    harness.wait(first)
    for one in rest:
        harness.wait(one)
    assert sum(batches) == 201
    assert len(batches) < 100


def test_without_a_subscriber_claim_finds_them(harness: Any) -> None:
    harness.open(subscribed=False)
    ids = [harness.store() for _ in range(3)]
    assert harness.spool.next_due() == harness.clock.now
    assert [claim.queue_id for claim in harness.claim(2)] == ids[:2]
    late = harness.store()
    assert [claim.queue_id for claim in harness.claim()] == [ids[2], late]
    assert harness.claim() == []
    assert harness.spool.next_due() is None


def test_delivered_is_gone(harness: Any) -> None:
    harness.open()
    queue_id = harness.store(3)
    harness.settle(queue_id, *final(0, 1, 2))
    assert harness.spool.counts() == {"messages": 0, "active": 0}
    assert harness.spool.content(queue_id) is None
    harness.reopen()
    assert harness.claim() == []


def test_the_same_queue_id_twice_is_refused_and_hurts_nobody_else(harness: Any) -> None:
    import sqlite3

    spool = harness.open()
    queue_id = harness.store()
    others = [spool.store(harness.message()) for _ in range(3)]
    twin = spool.store(replace(harness.message(), queue_id=queue_id))
    others += [spool.store(harness.message()) for _ in range(3)]
    with pytest.raises(sqlite3.IntegrityError):
        harness.wait(twin)
    assert len({harness.wait(one) for one in others}) == 6
    assert spool.counts()["messages"] == 7
    assert harness.fatal == []


# Packed and unpacked.


def test_the_first_unfinished_settlement_writes_every_recipient(harness: Any) -> None:
    spool = harness.open()
    queue_id = harness.store(4)
    harness.settle(queue_id, *final(0), deferred(1, harness.clock.now + 60, "slow.example"))
    assert harness.states(queue_id) == {0: DELIVERED, 1: State.DEFERRED, 2: State.ACTIVE, 3: State.ACTIVE}
    harness.reopen()
    assert harness.states(queue_id) == {0: DELIVERED, 1: State.DEFERRED, 2: State.QUEUED, 3: State.QUEUED}
    (claim,) = harness.claim()
    assert [one.number for one in claim.recipients] == [2, 3]
    assert claim.again
    assert spool.counts()["messages"] == 1


def test_a_change_of_an_unknown_recipient_is_an_error_of_its_own(harness: Any) -> None:
    harness.open()
    queue_id = harness.store(2)
    with pytest.raises(KeyError):
        harness.settle(queue_id, deferred(7, 0.0))
    assert harness.states(queue_id) == {0: State.ACTIVE, 1: State.ACTIVE}
    assert harness.fatal == []


# Operators.


def test_removed_while_active_stays_removed_and_its_file_outlives_the_attempt(harness: Any) -> None:
    spool = harness.open()
    queue_id = harness.store(1, b"x" * 5000)
    harness.settle(queue_id, Change(0, State.REMOVED), claimed=False)
    assert spool.counts()["messages"] == 0
    assert len(harness.files()) == 1
    assert b"".join(harness.fresh[0].content.pieces()) == b"x" * 5000
    harness.settle(queue_id, deferred(0, harness.clock.now))
    assert harness.files() == set()
    assert harness.claim() == []


def test_an_operator_comes_between_a_claim_and_its_settlement(harness: Any) -> None:
    """Queued before the claim, committed after it, and the holder ends the message in the same batch."""
    spool = harness.open(subscribed=False)
    queue_id = harness.store(2)
    held = spool.settle([Settlement(queue_id, (Change(0, State.HELD),), claimed=False)])
    (claim,) = harness.claim()
    done = spool.settle([Settlement(queue_id, tuple(final(0, 1)))])
    harness.wait(held)
    harness.wait(done)
    assert claim.queue_id == queue_id
    assert spool.counts() == {"messages": 0, "active": 0}
    assert rows_on_disk(harness) == 0


# Due.


def test_oldest_due_first_across_both_kinds(harness: Any) -> None:
    harness.open()
    rows = [harness.store() for _ in range(3)]
    for age, queue_id in zip((30, 10, 20), rows, strict=True):
        harness.settle(queue_id, deferred(0, harness.clock.now - age))
    harness.clock.now -= 15
    packed = harness.store()
    harness.clock.now += 15
    harness.reopen()
    found = [harness.claim(1)[0].queue_id for _ in range(4)]
    assert found == [rows[0], rows[2], packed, rows[1]]
    assert harness.claim(1) == []


def test_closed_destinations_are_skipped_and_starve_nobody(harness: Any, monkeypatch: Any) -> None:
    from mailserver.spool import due

    monkeypatch.setattr(due, "_PAGE", 2)
    harness.open()
    now = harness.clock.now
    shut = [harness.store() for _ in range(7)]
    free = harness.store()
    for queue_id in shut:
        harness.settle(queue_id, deferred(0, now - 10, "shut.example"))
    harness.settle(free, deferred(0, now - 5, "free.example"))
    assert [claim.queue_id for claim in harness.claim(5, {"shut.example"})] == [free]
    assert harness.claim(5, {"shut.example"}) == []
    assert harness.spool.next_due() == now
    assert len(harness.claim(5)) == 5
    assert len(harness.claim(5)) == 2
    assert harness.spool.next_due() is None


def test_a_search_goes_on_where_its_window_ended(harness: Any, monkeypatch: Any) -> None:
    from mailserver.spool import due

    monkeypatch.setattr(due, "_EDGE", due._EDGE.replace("OFFSET 50000", "OFFSET 2"))
    harness.open()
    now = harness.clock.now
    shut = [harness.store() for _ in range(7)]
    free = harness.store()
    for queue_id in shut:
        harness.settle(queue_id, deferred(0, now - 10, "shut.example"))
    harness.settle(free, deferred(0, now - 5, "free.example"))
    found = [claim.queue_id for _ in range(4) for claim in harness.claim(5, {"shut.example"})]
    assert found == [free]
    assert harness.spool.next_due() == now


def test_a_message_is_claimed_in_parts(harness: Any) -> None:
    harness.open()
    now = harness.clock.now
    queue_id = harness.store(2, b"x" * 5000)
    harness.settle(queue_id, deferred(0, now), deferred(1, now + 10))
    (first,) = harness.claim()
    harness.clock.now += 10
    (second,) = harness.claim()
    assert ([one.number for one in first.recipients], [one.number for one in second.recipients]) == ([0], [1])
    harness.settle(queue_id, *final(0))
    assert len(harness.files()) == 1
    harness.settle(queue_id, *final(1))
    assert harness.files() == set()


# A restart.


def test_packed_messages_of_an_earlier_process_are_found(harness: Any) -> None:
    harness.open()
    ids = [harness.store(2) for _ in range(5)]
    harness.reopen()
    assert not harness.spool.unclean
    fresh = harness.store()
    assert harness.spool.next_due() == harness.clock.now
    claims = harness.claim()
    assert [claim.queue_id for claim in claims] == ids
    assert all(claim.again and len(claim.recipients) == 2 for claim in claims)
    assert b"".join(claims[0].content.chunks()) == b"Subject: x\n\nbody\n"
    assert fresh not in [claim.queue_id for claim in harness.claim()]


def test_a_long_backlog_is_walked_in_windows(harness: Any, monkeypatch: Any) -> None:
    from mailserver.spool import claims

    monkeypatch.setattr(claims, "_EDGE", claims._EDGE.replace("OFFSET 5000", "OFFSET 2"))
    harness.open()
    ids = [harness.store() for _ in range(10)]
    for queue_id in ids[:5]:
        harness.settle(queue_id, deferred(0, harness.clock.now + 100))
    harness.reopen()
    found = [claim.queue_id for _ in range(5) for claim in harness.claim(2)]
    assert found == ids[5:]
    assert harness.claim() == []
    assert harness.spool.next_due() == harness.clock.now + 100


def test_an_unclean_end_is_known(harness: Any) -> None:
    harness.open()
    queue_id = harness.store()
    image = harness.crash()
    spool = image.open()
    assert spool.unclean
    assert [claim.queue_id for claim in image.claim()] == [queue_id]
    image.close()


def test_what_is_found_but_not_read_yet_is_found_again(harness: Any, monkeypatch: Any) -> None:
    from mailserver.spool import claims

    monkeypatch.setattr(claims, "_TOGETHER", 1)
    monkeypatch.setattr(claims, "_OCTETS", 10)
    harness.open()
    rows = [harness.store() for _ in range(3)]
    for queue_id in rows:
        harness.settle(queue_id, deferred(0, harness.clock.now))
    packed = [harness.store() for _ in range(2)]
    harness.reopen()
    found = []
    while (due := harness.spool.next_due()) is not None and due <= harness.clock.now:
        (claim,) = harness.claim()
        found.append(claim.queue_id)
    assert sorted(found) == sorted(rows + packed)


def test_a_backlog_that_fills_the_limit_hides_no_row(harness: Any) -> None:
    harness.open()
    late = harness.store()
    harness.settle(late, deferred(0, harness.clock.now + 5))
    packed = [harness.store() for _ in range(2)]
    harness.reopen()
    harness.clock.now += 10
    assert [claim.queue_id for claim in harness.claim(2)] == packed
    assert [claim.queue_id for claim in harness.claim(2)] == [late]


# Listings.


def test_counts_after_a_restart(harness: Any) -> None:
    harness.open()
    harness.store(3)
    queue_id = harness.store(2)
    harness.settle(queue_id, *final(0), deferred(1, harness.clock.now + 60))
    expected = {"messages": 2, "queued": 3, "delivered": 1, "deferred": 1}
    assert harness.spool.counts() == {**expected, "active": 3}
    harness.reopen()
    assert harness.spool.counts() == {**expected, "active": 0}


# The end.


def test_stop_commits_what_is_queued(harness: Any) -> None:
    spool = harness.open()
    waiting = [spool.store(harness.message()) for _ in range(20)]
    harness.close()
    assert all(one.called for one in waiting)
    assert not (harness.directory / "spool.db-wal").exists()
    with pytest.raises(SpoolFailed):
        harness.wait(spool.store(waiting and harness.message()))
    assert (harness.claim(), spool.next_due(), spool.healthy) == ([], None, "the spool is not running")
    harness.open()
    assert harness.spool.counts()["messages"] == 20


def test_ticks(harness: Any) -> None:
    harness.open()
    harness.tick()
    harness.tick()
