"""Where every recipient of a message stands, final or not, as the kit shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mailserver.message.fate import Fate, fates_of
from mailserver.message.query import QueuedRecipient
from mailserver.smtp.address import Mailbox
from mailserver.smtp.status import Status

# Of whoever was not tried yet.
_UNTRIED = Status(4, 0, 0)


def standings(recipients: Sequence[QueuedRecipient]) -> dict[str, Fate]:
    """By recipient as given; of several that one leads to, the first that is not final decides."""
    return {
        str(mailbox): _of(_led_to(mailbox, recipients)) if fate is None else fate
        for mailbox, fate in fates_of(recipients).items()
    }


def _led_to(mailbox: Mailbox, recipients: Iterable[QueuedRecipient]) -> QueuedRecipient:
    return next(
        one
        for one in recipients
        if not one.state.final
        and mailbox in [one.recipient.mailbox, *(each.mailbox for each in one.recipient.originals)]
    )


def _of(one: QueuedRecipient) -> Fate:
    last = one.last
    return Fate(one.state, last.status if last else _UNTRIED, last.remote_reply if last else None, one.attempts)
