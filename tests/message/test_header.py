"""Looking at a header section."""

from __future__ import annotations

import pytest

from mailserver.message.content import Content
from mailserver.message.header import field_names, has_header, hops, missing


def test_field_names_in_order_without_continuation_lines() -> None:
    header = b"Received: a\n\tb: c\nSUBJECT : x\nno field\nX-Y:\n folded: line\n"
    assert field_names(header) == [b"received", b"subject", b"x-y"]
    assert field_names(b"") == []


@pytest.mark.parametrize(
    ("header", "number"),
    [
        (b"", 0),
        (b"Subject: Received: x\n", 0),
        (b"Received-SPF: pass\nX-Received: y\n", 0),
        (b"Subject: x\n\tReceived: folded\n", 0),
        (b"Received: a\nReceived: b\nTo: c\nreceived: d\n", 3),
        (b"rEcEiVeD: a\nRECEIVED: b\n", 2),
    ],
)
def test_hops(header: bytes, number: int) -> None:
    assert hops(header) == number


@pytest.mark.parametrize(
    ("octets", "names"),
    [
        (b"\nDate: in the body\n", {b"date", b"message-id", b"from"}),
        (b"FROM: a\nmessage-id: b\ndate: c\n\n", set()),
        (b"From: a\nX: b\n Date: folded\n\nDate: body\n", {b"date", b"message-id"}),
    ],
)
def test_missing(octets: bytes, names: set[bytes]) -> None:
    assert missing(Content.of(octets)) == names


@pytest.mark.parametrize(
    ("octets", "there"),
    [
        (b"", True),
        (b"\nbody\n", True),
        (b"Subject: a\n\n", True),
        (b"Subject : a\n\n", True),
        (b"Hello Ben,\n\n", False),
        (b"Dear Ben: hi\n", False),
        (b": nothing\n", False),
        (b" folded: first\n", False),
        ("Ünicode: a\n".encode(), False),
    ],
)
def test_has_header(octets: bytes, there: bool) -> None:
    assert has_header(Content.of(octets)) is there
