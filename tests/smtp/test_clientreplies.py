"""The reply parser: every split gives the same, everything is bounded, nothing hostile comes through."""

from __future__ import annotations

import pytest

from mailserver.smtp.clientreplies import MAX_LINE, MAX_LINES, ProtocolFailure, ReplyParser, printable
from mailserver.smtp.reply import Reply
from mailserver.smtp.status import Status


def parse(*pieces: bytes) -> list[Reply]:
    parser, found = ReplyParser(), []
    for piece in pieces:
        parser.feed(piece)
        while (reply := parser.next()) is not None:
            found.append(reply)
    return found


SESSION = (
    b"220 mx.example.org ESMTP\r\n"
    b"250-mx.example.org\r\n250-SIZE 1000\r\n250 DSN\r\n"
    b"250 2.1.0 sender ok\r\n"
    b"550-5.1.1 no such user\r\n550-5.1.1 see http://x.example/\r\n550 5.1.1 bye\r\n"
    b"354\r\n"
    b"250 2.0.0 queued as A\n"
)
REPLIES = [
    Reply(220, None, ("mx.example.org ESMTP",)),
    Reply(250, None, ("mx.example.org", "SIZE 1000", "DSN")),
    Reply(250, Status(2, 1, 0), ("sender ok",)),
    Reply(550, Status(5, 1, 1), ("no such user", "see http://x.example/", "bye")),
    Reply(354, None, ("",)),
    Reply(250, Status(2, 0, 0), ("queued as A",)),
]


def test_whole_session() -> None:
    assert parse(SESSION) == REPLIES


def test_cut_at_every_octet() -> None:
    for place in range(len(SESSION) + 1):
        assert parse(SESSION[:place], SESSION[place:]) == REPLIES


def test_octet_by_octet() -> None:
    assert parse(*(bytes([octet]) for octet in SESSION)) == REPLIES


def test_nothing_is_left_over_after_whole_replies() -> None:
    parser = ReplyParser()
    parser.feed(b"220 a\r\n22")
    assert parser.next() is not None
    assert not parser.empty
    parser.feed(b"0 b\r\n")
    assert parser.next() == Reply(220, None, ("b",))
    assert parser.empty


def test_a_reply_half_told_is_not_empty() -> None:
    parser = ReplyParser()
    parser.feed(b"250-a\r\n")
    assert parser.next() is None
    assert not parser.empty


@pytest.mark.parametrize(
    "hostile",
    [
        b"hello\r\n",
        b"\r\n",
        b"25\r\n",
        b"250x\r\n",
        b"150 x\r\n",
        b"650 x\r\n",
        b"2\xb20 x\r\n",
        b"250\t tab\r\n",
        b" 250 x\r\n",
        b"+50 x\r\n",
        b"2_0 x\r\n",
        "２５０ x\r\n".encode(),
        b"250\r x\r\n",
        b"\x00250 x\r\n",
        b"\n",
        b"250-a\r\n\r\n",
        b"250-a\r\n250\tb\r\n",
        b"220-a\r\n\x1b[2J\r\n",
        b"250-a\r\n251 b\r\n",
        b"250-a\r\n550 b\r\n",
        b"250 " + b"x" * MAX_LINE + b"\r\n",
        b"250 " + b"x" * MAX_LINE,
        b"250-x\r\n" * MAX_LINES + b"250 x\r\n",
    ],
)
def test_no_reply_of_smtp(hostile: bytes) -> None:
    with pytest.raises(ProtocolFailure):
        parse(hostile)


@pytest.mark.parametrize(
    ("octets", "lines"),
    [
        (b"250\r\n", ("",)),
        (b"250\n", ("",)),
        (b"250 \r\n", ("",)),
        (b"250-\r\n250\r\n", ("", "")),
        (b"250-a\n250-b\r\n250 c\n", ("a", "b", "c")),
        (b"250 a\rb\r\n", (r"a\rb",)),
        (b"250 a\r\r\n", (r"a\r",)),
        (b"250 a\x00\x1b[31m\x7f\r\n", (r"a\x00\x1b[31m\x7f",)),
        ("250 grüße\r\n".encode(), ("grüße",)),
        ("250 \u010a\u760d\u2028\u202e\uff20\r\n".encode(), ("\u010a\u760d\\u2028\\u202e\uff20",)),
        (b"250 \xff\xc4\r\n", (r"\xff\xc4",)),
        (b"250 250 OK\r\n", ("250 OK",)),
    ],
)
def test_odd_replies_that_are_some(octets: bytes, lines: tuple[str, ...]) -> None:
    for place in range(len(octets)):
        assert parse(octets[:place], octets[place:]) == [Reply(250, None, lines)]
    assert all(line.isprintable() for line in lines)


def test_endless_input_is_not_kept() -> None:
    parser, fed = ReplyParser(), 0

    def feed_for_ever() -> None:
        nonlocal fed
        while parser.next() is None:
            parser.feed(b"250-" + b"x" * 1000 + b"\r\n")
            fed += 1

    with pytest.raises(ProtocolFailure, match="more than"):
        feed_for_ever()
    assert fed == MAX_LINES + 1


def test_bounds_are_reached() -> None:
    longest = b"250 " + b"x" * (MAX_LINE - 6) + b"\r\n"
    assert len(parse(longest)) == 1
    assert len(parse(b"250-x\r\n" * (MAX_LINES - 1) + b"250 x\r\n")[0].lines) == MAX_LINES


def test_a_status_of_another_class_is_text() -> None:
    assert parse(b"250 5.1.1 odd\r\n") == [Reply(250, None, ("5.1.1 odd",))]
    assert parse(b"450 4.7.1\r\n") == [Reply(450, Status(4, 7, 1), ("",))]


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"plain", "plain"),
        ("grüße".encode(), "grüße"),
        (b"\xff\xfe", r"\xff\xfe"),
        (b"a\x1b[31m\0\rb", r"a\x1b[31m\x00\rb"),
        ("\u202egnp.exe".encode(), r"\u202egnp.exe"),
        ("a\u2028b".encode(), r"a\u2028b"),
    ],
)
def test_printable(octets: bytes, text: str) -> None:
    assert printable(octets) == text
    assert printable(octets).isprintable()
