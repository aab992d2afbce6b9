"""Replies on the wire, and the catalogue."""

import pytest

from mailserver.smtp import replies
from mailserver.smtp.reply import Reply, reply
from mailserver.smtp.status import Status

CATALOGUE = {name: one for name, one in vars(replies).items() if isinstance(one, Reply)}


def test_every_line_has_code_and_status():
    assert reply(250, (2, 1, 0), "a", "b").wire == b"250-2.1.0 a\r\n250 2.1.0 b\r\n"
    assert reply(354, None, "go").wire == b"354 go\r\n"
    assert reply(250, None).wire == b"250 \r\n"


def test_nothing_splits_a_reply():
    assert reply(550, None, "no\r\n250 yes\0").wire == b"550 no??250 yes?\r\n"


def test_non_ascii_is_escaped():
    assert reply(550, None, "für").wire == b"550 f\\xfcr\r\n"


def test_str_is_for_people():
    assert str(reply(250, (2, 1, 0), "a", "b")) == "250 2.1.0 a b"
    assert [reply(code, None).positive for code in (250, 354, 421, 550)] == [True, True, False, False]


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_catalogue_is_consistent(name):
    one = CATALOGUE[name]
    assert one.status is None or one.status.klass == one.code // 100
    assert (one.status is None) == (one.code == 354)
    assert all(line and line.isascii() and line.isprintable() for line in one.lines)
    assert all(len(line) <= 512 for line in one.wire.splitlines(keepends=True))
    assert b"mailserver" not in one.wire.lower()


def test_greeting():
    assert replies.greeting("mx.example.org").wire == b"220 mx.example.org ESMTP\r\n"


@pytest.mark.parametrize(("text", "status"), [("5.7.1", Status(5, 7, 1)), ("4.123.0", Status(4, 123, 0))])
def test_status_is_read(text, status):
    assert Status.parse(text) == status
    assert str(status) == text


@pytest.mark.parametrize("text", ["", "5.7", "3.1.1", "5.7.1.1", "5.7.x", "5.7.1234", "5..1", "5.7.²"])
def test_what_is_no_status(text):
    assert Status.parse(text) is None
