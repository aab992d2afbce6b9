"""SASLprep: one form for a user name or password, however it was typed (RFC 4013, a profile of RFC 3454).

:func:`prepare` maps other spaces to a space and what is not seen to nothing, takes the compatible composed form
(NFKC), and refuses control characters, private use, surrogates and the like, and text whose reading direction is
mixed. It works by Unicode 3.2, as RFC 3454 demands: both ends of a login must come to the same octets, whatever
their age. Raises :class:`Unprepared`, whose text never holds what was to be prepared.
"""

from __future__ import annotations

import stringprep
from collections.abc import Callable
from unicodedata import ucd_3_2_0

# RFC 4013 §2.3.
_PROHIBITED: tuple[Callable[[str], bool], ...] = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


class Unprepared(ValueError):
    """The text has no prepared form; ``str()`` says why, without the text."""


def prepare(text: str, stored: bool = True) -> str:
    """The prepared form, which may be empty. With `stored`, characters that Unicode 3.2 did not know are refused,
    as for what is stored; without, they are taken, as for what is looked up (RFC 3454 §7)."""
    if text.isascii() and text.isprintable():
        return text
    seen = (one for one in text if not stringprep.in_table_b1(one))
    mapped = "".join(" " if stringprep.in_table_c12(one) else one for one in seen)
    prepared = ucd_3_2_0.normalize("NFKC", mapped)
    if any(prohibited(one) for one in prepared for prohibited in _PROHIBITED):
        raise Unprepared("it has a character that no name and no password may have (RFC 4013 §2.3)")
    if stored and any(map(stringprep.in_table_a1, prepared)):
        raise Unprepared("it has a character that Unicode 3.2 does not know (RFC 4013 §2.5)")
    _check_direction(prepared)
    return prepared


def _check_direction(text: str) -> None:
    """RFC 3454 §6."""
    if not any(map(stringprep.in_table_d1, text)):
        return
    if any(map(stringprep.in_table_d2, text)):
        raise Unprepared("it is written from right to left and from left to right (RFC 3454 §6)")
    if not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise Unprepared("it is written from right to left, and does not begin and end so (RFC 3454 §6)")
