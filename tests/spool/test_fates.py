"""Fates in the store: written by the commit that settles, unique by key, read after a restart, swept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from zope.interface.verify import verifyObject

from mailserver.interfaces import IFates, SpoolFailed, SpoolFull
from mailserver.message import Change, Fate, Original, Prepared, Recipient, Settlement, State, Status
from mailserver.message.outcome import delivered, permanent, transient
from mailserver.smtp.address import Mailbox
from mailserver.spool.fatebook import STEP

DAY = 86_400.0
GOOD = Fate(State.DELIVERED, Status(2, 0, 0), None, 1)
NO = permanent("no such user", Status(5, 1, 1))
BUSY = transient("busy", Status(4, 2, 1))


def asking(harness: Any, key: str | None = None, recipients: int = 1, octets: bytes = b"\nx\n") -> Prepared:
    return replace(harness.message(recipients, octets), fates=True, key=key)


def send(harness: Any, key: str | None = None, recipients: int = 1) -> str:
    queue_id: str = harness.wait(harness.spool.store(asking(harness, key, recipients)))
    return queue_id


def good(number: int = 0) -> Change:
    return Change(number, State.DELIVERED, delivered(), attempted=True)


def by_name(harness: Any, queue_id: str) -> dict[str, Fate]:
    found = harness.spool.fates.find(queue_id)
    return {str(mailbox): fate for mailbox, fate in found.fates.items()}


def unseen(harness: Any, name: str = "billing") -> list[str]:
    return [one.queue_id for one in harness.spool.fates.unseen(name, 100)]


def test_the_interface(harness: Any) -> None:
    assert verifyObject(IFates, harness.open().fates)


def test_a_settlement_writes_the_fates_and_a_restart_keeps_them(harness: Any) -> None:
    harness.open()
    queue_id = send(harness, "k", 2)
    assert harness.spool.fates.find(queue_id).number == 0
    failed = replace(NO, remote_reply="550 5.1.1 who?")
    harness.settle(queue_id, good(), Change(1, State.FAILED, failed, attempted=True))
    expected = {"r0@example.org": GOOD, "r1@example.org": Fate(State.FAILED, Status(5, 1, 1), "550 5.1.1 who?", 1)}
    for _ in range(2):
        assert by_name(harness, queue_id) == expected
        assert harness.spool.counts() == {"messages": 0, "active": 0}
        harness.reopen()
    found = harness.spool.fates.find(queue_id)
    assert (found.key, found.number) == ("k", 1)


def test_what_asks_for_no_fates_leaves_nothing(harness: Any) -> None:
    harness.open()
    queue_id = harness.store(2)
    harness.settle(queue_id, good(), good(1))
    assert harness.spool.fates.find(queue_id) is None
    assert unseen(harness) == []


def test_recipients_become_final_one_after_the_other(harness: Any) -> None:
    harness.open()
    queue_id = send(harness, recipients=3)
    harness.settle(queue_id, good(1))
    assert by_name(harness, queue_id) == {"r1@example.org": GOOD}
    harness.settle(queue_id, Change(0, State.DEFERRED, BUSY, harness.clock.now, attempted=True), good(2))
    assert list(by_name(harness, queue_id)) == ["r1@example.org", "r2@example.org"]
    assert unseen(harness) == []
    harness.reopen()
    (claim,) = harness.claim()
    assert [one.number for one in claim.recipients] == [0]
    harness.settle(queue_id, good())
    assert by_name(harness, queue_id)["r0@example.org"] == replace(GOOD, attempts=2)
    assert unseen(harness) == [queue_id]
    assert harness.files() == set()


def test_a_claim_after_a_restart_still_asks_for_them(harness: Any) -> None:
    harness.open(subscribed=False)
    queue_id = send(harness)
    harness.reopen()
    assert [claim.queue_id for claim in harness.claim()] == [queue_id]
    harness.settle(queue_id, good())
    assert by_name(harness, queue_id) == {"r0@example.org": GOOD}


def test_an_operator_who_removes_decides_a_fate(harness: Any) -> None:
    harness.open()
    queue_id = send(harness)
    harness.settle(queue_id, Change(0, State.REMOVED), claimed=False)
    assert by_name(harness, queue_id)["r0@example.org"].state is State.REMOVED
    # It was in flight: what comes of the attempt does not change a fate that was told.
    harness.settle(queue_id, good())
    assert by_name(harness, queue_id)["r0@example.org"].state is State.REMOVED
    assert unseen(harness) == [queue_id]


def test_an_alias_has_one_fate_when_the_last_of_its_targets_is_final(harness: Any) -> None:
    harness.open()
    team = Original(Mailbox.parse("team@example.org"))
    recipients = tuple(Recipient(n, Mailbox.parse(f"r{n}@example.org"), (team,)) for n in range(2))
    prepared = replace(asking(harness), recipients=recipients)
    queue_id = harness.wait(harness.spool.store(prepared))
    harness.settle(queue_id, Change(0, State.FAILED, NO, attempted=True))
    assert by_name(harness, queue_id) == {}
    harness.settle(queue_id, good(1))
    assert by_name(harness, queue_id) == {"team@example.org": Fate(State.FAILED, Status(5, 1, 1), None, 1)}


def test_a_large_content_goes_when_the_message_is_settled(harness: Any) -> None:
    harness.open()
    queue_id = harness.wait(harness.spool.store(asking(harness, octets=b"x" * 3000)))
    assert len(harness.files()) == 1
    harness.settle(queue_id, good())
    assert (harness.files(), unseen(harness)) == (set(), [queue_id])


# Keys.


def test_a_key_is_stored_once(harness: Any) -> None:
    harness.open()
    first = send(harness, "order-42")
    again = asking(harness, "order-42", octets=b"x" * 3000)
    assert harness.wait(harness.spool.store(again)) == first
    assert harness.spool.counts()["messages"] == 1
    assert len(harness.fresh) == 1
    again.content.discard()
    assert harness.files() == set()
    assert send(harness, "order-43") != first
    assert harness.spool.fates.sent("order-42") == first
    assert harness.spool.fates.sent("order-44") is None


def test_two_at_once_with_one_key_are_one_message(harness: Any) -> None:
    spool = harness.open()
    calls = [spool.store(asking(harness, "k")) for _ in range(20)] + [spool.store(asking(harness, "other"))]
    ids = [harness.wait(call) for call in calls]
    assert len(set(ids[:20])) == 1
    assert ids[20] != ids[0]
    assert spool.counts()["messages"] == 2


def test_a_key_is_known_after_the_message_is_gone_and_after_a_restart(harness: Any) -> None:
    harness.open()
    first = send(harness, "k")
    harness.settle(first, good())
    harness.reopen()
    assert send(harness, "k") == first
    assert harness.spool.counts()["messages"] == 0


def test_a_bad_row_beside_it_spoils_neither_a_key_nor_a_fate(harness: Any) -> None:
    spool = harness.open()
    there = asking(harness)
    settled = send(harness, "s")
    harness.wait(spool.store(there))
    twice = spool.store(replace(there, content=harness.content(b"x")))  # its id is taken
    keyed = spool.store(asking(harness, "k"))
    done = spool.settle([Settlement(settled, (good(),))])
    again = spool.store(asking(harness, "k"))
    with pytest.raises(Exception, match="UNIQUE"):
        harness.wait(twice)
    assert harness.wait(keyed) == harness.wait(again)
    harness.wait(done)
    assert unseen(harness) == [settled]


# Subscribers.


def test_whoever_subscribed_hears_of_messages_whose_last_recipient_is_final(harness: Any) -> None:
    spool = harness.open()
    heard: list[str] = []
    spool.fates.subscribe(heard.extend)
    plain, first, second = harness.store(), send(harness), send(harness, recipients=2)
    harness.settle(plain, good())
    harness.settle(second, good())
    assert heard == []
    harness.settle(second, good(1))
    harness.settle(first, good())
    assert heard == [second, first]
    spool.fates.subscribe(None)
    harness.settle(send(harness), good())
    assert heard == [second, first]


def test_a_cursor_is_durable_and_moves_forward_only(harness: Any) -> None:
    harness.open()
    ids = [send(harness) for _ in range(4)]
    for queue_id in ids:
        harness.settle(queue_id, good())
    assert [one.number for one in harness.spool.fates.unseen("billing", 2)] == [1, 2]
    harness.wait(harness.spool.fates.seen("billing", 3))
    harness.wait(harness.spool.fates.seen("billing", 1))
    harness.wait(harness.spool.fates.seen("other", 1))
    harness.reopen()
    assert unseen(harness) == ids[3:]
    assert unseen(harness, "other") == ids[1:]
    assert unseen(harness, "new") == ids


def test_after_the_end_it_says_so(harness: Any) -> None:
    spool = harness.open()
    queue_id = send(harness)
    harness.close()
    with pytest.raises(SpoolFailed, match="not running"):
        spool.fates.find(queue_id)
    with pytest.raises(SpoolFailed, match="not running"):
        harness.wait(spool.fates.seen("billing", 1))
    harness.open()


def test_a_full_disk_takes_no_cursor_and_keeps_the_fates(harness: Any) -> None:
    spool = harness.open()
    queue_id = send(harness)
    spool._committer.full = "the disk is full"
    with pytest.raises(SpoolFull):
        harness.wait(spool.fates.seen("billing", 1))
    harness.settle(queue_id, good())
    assert unseen(harness) == [queue_id]


# Sweeping.


def test_old_fates_are_swept_with_their_keys(harness: Any) -> None:
    harness.open(fates_kept=30 * DAY)
    old = send(harness, "old")
    harness.settle(old, good())
    waiting = send(harness, "waiting")
    harness.clock.now += 29 * DAY
    harness.tick()
    new = send(harness, "new")
    harness.settle(new, good())
    assert unseen(harness) == [old, new]
    harness.clock.now += 2 * DAY
    harness.tick()
    assert unseen(harness) == [new]
    assert harness.spool.fates.find(old) is None
    assert harness.spool.fates.sent("old") is None
    # What is still queued is known however old it is, and a number is never used again.
    assert harness.spool.fates.sent("waiting") == waiting
    harness.clock.now += 90 * DAY
    harness.tick()
    harness.reopen()
    harness.settle(waiting, good())
    assert [one.number for one in harness.spool.fates.unseen("billing", 9)] == [3]


def test_what_a_subscriber_has_not_seen_is_kept_twice_as_long(harness: Any) -> None:
    harness.open(fates_kept=30 * DAY)
    seen, missed = send(harness), send(harness)
    harness.settle(seen, good())
    harness.settle(missed, good())
    harness.wait(harness.spool.fates.seen("billing", 1))
    harness.clock.now += 31 * DAY
    harness.tick()
    assert harness.spool.fates.find(seen) is None
    assert unseen(harness) == [missed]
    harness.clock.now += 30 * DAY
    harness.tick()
    assert unseen(harness) == []


def test_a_sweep_is_one_bounded_step_a_second(harness: Any) -> None:
    spool = harness.open()
    works = [spool.store(asking(harness)) for _ in range(STEP + 50)]
    ids = [harness.wait(work) for work in works]
    harness.wait(spool.settle([Settlement(queue_id, (good(),)) for queue_id in ids]))
    harness.clock.now += 31 * DAY
    harness.tick()
    assert len(spool.fates.unseen("billing", 5000)) == 50
    harness.tick()
    assert spool.fates.unseen("billing", 5000) == []


def test_a_clock_that_was_set_back_sweeps_nothing(harness: Any) -> None:
    harness.open()
    queue_id = send(harness)
    harness.settle(queue_id, good())
    harness.clock.now -= 365 * DAY
    harness.tick()
    assert unseen(harness) == [queue_id]


def test_a_power_loss_between_two_commits_leaves_whole_ones(harness: Any) -> None:
    harness.open()
    queue_id = send(harness, "k")
    before = harness.crash()
    harness.settle(queue_id, good())
    before.open()
    assert before.spool.fates.find(queue_id).number == 0
    assert [claim.queue_id for claim in before.claim()] == [queue_id]
    before.settle(queue_id, good())
    assert by_name(before, queue_id) == by_name(harness, queue_id)
    before.close()
