"""What a check may look at is empty until it is known."""

from __future__ import annotations

from mailserver.message import CheckContext, Content


def test_before_the_content_there_is_none():
    context = CheckContext("s1")
    assert (context.header, context.size, context.content) == (b"", 0, None)
    assert context.reverse_path.is_null
    assert context.reverse_path.domain is None
    assert context.identity.account is None


def test_the_header_and_the_size_are_those_of_the_content():
    context = CheckContext("s1", content=Content.of(b"Subject: a\r\n\r\nb\r\n"))
    assert (context.header, context.size) == (b"Subject: a\n", 17)
