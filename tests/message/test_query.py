"""Queries and pages."""

from __future__ import annotations

from mailserver.message.query import Page, Query


def test_an_empty_query_asks_for_the_first_page_of_everything() -> None:
    query = Query()
    assert (query.queue_id, query.state, query.destination, query.after) == (None, None, "", "")
    assert query.limit > 0


def test_a_page_is_the_last_unless_it_says_what_follows() -> None:
    assert Page(()).after == ""
