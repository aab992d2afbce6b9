"""xtext and the forms of an internationalized address (RFC 3461 §4, RFC 6533 §3)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.smtp.address import AddressError, Mailbox
from mailserver.smtp.xtext import (
    BadText,
    decode_orcpt,
    decode_utf_8,
    decode_xtext,
    encode_orcpt,
    encode_utf_8,
    encode_xtext,
    of_mailbox,
)

VISIBLE = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1)


@given(VISIBLE)
def test_xtext_round_trip(text: str) -> None:
    coded = encode_xtext(text)
    assert coded.isascii()
    assert not set(coded) & set("= ")
    assert decode_xtext(coded) == text


@given(VISIBLE)
def test_utf_8_round_trip(text: str) -> None:
    coded = encode_utf_8(text)
    assert coded.isascii()
    assert not set(coded) & set("=+ ")
    assert decode_utf_8(coded) == text
    # The form is valid xtext as it stands, so that a host which knows no better passes it on unharmed.
    assert decode_xtext(coded) == coded


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("plain", "plain"), ("a+2Bb+3Dc", "a+b=c"), ("+C3+BC", "ü"), ("a+20b", "a b"), ("", ""),
    ],
)  # fmt: skip
def test_xtext_is_decoded(text: str, decoded: str) -> None:
    assert decode_xtext(text) == decoded


@pytest.mark.parametrize(
    "text",
    [
        "+", "a+4", "a+0A", "a+0D+0Ab", "a+00", "a+7F", "a+g1", "a+2b", "+C3", "+FF", "+E2+80+A8", "+E2+80+AE",
        "+C2+85",
    ],
)  # fmt: skip
def test_what_is_no_xtext_or_not_printable(text: str) -> None:
    with pytest.raises(BadText):
        decode_xtext(text)


@pytest.mark.parametrize(
    ("coded", "orcpt"),
    [
        ("rfc822;bob@b.example", "rfc822;bob@b.example"),
        ("RFC822;bob+2Bx@b.example", "rfc822;bob+x@b.example"),
        ("x400;/c=de".replace("=", "+3D"), "x400;/c=de"),
        (r"utf-8;m\x{FC}ller@b.example", "utf-8;müller@b.example"),
        (r"utf-8;\x{10A}@b.example", "utf-8;Ċ@b.example"),
        (r"UTF-8;a\x{2B}b@b.example", "utf-8;a+b@b.example"),
        ("utf-8;müller@b.example", "utf-8;müller@b.example"),
        (r"utf-8;\x{1F4E7}@b.example", "utf-8;\U0001f4e7@b.example"),
    ],
)
def test_an_original_recipient_is_decoded(coded: str, orcpt: str) -> None:
    assert decode_orcpt(coded) == orcpt
    assert decode_orcpt(encode_orcpt(orcpt)) == orcpt
    assert encode_orcpt(orcpt).isascii()


@pytest.mark.parametrize(
    "coded",
    [
        r"utf-8;\x{0A}@b.example", r"utf-8;\x{0}@b.example", r"utf-8;a\x{2028}b@b.example",
        r"utf-8;\x{202E}@b.example", r"utf-8;\x{D800}@b.example", r"utf-8;\x{110000}@b.example",
        r"utf-8;\x{FFFFFF}@b.example", r"utf-8;\x{}@b.example", r"utf-8;\x{zz}@b.example",
        r"utf-8;\x{FF20}@b.example", r"utf-8;\x{FF1E}@b.example", "utf-8;no address",
        "utf-8;\uff20@b.example", "rfc822;müller@b.example", "rfc822;a+0Ab",
    ],
)  # fmt: skip
def test_an_original_recipient_that_is_refused(coded: str) -> None:
    with pytest.raises(BadText):
        decode_orcpt(coded)


def test_a_character_is_never_narrowed_to_its_low_octet() -> None:
    # U+010A and U+760D end in the octets of LF and CR.
    assert encode_utf_8("\u010a\u760d") == r"\x{10A}\x{760D}"
    assert encode_xtext("\u010a\u760d") == "+C4+8A+E7+98+8D"


@given(st.text())
def test_nothing_else_is_raised(text: str) -> None:
    for decode in (decode_xtext, decode_utf_8, decode_orcpt):
        with suppress(BadText):
            assert decode(text).isprintable()


@pytest.mark.parametrize(
    ("address", "orcpt"),
    [("a+b@b.example", "rfc822;a+b@b.example"), ("ü@b.example", "utf-8;ü@b.example")],
)
def test_a_mailbox_as_original_recipient(address: str, orcpt: str) -> None:
    assert of_mailbox(Mailbox.parse(address)) == orcpt


def test_full_width_signs_are_in_no_address() -> None:
    for sign in "\uff20\uff1c\uff1e":
        with pytest.raises(AddressError):
            Mailbox.parse(f"a{sign}b@b.example")
