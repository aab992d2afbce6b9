"""What hosts say to EHLO, and what is made of it."""

from __future__ import annotations

import pytest

from mailserver.smtp.offers import Limits, limits_of, offers_of
from mailserver.smtp.reply import Reply


@pytest.mark.parametrize(
    ("lines", "offers"),
    [
        ((), {}),
        (("size 1000", "8BitMime"), {"SIZE": "1000", "8BITMIME": ""}),
        (("AUTH PLAIN LOGIN",), {"AUTH": "PLAIN LOGIN"}),
        (("AUTH=LOGIN PLAIN",), {"AUTH": "LOGIN PLAIN"}),
        (("AUTH=LOGIN",), {"AUTH": "LOGIN"}),
        (("AUTH PLAIN", "AUTH=LOGIN"), {"AUTH": "PLAIN"}),
        (("AUTH=LOGIN", "AUTH PLAIN"), {"AUTH": "PLAIN"}),
        (("", "XXXXXXXA", r"\x1b[31m"), {"": "", "XXXXXXXA": "", r"\X1B[31M": ""}),
    ],
)
def test_offers(lines: tuple[str, ...], offers: dict[str, str]) -> None:
    assert offers_of(Reply(250, None, ("b.example", *lines))) == offers


@pytest.mark.parametrize(
    ("words", "limits"),
    [
        ("", Limits()),
        ("MAILMAX=5 RCPTMAX=20 RCPTDOMAINMAX=1", Limits(5, 20, 1)),
        ("rcptmax=20", Limits(0, 20, 0)),
        ("RCPTMAX=20 LATER=x FLAG", Limits(0, 20, 0)),
        ("RCPTMAX=0", Limits()),
        ("RCPTMAX", Limits()),
        ("RCPTMAX=-1 MAILMAX=1.5 RCPTDOMAINMAX=²", Limits()),
        ("RCPTMAX=" + "9" * 5000, Limits()),
    ],
)
def test_limits(words: str, limits: Limits) -> None:
    assert limits_of({"LIMITS": words}) == limits


def test_no_limits() -> None:
    assert limits_of({}) == Limits()
