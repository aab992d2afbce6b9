"""Command lines, read into a verb and its argument (RFC 5321 §4.1.1).

:func:`split` takes the line apart; :func:`read_mail`, :func:`read_rcpt`, :func:`read_hello` and
:func:`read_bdat` read an argument into values. Whatever is wrong leaves as :class:`Refused`, which carries the
reply.
"""

from __future__ import annotations

from collections.abc import Callable

from mailserver.smtp import replies
from mailserver.smtp.address import AddressError, Mailbox, NonAsciiError, parse_path
from mailserver.smtp.params import (
    BadParameter,
    MailParams,
    RcptParams,
    UnknownParameter,
    parse_mail_params,
    parse_rcpt_params,
)
from mailserver.smtp.reply import Reply

# How far extensions lengthen a line (RFC 5321 §4.5.3.1.4): SIZE 26 (RFC 1870 §3), BODY 17 (RFC 6152 §2),
# SMTPUTF8 10 (RFC 6531 §3.1), AUTH 500 (RFC 4954 §5), RET and ENVID 115, NOTIFY and ORCPT 529 (RFC 3461 §4).
LONGER = {
    "MAIL": {"SIZE": 26, "8BITMIME": 17, "SMTPUTF8": 10, "AUTH": 500, "DSN": 115},
    "RCPT": {"DSN": 529},
}
MAX_HELLO = 255
# RFC 3030 §2: 1*DIGIT, and like SIZE no more than twenty of them (RFC 1870 §6).
MAX_CHUNK_DIGITS = 20
_NOT_IN_HELLO = frozenset(' ()<>"\\')


class Refused(Exception):
    """The command is not well-formed. ``reply`` says so to the client."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def split(line: bytes) -> tuple[str, str]:
    """The verb in capitals, and the argument without spaces around it.

    A line is printable UTF-8: control characters have no place in a command.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Refused(replies.BAD_CHARACTERS) from None
    if not text.isprintable():
        raise Refused(replies.BAD_CHARACTERS)
    verb, _, argument = text.partition(" ")
    return verb.upper(), argument.strip(" ")


def no_argument(argument: str) -> None:
    """Raises Refused if there is one."""
    if argument:
        raise Refused(replies.NO_ARGUMENT)


def line_limit(verb: str, base: int, understood: frozenset[str]) -> int:
    """Octets that a command of `verb` may have, its CRLF included, with the extensions that were offered."""
    return base + sum(more for extension, more in LONGER.get(verb, {}).items() if extension in understood)


def read_hello(argument: str) -> str:
    """The name in EHLO or HELO. Its truth is not our business here (RFC 5321 §4.1.4), its form is a little."""
    if not argument or len(argument) > MAX_HELLO or not _NOT_IN_HELLO.isdisjoint(argument):
        raise Refused(replies.BAD_HELLO)
    return argument


def read_mail(argument: str, understood: frozenset[str]) -> tuple[Mailbox, MailParams]:
    """``FROM:<reverse-path> [parameters]``."""
    if argument[:5].upper() != "FROM:":
        raise Refused(replies.MAIL_SYNTAX)
    path, rest = _path(argument[5:], "SMTPUTF8" in understood, replies.bad_sender)
    if path.domain is None and not path.is_null:
        raise Refused(replies.bad_sender("the sender has no domain"))
    try:
        params = parse_mail_params(rest, understood)
    except ValueError as error:
        raise Refused(_parameter_reply(error)) from None
    if not params.smtputf8 and not argument.isascii():
        raise Refused(replies.NEEDS_SMTPUTF8)
    return path, params


def read_rcpt(argument: str, understood: frozenset[str], smtputf8: bool) -> tuple[Mailbox, RcptParams]:
    """``TO:<forward-path> [parameters]``; `smtputf8` is what MAIL said."""
    if argument[:3].upper() != "TO:":
        raise Refused(replies.RCPT_SYNTAX)
    path, rest = _path(argument[3:], smtputf8, replies.bad_recipient)
    if path.is_null:
        raise Refused(replies.bad_recipient("a recipient is needed"))
    try:
        params = parse_rcpt_params(rest, understood)
    except ValueError as error:
        raise Refused(_parameter_reply(error)) from None
    if not smtputf8 and not argument.isascii():
        raise Refused(replies.NEEDS_SMTPUTF8)
    return path, params


def read_bdat(argument: str) -> tuple[int, bool]:
    """``size [LAST]``: the octets that follow, and whether they are the last ones."""
    size = chunk_size(argument)
    rest = argument.partition(" ")[2]
    if size is None or rest.upper() not in ("", "LAST"):
        raise Refused(replies.BDAT_SYNTAX)
    return size, bool(rest)


def chunk_size(argument: str) -> int | None:
    """The size in the argument of a BDAT that may be wrong otherwise; None where there is no telling.

    No sign, no other digits than ASCII's, and a bound for leading zeros too: what one program reads as a number
    and the next one does not would give two ends of one content.
    """
    word = argument.partition(" ")[0]
    if not word.isascii() or not word.isdigit() or len(word) > MAX_CHUNK_DIGITS:
        return None
    return int(word)


def _path(text: str, smtputf8: bool, wrong: Callable[[str], Reply]) -> tuple[Mailbox, str]:
    try:
        # Many clients put a space after the colon; RFC 5321 §4.1.1.2 has none, and nothing is lost by it.
        return parse_path(text.lstrip(" "), smtputf8=smtputf8)
    except NonAsciiError:
        raise Refused(replies.NEEDS_SMTPUTF8) from None
    except AddressError as error:
        raise Refused(wrong(str(error))) from None


def _parameter_reply(error: ValueError) -> Reply:
    if isinstance(error, UnknownParameter):
        return replies.UNKNOWN_PARAMETER
    assert isinstance(error, BadParameter)
    return replies.BAD_PARAMETER
