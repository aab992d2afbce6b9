"""Which recipients go into one transaction, where a message has more than a host takes at once.

RFC 5321 §4.5.3.1.8: a host takes 100 at least, so no transaction asks for more. Some take fewer, and say 452 (or
552, §4.5.3.1.10) to the rest, or even end the session after so many refusals. Then the next portion is as large as
what was taken, at once; a portion of which nobody was taken is the last, unless each was refused for itself.
Whoever is not asked then shares the answer that ended it. A host that announces its limits (RFC 9422) is asked for
no more than that: then outcomes come for the first of a portion only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mailserver.message.envelope import Recipient
from mailserver.message.outcome import Klass, Outcome, Scope
from mailserver.smtp.transaction import Phase

MOST = 100


class Portions:
    """``next`` is the portion to be asked now, empty at the end; ``outcomes`` are those of all who are through."""

    def __init__(self, recipients: Sequence[Recipient]) -> None:
        self.outcomes: dict[Recipient, Outcome] = {}
        self._left = tuple(recipients)
        self._most = MOST

    @property
    def next(self) -> tuple[Recipient, ...]:
        """The first of those left, as many as one transaction may have."""
        return self._left[: self._most]

    def told(self, outcomes: Mapping[Recipient, Outcome]) -> None:
        """What became of the portion, or of the first of it; decides on the next."""
        asked, rest = self._left[: len(outcomes)], self._left[len(outcomes) :]
        self.outcomes.update(outcomes)
        self._left = rest
        took = _taken_before_too_many([outcomes[one] for one in asked])
        if took:
            # They come again: those over the number, and where the session was cut, the others, too.
            again = tuple(one for one in asked if _too_many(outcomes[one]) or outcomes[one].about_host)
            self._most, self._left = took, again + rest
        elif rest and (end := _ending([outcomes[one] for one in asked])) is not None:
            self.outcomes.update(dict.fromkeys(rest, end))
            self._left = ()


def _too_many(outcome: Outcome) -> bool:
    """452 or 552 to RCPT, unless it speaks of this one mailbox."""
    reply = outcome.remote_reply or ""
    return outcome.phase is Phase.RCPT and reply[:3] in ("452", "552") and outcome.status.subject != 2


def _taken_before_too_many(outcomes: Sequence[Outcome]) -> int:
    """How many places the host gave before it said that there are too many; 0 when it did not, or gave none."""
    count = next((place for place, outcome in enumerate(outcomes) if _too_many(outcome)), 0)
    before, after = outcomes[:count], outcomes[count:]
    if any(outcome.klass is Klass.SUCCESS for outcome in after):
        return 0  # it was not the number
    sent = any(outcome.klass is Klass.SUCCESS for outcome in before)
    cut = any(outcome.about_host for outcome in before)
    return count if sent or cut else 0


def _ending(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The answer after which nobody else is asked: about the host, the message, or too many at once."""
    if any(outcome.klass is Klass.SUCCESS for outcome in outcomes):
        return None
    return next((one for one in outcomes if one.scope is not Scope.RECIPIENT or _too_many(one)), None)
