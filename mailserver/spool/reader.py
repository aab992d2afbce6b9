"""The connection that reads: ``mode=ro`` and ``query_only``, used on the reactor thread only.

Every read is limited by whoever asks it and fetched whole, so that no cursor outlives a turn of the reactor
and no checkpoint waits for one. A read that fails is as fatal as a write that fails; only a database that
somebody else has locked (SpoolFull) passes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mailserver.interfaces import SpoolFailed, SpoolFull
from mailserver.spool.errors import Meaning, meaning

_PATIENCE = 0.05  # seconds that the reactor may wait for a lock


class Reader:
    """Reads the database at `path`; ``failed(reason)`` is told of an error before SpoolFailed is raised."""

    def __init__(self, path: Path, failed: Callable[[str], None]) -> None:
        self._failed = failed
        where = f"{path.absolute().as_uri()}?mode=ro"
        self._connection = sqlite3.connect(where, uri=True, isolation_level=None, timeout=_PATIENCE)
        self._connection.execute("PRAGMA query_only = 1")

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a limited `statement`."""
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            if meaning(error) is Meaning.FULL:
                raise SpoolFull(str(error)) from error
            reason = f"reading: {error}"
            self._failed(reason)
            raise SpoolFailed(reason) from error

    def close(self) -> None:
        """Before the writing connection closes, which then is the last one and leaves no log behind."""
        self._connection.close()
