"""Values at the door of the spool: what it is made of. Sizes are octets, times seconds.

What listings ask and get stands in `mailserver.message.query`, because the queue asks too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from mailserver.interfaces import IClock
from mailserver.message.query import Page, Query, QueuedMessage, QueuedRecipient

__all__ = ["MIB", "Page", "Query", "QueuedMessage", "QueuedRecipient", "SpoolOptions", "SpoolWorld"]

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class SpoolOptions:
    """Bounds of one spool.

    Content over ``content_cap`` goes to a file, and so does all content while ``memory_budget`` is spent.
    A due time further ahead than ``longest_interval`` counts as now (0: no such rule). ``wal_extent`` is what
    the write-ahead log is extended to at start; ``reserve`` is kept free for settlements; ``max_database``
    bounds the database file (0: only the disk does). ``fates_kept`` is how long the fates of a message are kept.
    """

    content_cap: int = 262_144
    memory_budget: int = 64 * MIB
    longest_interval: float = 0.0
    wal_extent: int = 16 * MIB
    reserve: int = MIB
    max_database: int = 0
    fates_kept: float = 30 * 86_400


@dataclass(frozen=True, slots=True)
class SpoolWorld:
    """What the spool needs from around it.

    ``threads(kind, f, *args)`` answers a Deferred; ``log(event, **fields)`` is called on the reactor thread;
    ``on_fatal(reason)`` is called once, on the reactor thread, when nothing may be committed any more.
    ``connect`` opens the writing connection (a test hands in one that fails).
    """

    reactor: Any
    clock: IClock
    threads: Callable[..., Deferred[Any]]
    log: Callable[..., None]
    on_fatal: Callable[[str], None]
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
