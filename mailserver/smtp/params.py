"""ESMTP parameters of MAIL and RCPT, parsed to values.

SIZE (RFC 1870 §6), BODY (RFC 6152 §2), SMTPUTF8 (RFC 6531 §3.4), AUTH (RFC 4954 §5), and RET, ENVID, NOTIFY
and ORCPT (RFC 3461 §4). A parameter whose extension is not in the set that was offered is as unknown as any
other: :class:`UnknownParameter` (555). Given twice or malformed: :class:`BadParameter` (501).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mailserver.smtp.address import NULL, AddressError, Mailbox
from mailserver.smtp.xtext import BadText, decode_orcpt, decode_xtext

# RFC 3461 §4.2 and §4.4, in characters as sent.
MAX_ORCPT = 500
MAX_ENVID = 100


class UnknownParameter(ValueError):
    """A parameter that was not offered."""


class BadParameter(ValueError):
    """A parameter that is malformed or given twice."""


@dataclass(frozen=True, slots=True)
class MailParams:
    """``size`` in octets as declared; ``body`` ``7BIT`` or ``8BITMIME``; ``ret`` ``FULL`` or ``HDRS``; ``envid``
    decoded; ``auth`` the mailbox of RFC 4954 §5, NULL for ``<>``. None where the client said nothing."""

    size: int | None = None
    body: str | None = None
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
    auth: Mailbox | None = None


@dataclass(frozen=True, slots=True)
class RcptParams:
    """``notify`` keywords in capitals; ``orcpt`` as ``type;address``, the address decoded."""

    notify: frozenset[str] | None = None
    orcpt: str | None = None


NO_MAIL_PARAMS = MailParams()
NO_RCPT_PARAMS = RcptParams()


def parse_mail_params(text: str, offered: frozenset[str]) -> MailParams:
    """What follows the reverse-path. Raises UnknownParameter or BadParameter."""
    return MailParams(**_parse(text, offered, _MAIL)) if text else NO_MAIL_PARAMS


def parse_rcpt_params(text: str, offered: frozenset[str]) -> RcptParams:
    """What follows the forward-path. Raises UnknownParameter or BadParameter."""
    return RcptParams(**_parse(text, offered, _RCPT)) if text else NO_RCPT_PARAMS


# Keyword: the extension that brings it, and its reader.
_Table = Mapping[str, tuple[str, Callable[[str | None], Any]]]


def _parse(text: str, offered: frozenset[str], table: _Table) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for word in text.split(" "):
        if not word:
            continue
        keyword, equals, value = word.partition("=")
        extension, read = table.get(keyword.upper(), ("", None))
        if read is None or extension not in offered:
            raise UnknownParameter(keyword)
        name = keyword.lower()
        if name in values or "=" in value:
            raise BadParameter(keyword)
        values[name] = read(value if equals else None)
    return values


def _size(value: str | None) -> int:
    if not value or not value.isascii() or not value.isdigit():
        raise BadParameter("SIZE")
    # The number may have any length: all beyond twenty digits is too large for anybody (RFC 1870 §6).
    return int(value[-20:]) if not value[:-20].strip("0") else 10**20


def _word(*allowed: str) -> Callable[[str | None], str]:
    def read(value: str | None) -> str:
        word = (value or "").upper()
        if word not in allowed:
            raise BadParameter(word)
        return word

    return read


def _flag(value: str | None) -> bool:
    if value is not None:
        raise BadParameter("SMTPUTF8")
    return True


def _envid(value: str | None) -> str:
    if not value or len(value) > MAX_ENVID or not value.isascii():
        raise BadParameter("ENVID")
    try:
        envid = decode_xtext(value)
    except BadText:
        raise BadParameter("ENVID") from None
    if not envid.isascii():  # RFC 3461 §4.4
        raise BadParameter("ENVID")
    return envid


def _auth(value: str | None) -> Mailbox:
    if value == "<>":
        return NULL
    try:
        return Mailbox.parse(decode_xtext(value or ""))
    except (AddressError, BadText):
        raise BadParameter("AUTH") from None


def _notify(value: str | None) -> frozenset[str]:
    words = (value or "").upper().split(",")
    if words == ["NEVER"] or (words and {"SUCCESS", "FAILURE", "DELAY"}.issuperset(words)):
        return frozenset(words)
    raise BadParameter("NOTIFY")


def _orcpt(value: str | None) -> str:
    if not value or len(value) > MAX_ORCPT:
        raise BadParameter("ORCPT")
    try:
        return decode_orcpt(value)
    except BadText:
        raise BadParameter("ORCPT") from None


_MAIL: _Table = {
    "SIZE": ("SIZE", _size),
    "BODY": ("8BITMIME", _word("7BIT", "8BITMIME")),
    "SMTPUTF8": ("SMTPUTF8", _flag),
    "RET": ("DSN", _word("FULL", "HDRS")),
    "ENVID": ("DSN", _envid),
    "AUTH": ("AUTH", _auth),
}
_RCPT: _Table = {"NOTIFY": ("DSN", _notify), "ORCPT": ("DSN", _orcpt)}
