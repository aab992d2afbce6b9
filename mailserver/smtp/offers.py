"""What a host offers in its reply to EHLO (RFC 5321 §4.1.1.1), and the limits it announces (RFC 9422).

:func:`offers_of` reads keywords to their parameters. A host is a stranger: a line that is no keyword offers
nothing that we know, and a limit that is no number above zero is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mailserver.smtp.reply import Reply

# More digits than any limit that is one.
_DIGITS = 9


class Limits(NamedTuple):
    """``mails`` in a session, ``recipients`` in a transaction, their ``domains`` in a session; 0 is no limit."""

    mails: int = 0
    recipients: int = 0
    domains: int = 0


NO_LIMITS = Limits()


def offers_of(reply: Reply) -> dict[str, str]:
    """Keyword in upper case to its parameters."""
    offers = {word.upper(): rest for word, _, rest in (text.partition(" ") for text in reply.lines[1:])}
    for keyword in [*offers]:
        # From before RFC 2554, and still said: "AUTH=LOGIN PLAIN".
        if keyword.startswith("AUTH="):
            rest = offers.pop(keyword)
            offers.setdefault("AUTH", f"{keyword[5:]} {rest}".rstrip())
    return offers


def limits_of(offers: Mapping[str, str]) -> Limits:
    """What LIMITS says."""
    words = dict(word.upper().partition("=")[::2] for word in offers.get("LIMITS", "").split())
    return Limits(*(_number(words.get(name, "")) for name in ("MAILMAX", "RCPTMAX", "RCPTDOMAINMAX")))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0
