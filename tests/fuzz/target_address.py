"""Arbitrary text as a path, and as the parameters behind it.

It is refused with the parser's own errors and no others, or it is a mailbox whose written form is read back as
the same mailbox, without a control character in it.
"""

from __future__ import annotations

from mailserver.smtp.address import AddressError, parse_path
from mailserver.smtp.params import BadParameter, UnknownParameter, parse_mail_params, parse_rcpt_params

_UNDERSTOOD = frozenset(("SIZE", "8BITMIME", "SMTPUTF8", "DSN", "AUTH"))


def run(data: bytes) -> None:
    """One input: a path and what follows it."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    for smtputf8 in (False, True):
        try:
            mailbox, rest = parse_path(text, smtputf8=smtputf8)
        except AddressError:
            continue
        if not mailbox.is_null:
            written = str(mailbox)
            assert written.isprintable(), written
            assert parse_path(f"<{written}>", smtputf8=True) == (mailbox, "")
        for parse in (parse_mail_params, parse_rcpt_params):
            try:
                parse(rest, _UNDERSTOOD)
            except (BadParameter, UnknownParameter):
                continue
