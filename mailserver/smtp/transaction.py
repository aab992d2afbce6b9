"""A mail transaction as the client sees it: what it asks, and the command lines that say so.

:class:`Transaction` is one MAIL … final reply; :class:`Answer` is what decided about one recipient, or about
the session. The functions turn a transaction into commands for a peer whose EHLO list is known:
:func:`refusals` says why it cannot be sent there, and to whom (RFC 1870 §6.1, RFC 6152 §3, RFC 6531 §3.2),
:func:`commands` writes the envelope. Parameters of RFC 3461 go only to a peer that offers DSN.

Values and text only; nothing is sent here. A command line never has a CR, LF or NUL but at its end:
ValueError says that an address or identifier would break that.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from mailserver.smtp.address import Mailbox
from mailserver.smtp.reply import Reply
from mailserver.smtp.status import Status
from mailserver.smtp.xtext import encode_orcpt, encode_xtext


class Phase(Enum):
    """What the client waits for. The value completes the sentence "no answer to …"."""

    LOOKUP = "the look-up of its name"
    CONNECT = "the connection"
    GREETING = "the connection (no greeting)"
    HELLO = "EHLO"
    TLS = "STARTTLS"
    AUTH = "AUTH"
    RESET = "RSET"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    CONTENT = "the content"
    FINAL = "the end of the content"
    QUIT = "QUIT"


@dataclass(frozen=True, slots=True)
class ForwardPath:
    """A recipient with its RFC 3461 parameters; ``orcpt`` is ``type;address``, not yet xtext."""

    mailbox: Mailbox
    notify: frozenset[str] | None = None
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Transaction:
    """An envelope to be sent. ``size`` counts as RFC 1870 does; ``body`` is ``8BITMIME`` or anything else.

    ``smtputf8``: the content needs it, whatever the addresses do.
    """

    reverse_path: Mailbox
    recipients: tuple[ForwardPath, ...]
    size: int = 0
    body: str | None = None
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What decided, and in which phase.

    Either the peer's ``reply``, or (``reply`` None) our own ``status`` and ``text``: a lost connection, a
    time-out, a refusal to send. ``uncertain``: the end of the content was sent, so the peer may have the message.
    ``own``: the reply is about this recipient and no other, though it came to the content (LMTP).
    """

    phase: Phase
    reply: Reply | None = None
    status: Status = Status(4, 0, 0)
    text: str = ""
    uncertain: bool = False
    own: bool = False


def refusals(transaction: Transaction, offers: Mapping[str, str]) -> list[Answer | None]:
    """Why a peer with these `offers` cannot take it: for each recipient an answer, or None where it can."""
    whole = _refusal(transaction, offers)
    if whole is not None or "SMTPUTF8" in offers:
        return [whole] * len(transaction.recipients)
    text = "the address needs SMTPUTF8, which the host does not offer"
    return [
        None if path.mailbox.ascii else Answer(Phase.RCPT, None, Status(5, 6, 7), text)
        for path in transaction.recipients
    ]


def _refusal(transaction: Transaction, offers: Mapping[str, str]) -> Answer | None:
    limit = offers.get("SIZE", "")
    if "SMTPUTF8" not in offers and (transaction.smtputf8 or not transaction.reverse_path.ascii):
        status, text = Status(5, 6, 7), "the message needs SMTPUTF8, which the host does not offer"
    elif transaction.body == "8BITMIME" and "8BITMIME" not in offers:
        status, text = Status(5, 6, 3), "the content needs 8BITMIME, which the host does not offer"
    elif limit.isascii() and limit.isdigit() and 0 < int(limit[:20]) < transaction.size:
        status = Status(5, 3, 4)
        text = f"the message has {transaction.size} octets, the host takes {limit[:20]}"
    else:
        return None
    return Answer(Phase.MAIL, None, status, text)


def _needs_utf8(transaction: Transaction) -> bool:
    return transaction.smtputf8 or not (
        transaction.reverse_path.ascii and all(path.mailbox.ascii for path in transaction.recipients)
    )


def commands(transaction: Transaction, offers: Container[str]) -> Iterator[tuple[Phase, bytes]]:
    """MAIL, one RCPT per recipient, DATA: each a whole line. Raises ValueError, see above."""
    dsn = "DSN" in offers
    yield Phase.MAIL, line("MAIL FROM:<", transaction.reverse_path, ">", *_mail_parameters(transaction, offers))
    for path in transaction.recipients:
        yield Phase.RCPT, line("RCPT TO:<", path.mailbox, ">", *(_rcpt_parameters(path) if dsn else ()))
    yield Phase.DATA, b"DATA\r\n"


def _mail_parameters(transaction: Transaction, offers: Container[str]) -> Iterator[str]:
    if "SIZE" in offers:
        yield f" SIZE={transaction.size}"
    if transaction.body == "8BITMIME":
        yield " BODY=8BITMIME"
    if _needs_utf8(transaction):
        yield " SMTPUTF8"
    if "DSN" in offers:
        if transaction.ret:
            yield f" RET={transaction.ret}"
        if transaction.envid:
            yield f" ENVID={encode_xtext(transaction.envid)}"


def _rcpt_parameters(path: ForwardPath) -> Iterator[str]:
    if path.notify:
        yield f" NOTIFY={','.join(sorted(path.notify))}"
    if path.orcpt:
        yield f" ORCPT={encode_orcpt(path.orcpt)}"


def line(*parts: object) -> bytes:
    """A command line. Raises ValueError where a part would end it early and start another."""
    text = "".join(map(str, parts))
    if "\r" in text or "\n" in text or "\0" in text:
        raise ValueError(f"a command line may not hold {text!r}")
    return text.encode() + b"\r\n"
