"""One call of ``store`` or ``settle`` on its way through the commit thread and back.

The reactor thread makes it and fills in what is asked; the commit thread fills in what came of it and hands it
back with its whole batch. Neither touches it while the other has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from mailserver.message.claim import Settlement
from mailserver.message.prepared import Prepared


class Work:
    """``removals`` are the messages of which every recipient ends here, in flight and by their holder: one DELETE
    is all they need. ``changes`` is the rest, each with the numbers in flight when it was asked. ``seen``: a
    subscriber of fates and the number that it has seen.

    Afterwards: ``error``, or None when it is committed; ``gone``: messages of ``changes`` that are no more, and
    their content files; ``earliest``: the first due time that was written; ``settled``: the messages of ``gone``
    that asked for fates; ``earlier``: the message that has the key of the one to be stored, which is not.
    """

    __slots__ = (
        "changes", "done", "earlier", "earliest", "error", "gone", "removals", "seen", "settled", "single",
        "stored",
    )  # fmt: skip

    def __init__(self, stored: Sequence[Prepared], single: bool) -> None:
        self.done: Deferred[Any] = Deferred()
        self.stored = stored
        self.single = single
        self.removals: list[str] = []
        self.changes: list[tuple[Settlement, frozenset[int]]] = []
        self.error: Exception | None = None
        self.gone: list[tuple[str, str | None]] = []
        self.earliest: float | None = None
        self.seen: tuple[str, int] | None = None
        self.settled: list[str] = []
        self.earlier: str | None = None

    @property
    def settles(self) -> bool:
        """Whether it settles anything: then it goes through even when new mail does not."""
        return bool(self.removals or self.changes)

    def answer(self) -> str | list[str]:
        """What the caller gets: an id for ``store``, a list of them for ``settle``."""
        if self.earlier is not None:
            return self.earlier
        ids = [one.queue_id for one in self.stored]
        return ids[0] if self.single else ids
