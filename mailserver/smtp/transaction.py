"""A mail transaction as the client sees it: what it asks, and the command lines that say so.

:class:`Transaction` is one MAIL … final reply; :class:`Answer` is what decided about one recipient, or about
the session. The functions turn a transaction into commands for a peer whose EHLO list is known:
:func:`refusal` says why it cannot be sent there at all (RFC 1870 §6.1, RFC 6152 §3, RFC 6531 §3.2),
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
    """An envelope to be sent. ``size`` counts as RFC 1870 does; ``body`` is ``8BITMIME`` or anything else."""

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
    time-out, a refusal to send. ``uncertain``: the final dot was sent, so the peer may have the message.
    """

    phase: Phase
    reply: Reply | None = None
    status: Status = Status(4, 0, 0)
    text: str = ""
    uncertain: bool = False


def refusal(transaction: Transaction, offers: Mapping[str, str]) -> Answer | None:
    """Why a peer with these `offers` cannot take it, or None."""
    if _needs_utf8(transaction) and "SMTPUTF8" not in offers:
        return Answer(
            Phase.MAIL, None, Status(5, 6, 7), "the message needs SMTPUTF8, which the host does not offer"
        )
    if transaction.body == "8BITMIME" and "8BITMIME" not in offers:
        return Answer(
            Phase.MAIL, None, Status(5, 6, 3), "the content needs 8BITMIME, which the host does not offer"
        )
    limit = offers.get("SIZE", "")
    if limit.isascii() and limit.isdigit() and 0 < int(limit[:20]) < transaction.size:
        text = f"the message has {transaction.size} octets, the host takes {limit[:20]}"
        return Answer(Phase.MAIL, None, Status(5, 3, 4), text)
    return None


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
        kind, _, address = path.orcpt.partition(";")
        yield f" ORCPT={kind};{encode_xtext(address, kind == 'utf-8')}"


def encode_xtext(text: str, utf8_address: bool = False) -> str:
    """RFC 3461 §4: what is not a printable ASCII character, and ``+`` and ``=``, as ``+XX`` for each octet.

    With `utf8_address` a non-ASCII character becomes ``\\x{…}`` (RFC 6533 §3), which any host can carry.
    """
    return "".join(c if "!" <= c <= "~" and c not in "+=" else _coded(c, utf8_address) for c in text)


def _coded(character: str, utf8_address: bool) -> str:
    if utf8_address and not character.isascii():
        return f"\\x{{{ord(character):02X}}}"
    return "".join(f"+{octet:02X}" for octet in character.encode())


def line(*parts: object) -> bytes:
    """A command line. Raises ValueError where a part would end it early and start another."""
    text = "".join(map(str, parts))
    if "\r" in text or "\n" in text or "\0" in text:
        raise ValueError(f"a command line may not hold {text!r}")
    return text.encode() + b"\r\n"
