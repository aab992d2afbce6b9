from __future__ import annotations

from typing import Any

from mailserver.spool.claims import _TOGETHER


def test_a_message_is_not_claimed_between_its_commit_and_the_news_of_it(harness: Any) -> None:
    """Walking what an earlier process left, the reader sees a row that is durable before the reactor knows. Were
    it claimed, it would fly a second time when the batch hands it over as fresh."""
    harness.open(subscribed=False)
    left = [harness.store() for _ in range(_TOGETHER + 1)]
    spool = harness.reopen()
    first = harness.claim(limit=1)
    stored = spool.store(harness.message())
    news = harness.reactor.calls.get(timeout=20)
    claims = first + harness.claim() + harness.claim()
    assert {claim.queue_id for claim in claims} == set(left)
    function, arguments = news
    function(*arguments)
    fresh = harness.wait(stored)
    assert [claim.queue_id for claim in harness.fresh] == [fresh]
    assert all(claim.queue_id != fresh for claim in harness.claim())


def test_without_a_subscriber_what_is_stored_meanwhile_is_found(harness: Any) -> None:
    harness.open(subscribed=False)
    for _ in range(_TOGETHER + 1):
        harness.store()
    spool = harness.reopen(subscribed=False)
    harness.claim(limit=1)
    stored = spool.store(harness.message())
    news = harness.reactor.calls.get(timeout=20)
    harness.claim()
    function, arguments = news
    function(*arguments)
    assert harness.wait(stored) in {claim.queue_id for claim in harness.claim()}
