"""Cutting lines and content, at every place where input can be split."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.smtp.framing import (
    MAX_SKIPPED,
    SLICE,
    ChunkDecoder,
    ContentDecoder,
    ContentEncoder,
    ContentFault,
    Input,
    LineFault,
    stuff,
)

CONTENTS = [
    b"",
    b"\n",
    b"a\n",
    b"Subject: x\n\nbody\n",
    b".\n",
    b"..\n.\n",
    b".a\n..b\nc.d\n.\n",
    b"\n.\n\n..\n.x",
    b"a.\n.b",
    b"no line end",
    b"dots at end .\n..",
]
# Wire text, decoded text, what follows.
CORPUS = [
    (b".\r\n", b"", b""),
    (b".\r\nQUIT\r\n", b"", b"QUIT\r\n"),
    (b"a\r\n.\r\n.\r\n", b"a\n", b".\r\n"),
    (b"..\r\n.\r\n", b".\n", b""),
    (b".a\r\n.\r\n", b"a\n", b""),
    (b"\r\n.\r\n", b"\n", b""),
    (b"a.\r\n.b\r\n..\r\n...\r\n.\r\nRSET\r\n", b"a.\nb\n.\n..\n", b"RSET\r\n"),
    (b"x\r\n\r\n.\r\n", b"x\n\n", b""),
]


def decode(parts, **limits):
    decoder, text, rest = ContentDecoder(**limits), b"", b""
    for part in parts:
        if decoder.ended:
            rest += part
        elif part:
            text += decoder.feed(part)
            if decoder.ended:
                rest += part[len(part) - decoder.surplus :]
    return decoder, text, rest


def cuts(raw):
    """Every cut into two and three parts, and into single octets."""
    yield [raw]
    yield [raw[n : n + 1] for n in range(len(raw))]
    for one in range(1, len(raw)):
        yield [raw[:one], raw[one:]]
        for two in range(one + 1, len(raw)):
            yield [raw[:one], raw[one:two], raw[two:]]


@pytest.mark.parametrize(("raw", "text", "rest"), CORPUS)
def test_content_is_decoded_the_same_at_every_cut(raw, text, rest):
    for parts in cuts(raw):
        decoder, decoded, left = decode(parts)
        assert (decoder.ended, decoder.fault, decoded, left) == (True, None, text, rest), parts


SMUGGLING = [
    b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\n.\r", b"\r.\n", b"\r\n\0.\r\n",
    b"\r\n.\0\r\n", b"\0\r\n.\n", b"\r\r\n.\r", b"\r\n.\r\r\n", b"\n\n.\r\n", b"\r\n.\t\r\n", b"\r\n. \r\n",
    b"\n\r.\r\n",
    b"\r\n.\x0b\r\n", b"\r\n\x85.\r\n",
]  # fmt: skip


@pytest.mark.parametrize("variant", SMUGGLING)
def test_nothing_but_crlf_dot_crlf_ends_a_content(variant):
    raw = b"one" + variant + b"MAIL FROM:<evil@example.org>x"
    for parts in cuts(raw[: len(raw) - 20]):
        decoder, _, _ = decode(parts)
        assert not decoder.ended, parts
    for parts in ([raw], [raw[n : n + 1] for n in range(len(raw))]):
        decoder, _, rest = decode([*parts, b"\r\n.\r\n", b"NOOP\r\n"])
        assert decoder.ended
        assert rest == b"NOOP\r\n"
        if b"\r" in variant.replace(b"\r\n", b"") or b"\n" in variant.replace(b"\r\n", b"") or b"\0" in variant:
            assert decoder.fault is not None, parts


@pytest.mark.parametrize("variant", SMUGGLING)
def test_a_variant_at_the_very_start_ends_nothing(variant):
    start = variant.lstrip(b"\r\n")
    if start.startswith(b".\r\n"):
        # After the line end of DATA this is the end of an empty content.
        return
    for parts in cuts(start + b"x"):
        assert not decode(parts)[0].ended


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"a\nb\r\n.\r\n", ContentFault.BARE_LINE_END),
        (b"a\rb\r\n.\r\n", ContentFault.BARE_LINE_END),
        (b"\na\r\n.\r\n", ContentFault.BARE_LINE_END),
        (b"a\r\r\n.\r\n", ContentFault.BARE_LINE_END),
        (b"a\0b\r\n.\r\n", ContentFault.NUL),
        (b"\0\r\n.\r\n", ContentFault.NUL),
    ],
)
def test_bad_octets_are_found_at_every_cut_and_the_end_is_still_seen(raw, fault):
    for parts in cuts(raw + b"NOOP"):
        decoder, _, rest = decode(parts)
        assert (decoder.ended, decoder.fault, rest) == (True, fault, b"NOOP"), parts


def test_size_counts_crlf_as_two_and_no_stuffed_dots():
    raw = b"..a\r\nbc\r\n.\r\n"
    for parts in cuts(raw):
        assert decode(parts, max_size=8)[0].fault is None
        assert decode(parts, max_size=8)[0].size == 8
        assert decode(parts, max_size=7)[0].fault is ContentFault.TOO_LARGE


def test_what_is_too_large_is_counted_and_thrown_away():
    decoder = ContentDecoder(max_size=10)
    for _ in range(100):
        assert decoder.feed(b"x" * 100) == b""
    assert decoder.discarded == 10_000
    assert decoder.feed(b"\r\n.\r\n") == b""
    assert decoder.ended


def test_refuse_throws_the_rest_away():
    decoder = ContentDecoder()
    assert decoder.feed(b"abc\r\n") == b"abc\n"
    decoder.refuse()
    assert decoder.feed(b"def\r\n.\r\n") == b""
    assert decoder.ended


@pytest.mark.parametrize(
    ("raw", "long"),
    [
        (b"12345\r\n12345\r\n.\r\n", False),
        (b"123456\r\n.\r\n", True),
        (b"1\r\n123456\r\n1\r\n.\r\n", True),
        (b"..2345\r\n.\r\n", False),
        (b"..23456\r\n.\r\n", True),
        (b"\r\n\r\n\r\n\r\n\r\n\r\n12345\r\n.\r\n", False),
    ],
)
def test_long_lines_are_found_at_every_cut(raw, long):
    for parts in cuts(raw):
        fault = decode(parts, max_line=5)[0].fault
        assert (fault is ContentFault.LINE_TOO_LONG) is long, parts


@given(st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b""))))
def test_long_lines_are_found_as_a_plain_loop_would(lines):
    text = b"\n".join(lines) + b"\n"
    decoder = ContentDecoder(max_line=7)
    decoder.feed(b"".join(stuff([text])))
    plain = ContentFault.LINE_TOO_LONG if any(len(line) > 7 for line in lines) else None
    assert b"\0" in text or decoder.fault is plain


@pytest.mark.parametrize("text", CONTENTS)
def test_the_encoder_is_right_at_every_border(text):
    whole = b"".join(stuff([text]))
    ended = text if not text or text.endswith(b"\n") else text + b"\n"
    assert decode([whole])[1] == ended
    for parts in cuts(text) if text else [[b""]]:
        assert b"".join(stuff(parts)) == whole, parts


def test_the_encoder_refuses_cr():
    with pytest.raises(ValueError, match="CR"):
        ContentEncoder().feed(b"a\r\nb")


TEXT = st.lists(st.sampled_from([b".", b"\n", b"a", b"..", b"\n.", b"\n.\n", b"\xff"])).map(b"".join)


@given(TEXT, st.lists(st.integers(0, 60)), st.lists(st.integers(0, 60)))
def test_what_is_encoded_is_decoded_however_it_is_cut(text, cuts_out, cuts_in):
    def cut(octets, places):
        borders = [0, *sorted(place for place in places if place < len(octets)), len(octets)]
        return [octets[a:b] for a, b in pairwise(borders)]

    wire = b"".join(stuff(cut(text, cuts_out)))
    decoder, decoded, rest = decode(cut(wire + b"QUIT\r\n", cuts_in))
    assert decoder.ended
    assert decoder.fault is None
    assert decoded == (text if not text or text.endswith(b"\n") else text + b"\n")
    assert rest == b"QUIT\r\n"


# Lines.


def lines(parts, limit=20):
    source, found = Input(), []
    for part in parts:
        source.feed(part)
        while (line := source.line(limit)) is not None:
            found.append(line)
    return source, found


def test_lines_are_cut_the_same_at_every_split():
    raw = b"NOOP\r\nfoo\nQUIT\r\n" + b"x" * 30 + b"\r\n\r\nlast\r\n\n"
    for parts in cuts(raw):
        assert lines(parts)[1] == [
            b"NOOP",
            LineFault.BARE_LF,
            b"QUIT",
            LineFault.TOO_LONG,
            b"",
            b"last",
            LineFault.BARE_LF,
        ]


def test_the_limit_counts_the_line_end():
    assert lines([b"x" * 18 + b"\r\n"])[1] == [b"x" * 18]
    assert lines([b"x" * 19 + b"\r\n"])[1] == [LineFault.TOO_LONG]


def test_a_line_without_end_holds_no_memory_and_is_given_up():
    source, found = lines([b"x" * 1000] * 60)
    assert (len(source), found) == (0, [])
    source, found = lines([b"x" * 1000] * (MAX_SKIPPED // 1000 + 1))
    assert found == [LineFault.ENDLESS]
    assert lines([b"x" * MAX_SKIPPED + b"\r\n"])[1] == [LineFault.ENDLESS]


def test_slices_are_bounded_and_can_be_put_back():
    source = Input()
    source.feed(b"x" * (SLICE + 10))
    assert len(source.slice()) == SLICE
    source.put_back(4)
    assert len(source) == 14
    assert source.slice() == b"x" * 14
    assert source.slice() == b""
    source.feed(b"y")
    source.clear()
    assert len(source) == 0


# Line ends that are made whole.

# Wire text, decoded text. A line end that was made ends no content, and behind it no dot is taken off.
NORMALIZED = [
    (b"a\nb\r\n.\r\n", b"a\nb\n"),
    (b"a\rb\r\n.\r\n", b"a\nb\n"),
    (b"a\n\rb\r\n.\r\n", b"a\n\nb\n"),
    (b"a\r\r\nb\r\n.\r\n", b"a\n\nb\n"),
    (b"a\n.\nb\r\n.\r\n", b"a\n.\nb\n"),
    (b"a\r.\rb\r\n.\r\n", b"a\n.\nb\n"),
    (b"a\n.\r\nb\r\n.\r\n", b"a\n.\nb\n"),
    (b"a\r.\r\nb\r\n.\r\n", b"a\n.\nb\n"),
    (b"a\r\n.\nb\r\n.\r\n", b"a\n\nb\n"),
    (b"a\r\n.\rb\r\n.\r\n", b"a\n\nb\n"),
    (b".\nb\r\n.\r\n", b"\nb\n"),
    (b"\n.\n.\r\n.\r\n", b"\n.\n.\n"),
    (b"a\n..b\r\n..c\r\n.\r\n", b"a\n..b\n.c\n"),
    (b"a\n\r\n.\r\n", b"a\n\n"),
]


@pytest.mark.parametrize(("raw", "text"), NORMALIZED)
def test_normalized_line_ends_at_every_cut(raw, text):
    for parts in cuts(raw):
        decoder, decoded, rest = decode(parts, normalizes=True)
        assert (decoded, decoder.fault, decoder.ended, rest) == (text, None, True, b"")
        assert decoder.size == len(text) + text.count(b"\n")


@pytest.mark.parametrize("variant", [variant for variant in SMUGGLING if b"\0" not in variant])
def test_no_variant_ends_a_content_whose_line_ends_are_normalized(variant):
    decoder, text, rest = decode([b"a" + variant + b"b\r\n.\r\nREST"], normalizes=True)
    assert (decoder.fault, decoder.ended, rest) == (None, True, b"REST")
    assert b"\r" not in text
    # And what it has become ends none on the way out: it is stuffed there.
    wire = b"".join(stuff([text]))
    assert wire.find(b"\r\n.\r\n") == len(wire) - 5
    assert decode([wire])[1] == text


def test_normalizing_lets_nothing_else_pass():
    for raw, fault in ((b"a\n\0\r\n", ContentFault.NUL), (b"\rxxxxx\r\n", ContentFault.LINE_TOO_LONG)):
        assert decode([raw + b".\r\n"], normalizes=True, max_line=4)[0].fault is fault
    assert decode([b"\n" * 6 + b"\r\n.\r\n"], normalizes=True, max_size=13)[0].fault is ContentFault.TOO_LARGE
    assert decode([b"\n" * 6 + b"\r\n.\r\n"], normalizes=True, max_size=14)[0].fault is None
    assert decode([b"xxxx\nxxxx\r\n.\r\n"], normalizes=True, max_line=4)[0].fault is None


# Chunks.


def dechunk(parts, **limits):
    decoder = ChunkDecoder(**limits)
    return decoder, b"".join(map(decoder.feed, parts)) + decoder.end()


@pytest.mark.parametrize(
    ("raw", "strict", "made_whole"),
    [
        (b"", b"", b""), (b"a\r\n", b"a\n", b"a\n"), (b"a", b"a\n", b"a\n"), (b"..\r\n.", b"..\n.\n", b"..\n.\n"),
        (b"a\r", None, b"a\n"), (b"a\n", None, b"a\n"), (b"a\rb", None, b"a\nb\n"), (b"\n\r", None, b"\n\n"),
        (b"a\r\r\n", None, b"a\n\n"), (b"\r\n.\r\n", b"\n.\n", b"\n.\n"),
    ],
)  # fmt: skip
def test_chunks_at_every_cut(raw, strict, made_whole):
    for parts in cuts(raw):
        decoder, text = dechunk(parts)
        assert (decoder.fault is not None) is (strict is None)
        assert strict is None or (text == strict and decoder.size == len(text) + text.count(b"\n"))
        decoder, text = dechunk(parts, normalizes=True)
        assert (decoder.fault, text) == (None, made_whole)


def test_chunks_meet_the_bounds_of_a_content():
    assert dechunk([b"ab", b"cd\r\n"], max_line=4, max_size=6)[0].fault is None
    assert dechunk([b"ab", b"cde\r\n"], max_line=4)[0].fault is ContentFault.LINE_TOO_LONG
    assert dechunk([b"ab", b"cd\r\n"], max_size=5)[0].fault is ContentFault.TOO_LARGE
    # The line end that a last line gets counts: by DATA it would have come.
    assert dechunk([b"abcd"], max_size=6)[0].fault is None
    assert dechunk([b"abcd"], max_size=5)[0].fault is ContentFault.TOO_LARGE


@given(TEXT, st.lists(st.integers(0, 60)))
def test_chunks_give_what_was_sent(text, places):
    wire = text.replace(b"\n", b"\r\n")
    borders = [0, *sorted({place for place in places if place < len(wire)}), len(wire)]
    decoder, decoded = dechunk([wire[start:end] for start, end in pairwise(borders)])
    assert decoder.fault is None
    assert decoded == (text if not text or text.endswith(b"\n") else text + b"\n")
