"""Content: however it is cut on its way in, it is the same content."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from mailserver.message.content import HEADER_SCAN, Content

# Line ends and a few letters: what the boundaries are about.
OCTETS = st.lists(st.sampled_from((b"\n", b"\n\n", b"a", b"Subject: x\n", b".\n", b"\x80"))).map(b"".join)


def cut(octets: bytes, places: list[int]) -> Content:
    content = Content()
    edges = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
    for start, end in itertools.pairwise(edges):
        assert content.write(octets[start:end]) is None
    assert content.finish() is None
    return content


def whole(content: Content, crlf: bool = False) -> bytes:
    result: Any = Deferred.fromCoroutine(content.read(crlf)).result
    assert result == b"".join(content.chunks(crlf))
    return bytes(result)


def header_of(octets: bytes) -> bytes:
    """The same rule, said in another way: lines up to the first empty one."""
    lines: list[bytes] = []
    for line in octets[:HEADER_SCAN].splitlines(keepends=True):
        if line == b"\n":
            break
        lines.append(line)
    return b"".join(lines)


@given(OCTETS, st.lists(st.integers(0, 500)), OCTETS)
def test_any_cuts_give_the_same_content(octets: bytes, places: list[int], head: bytes) -> None:
    content = cut(octets, places)
    content.head = head
    assert whole(content) == head + octets
    assert whole(content, crlf=True) == (head + octets).replace(b"\n", b"\r\n")
    assert content.size == len(whole(content, crlf=True))
    assert content.stored == len(head + octets)
    assert content.header() == header_of(octets)


@given(st.lists(st.sampled_from((b"a", b"\r\n", b"\n", b"\r"))), st.data())
def test_of_takes_any_line_end(parts: list[bytes], data: st.DataObject) -> None:
    octets = b"".join(parts)
    content = Content.of(octets)
    assert b"\r" not in whole(content)
    assert whole(content) == octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    # A CRLF that is cut in two is one line end still.
    place = data.draw(st.integers(0, len(octets)))
    assert whole(Content.of([octets[:place], octets[place:]])) == whole(content)


@pytest.mark.parametrize(
    ("octets", "header"),
    [
        (b"", b""),
        (b"\nbody\n", b""),
        (b"\n\n", b""),
        (b"Subject: a\n\nbody\n", b"Subject: a\n"),
        (b"Subject: a\n b\nTo: c\n\n\nbody", b"Subject: a\n b\nTo: c\n"),
        (b"Subject: a\n", b"Subject: a\n"),
        (b"Subject: a", b"Subject: a"),
    ],
)
def test_header(octets: bytes, header: bytes) -> None:
    assert Content.of(octets).header() == header


@pytest.mark.parametrize("size", [1, 1000, HEADER_SCAN - 1, HEADER_SCAN, 3 * HEADER_SCAN])
def test_a_header_without_end_is_cut(size: int) -> None:
    octets = b"X: " + b"y" * (2 * HEADER_SCAN)
    content = Content()
    for start in range(0, len(octets), size):
        content.write(octets[start : start + size])
        if start > HEADER_SCAN + 2000:
            break
    assert content.header() == octets[:HEADER_SCAN][: content.stored]


def test_the_head_is_no_part_of_the_header_but_of_everything_else() -> None:
    content = Content.of(b"Subject: a\n\nb\n")
    content.head = b"Received: x\n"
    assert content.header() == b"Subject: a\n"
    assert whole(content).startswith(b"Received: x\nSubject")
    assert list(content.pieces()) == [b"Subject: a\n\nb\n"]


def test_discard_forgets_and_may_be_called_twice() -> None:
    content = Content.of(b"a\n")
    content.discard()
    content.discard()
    assert whole(content) == b""


def test_many_small_pieces_become_few() -> None:
    """Whoever sends chooses how small they are; as objects they would take twenty times their octets."""
    content = Content()
    for number in range(50_000):
        content.write(b"%02d" % (number % 100))
    pieces = list(content.pieces())
    assert len(pieces) < 200
    assert b"".join(pieces) == b"".join(b"%02d" % (number % 100) for number in range(50_000))
    assert content.size == 100_000


def test_large_pieces_are_not_written_again() -> None:
    content, piece = Content(), bytes(65_536)
    for _ in range(200):
        content.write(piece)
        content.write(b"x")
    assert sum(one is piece for one in content.pieces()) == 200


@given(st.lists(st.integers(0, 2_000), max_size=300))
def test_the_octets_stay_in_their_order(sizes: list[int]) -> None:
    content = Content()
    pieces = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    for piece in pieces:
        content.write(piece)
    assert b"".join(content.pieces()) == b"".join(pieces)
