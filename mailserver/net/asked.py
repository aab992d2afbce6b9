"""What a host is asked for an attempt: the envelope as it came, and what the content really needs.

A client may declare more than is so, or less. Octets above 127 need 8BITMIME whatever was said (RFC 6152 §3), and
a header outside of ASCII needs SMTPUTF8 where the client asked for it (RFC 6531 §3.6); what was declared and is
not so needs nothing. The disk is read for that only where the answer changes something.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from mailserver.interfaces import IThreads
from mailserver.message.content import Content
from mailserver.message.envelope import Original, Recipient
from mailserver.message.route import Attempt
from mailserver.smtp.transaction import ForwardPath, Transaction
from mailserver.smtp.xtext import of_mailbox

_UNSAID = frozenset({"FAILURE", "DELAY"})
EIGHT_BIT = "8BITMIME"


def transaction_of(attempt: Attempt) -> Transaction:
    """What the core is asked to send."""
    envelope, route = attempt.envelope, attempt.route
    return Transaction(
        envelope.reverse_path if route.reverse_path is None else route.reverse_path,
        tuple(_forward_path(recipient) for recipient in attempt.recipients),
        attempt.content.size,
        envelope.body,
        envelope.smtputf8,
        envelope.ret,
        envelope.envid,
    )


async def truly(
    transaction: Transaction, content: Content, offers: Container[str], threads: IThreads
) -> Transaction:
    """`transaction` with what the content needs in the place of what was declared. Raises OSError."""
    offered = EIGHT_BIT in offers
    if transaction.body != EIGHT_BIT or not offered:
        if content.file is None:
            needed = not content.ascii()
        else:
            # Announced for nothing it does no harm, and reading the file would cost more.
            needed = offered or not await threads("disk", content.ascii)
        transaction = replace(transaction, body=EIGHT_BIT if needed else None)
    if transaction.smtputf8 and "SMTPUTF8" not in offers:
        header = content.header() if content.file is None else await threads("disk", content.header)
        transaction = replace(transaction, smtputf8=not (content.head.isascii() and header.isascii()))
    return transaction


def _forward_path(recipient: Recipient) -> ForwardPath:
    """RFC 3461 §5.2.1 and §5.2.7: parameters are passed on as they came.

    Where several originals became this one, its reports go to one place under one name: the first's, and
    whatever any of them asked to be told. A name that the sender would not know again (an alias was followed)
    goes with the one that he used.
    """
    originals = recipient.originals
    if not originals:
        return ForwardPath(recipient.mailbox)
    first = originals[0]
    orcpt = first.orcpt
    if orcpt is None and first.mailbox != recipient.mailbox and first.mailbox.domain is not None:
        orcpt = of_mailbox(first.mailbox)
    return ForwardPath(recipient.mailbox, _notify(originals), orcpt)


def _notify(originals: tuple[Original, ...]) -> frozenset[str] | None:
    first = originals[0].notify
    if len(originals) == 1 or all(original.notify is None for original in originals):
        return first
    # Who said nothing hears of failures and delays, as from us (RFC 3461 §4.1).
    asked = frozenset[str]().union(*(_UNSAID if one.notify is None else one.notify for one in originals))
    return (asked - {"NEVER"}) or first
