"""What finally became of a recipient, as whoever sent the message named it.

A fate is final and durable: it is written in the commit that settles the recipient, for messages that asked
for it, and kept for some time after the message itself is gone.

An address may lead to several recipients (an alias), and then it has one fate all the same, once the last of
them is final: the worst of theirs. A sender who reads "delivered" may rely on it (RFC 3461 §5.2.7 asks the same
of a report). Worst first: failed, expired, removed, relayed, delivered; among equals the one with the most
attempts. That an address was expanded says nothing yet: those that it led to decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mailserver.message.query import QueuedRecipient
from mailserver.message.state import State
from mailserver.smtp.address import Mailbox
from mailserver.smtp.status import Status

_WORST_FIRST = (State.FAILED, State.EXPIRED, State.REMOVED, State.RELAYED, State.DELIVERED, State.EXPANDED)
# Of a recipient that was removed before anything was tried: nothing is known but that it will not arrive.
_UNTRIED = Status(5, 0, 0)


@dataclass(frozen=True, slots=True)
class Fate:
    """``state`` is final; ``status`` the enhanced status (RFC 3463) that decided; ``remote_reply`` the other
    server's own words, None where none spoke; ``attempts`` how many attempts were made (0: removed untried).
    """

    state: State
    status: Status
    remote_reply: str | None
    attempts: int


class Fates(Mapping[Mailbox, Fate]):
    """Fates by recipient as given; a look-up also takes the address as text: ``fates["bob@example.org"]``."""

    def __init__(self, fates: Mapping[Mailbox, Fate]) -> None:
        self._fates = dict(fates)

    def __getitem__(self, recipient: Mailbox | str) -> Fate:
        """Raises KeyError for whoever has no fate (yet), and for text that is no address."""
        if isinstance(recipient, str):
            try:
                return self._fates[Mailbox.parse(recipient)]
            except ValueError:
                raise KeyError(recipient) from None
        return self._fates[recipient]

    def __iter__(self) -> Iterator[Mailbox]:
        return iter(self._fates)

    def __len__(self) -> int:
        return len(self._fates)

    def __repr__(self) -> str:
        shown = {str(mailbox): fate for mailbox, fate in self._fates.items()}
        return f"Fates({shown!r})"


@dataclass(frozen=True, slots=True)
class Settled:
    """What is known of one message that asked for fates. ``key`` is its sender's own name for it.

    ``number`` is its place in the order in which messages were settled, 1 for the first; 0 while some
    recipients are not final, whom ``fates`` lacks.
    """

    queue_id: str
    key: str | None
    fates: Fates
    number: int


def fates_of(recipients: Iterable[QueuedRecipient]) -> dict[Mailbox, Fate | None]:
    """By recipient as given, in order; None while somebody that it leads to is not final. `recipients` are all
    of one message, by number."""
    given: dict[Mailbox, list[QueuedRecipient]] = {}
    for one in recipients:
        for mailbox in [original.mailbox for original in one.recipient.originals] or [one.recipient.mailbox]:
            given.setdefault(mailbox, []).append(one)
    return {mailbox: _fate(leads_to) for mailbox, leads_to in given.items()}


def _fate(leads_to: Sequence[QueuedRecipient]) -> Fate | None:
    if not all(one.state.final for one in leads_to):
        return None
    worst = min(leads_to, key=lambda one: (_WORST_FIRST.index(one.state), -one.attempts))
    last = worst.last
    return Fate(
        worst.state, last.status if last else _UNTRIED, last.remote_reply if last else None, worst.attempts
    )
