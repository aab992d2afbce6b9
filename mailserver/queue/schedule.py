"""When a deferred recipient is tried again, and when trying ends (RFC 5321 §4.5.4.1).

Expiry is decided only by a failed attempt that was made after the deadline, never by looking at a clock
while a message waits: a machine that slept for a week tries once more before it gives up.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """``retry`` are the pauses after the first, second … failed attempt, in seconds; the last one repeats.

    ``expire`` and ``delay_notice`` are seconds after arrival; ``delay_notice`` 0 sends no notice.
    """

    retry: tuple[float, ...] = (60, 300, 900, 1800)
    expire: float = 432_000
    delay_notice: float = 14_400

    def next_due(self, attempts: int, arrived: float, now: float) -> float:
        """The wall time of the next attempt after `attempts` failed ones; the last falls on the deadline."""
        due = now + self.retry[min(attempts, len(self.retry)) - 1]
        deadline = arrived + self.expire
        return deadline if now < deadline < due else due

    def expired(self, arrived: float, attempted: float) -> bool:
        """Whether an attempt that was begun at `attempted` and failed was the last."""
        return attempted >= arrived + self.expire

    def notice_owed(self, arrived: float, now: float) -> bool:
        """Whether the sender should hear of a delay by now."""
        return 0 < self.delay_notice <= now - arrived

    @property
    def longest(self) -> float:
        """The longest pause: a due time further ahead than this means a clock that jumped."""
        return max(self.retry)
