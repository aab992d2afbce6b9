"""What a program gives to be sent, as values: addresses in any form, contents in any form.

:func:`letter` makes one :class:`Letter` of a sender, recipients and a content. A string that is no mail address
raises :class:`~mailserver.smtp.address.AddressError` (a ValueError) with the address in its sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from email.policy import SMTP, SMTPUTF8

from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.smtp.address import NULL, AddressError, Mailbox
from mailserver.transport.failures import Address

Octets = bytes | Iterable[bytes] | Content | Message


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to be sent. ``recipients``: from each address as given to its place in the envelope."""

    envelope: Envelope
    recipients: Mapping[Address, Recipient]
    content: Content

    @property
    def forward_paths(self) -> tuple[Recipient, ...]:
        """Each mailbox once, in the order given."""
        return tuple(dict.fromkeys(self.recipients.values()))


def letter(content: Octets, sender: Address, recipients: Address | Iterable[Address]) -> Letter:
    """Read all three. `sender` "" is the null reverse-path; one address alone is a list of one.

    Raises AddressError, and ValueError where there is no recipient.
    """
    given = [recipients] if isinstance(recipients, str | Mailbox) else list(recipients)
    if not given:
        raise ValueError("there is no recipient")
    placed: dict[Mailbox, Recipient] = {}
    for address in given:
        mailbox = _mailbox(address)
        placed.setdefault(mailbox, Recipient(len(placed), mailbox, (Original(mailbox),)))
    envelope = Envelope(NULL if sender == "" else _mailbox(sender))
    ascii_only = envelope.reverse_path.ascii and all(mailbox.ascii for mailbox in placed)
    return Letter(
        envelope, {address: placed[_mailbox(address)] for address in given}, _content(content, ascii_only)
    )


def _mailbox(address: Address) -> Mailbox:
    if isinstance(address, Mailbox):
        return address
    try:
        return Mailbox.parse(address)
    except AddressError as problem:
        raise AddressError(f"{address!r} is no mail address: {problem}") from None


def _content(given: Octets, ascii_only: bool) -> Content:
    if isinstance(given, Content):
        return given
    if isinstance(given, Message):
        # RFC 6532: a header in UTF-8 goes with addresses that need SMTPUTF8 anyway, and encoded words with others.
        return Content.of(given.as_bytes(policy=SMTP if ascii_only else SMTPUTF8))
    return Content.of(given)
