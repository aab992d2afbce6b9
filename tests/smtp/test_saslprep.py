"""SASLprep: the examples of RFC 4013 §3, and what each step refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.smtp.saslprep import Unprepared, prepare


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("", ""),
        ("\u00ad", ""),
        ("a b", "a b"),
        ("a\u00a0b\u3000c", "a b c"),
        ("a\u1680b", "a b"),
        ("u\u0308", "ü"),
        ("ａｎｎａ", "anna"),
        ("\ufe0fx", "x"),
        ("\u0627\u0628", "\u0627\u0628"),
        ("\u06271\u0628", "\u06271\u0628"),
    ],
)
def test_one_form(text: str, prepared: str) -> None:
    assert prepare(text) == prepared
    assert prepare(text, stored=False) == prepared


@pytest.mark.parametrize(
    "text",
    [
        "\x07", "tab\there", "\x7f", "a\0b", "\u0085", "\u2028", "\ue000", "\ufdd0", "\ufffd", "\u2ff0", "\u200e",
        "\U000e0001", "\u06271", "1\u0627", "\u0627a\u0628", "\ufff9",
    ],
)  # fmt: skip
def test_refused_in_either_use(text: str) -> None:
    for stored in (True, False):
        with pytest.raises(Unprepared) as caught:
            prepare(text, stored)
        assert text not in str(caught.value)


def test_what_unicode_3_2_does_not_know_may_be_looked_up_and_not_stored() -> None:
    assert prepare("pass\U0001f600", stored=False) == "pass\U0001f600"
    with pytest.raises(Unprepared, match=r"Unicode 3\.2"):
        prepare("pass\U0001f600")


@given(st.text())
def test_a_prepared_form_is_its_own(text: str) -> None:
    try:
        once = prepare(text)
    except Unprepared:
        return
    assert prepare(once) == once
    assert "\0" not in once
