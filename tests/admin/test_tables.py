"""What people see."""

import json

import pytest

from mailserver.admin.tables import as_json, printable, rendered


def test_a_table_is_aligned():
    rows = [{"name": "a", "n": 1}, {"name": "longer", "n": 22}]
    assert rendered(rows) == "name    n\na       1\nlonger  22"


def test_no_rows():
    assert rendered([]) == "none"


def test_a_sentence_stands_alone():
    assert rendered({"domain": "example.org", "said": "added"}) == "added"


def test_facts_and_tables():
    reply = {"host name": "mx", "uptime": 3, "queue": {"messages": 2, "held": 1}, "listeners": [{"name": "mx"}]}
    assert rendered(reply) == "host name  mx\nuptime     3 s\nqueue      messages 2, held 1\nlisteners:\nname\nmx"


def test_a_table_with_a_sentence():
    assert rendered({"recipients": [{"a": 1}], "after": "x", "said": "more"}) == "a\n1\nmore"


def test_what_is_empty_is_left_out():
    assert rendered({"recipients": [{"a": 1}], "after": "", "x": None}) == "a\n1"


def test_an_empty_listing_says_so():
    assert rendered({"recipients": [], "after": "", "said": "the queue is empty"}) == "the queue is empty"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "yes"), (False, "no"), (["a", "b"], "a, b"), ("a\x1b[2Jb\n", r"a\x1b[2Jb\n"), ("ü", "ü")],
)
def test_nothing_moves_the_cursor(value, text):
    assert printable(value) == text


def test_json_keeps_everything():
    reply = {"a": [1, None, "ü\x1b"], "said": "x"}
    assert json.loads(as_json(reply)) == reply
    assert "\n" not in as_json(reply)
