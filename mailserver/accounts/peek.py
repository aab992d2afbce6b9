"""A look at the file ``accounts.db`` from outside, for whoever checks an instance. Nothing is made or changed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from mailserver.smtp.address import Domain


def hosted_domains(path: Path, in_use: bool) -> frozenset[Domain]:
    """The domains in the account store `path`; none where it cannot be read. `in_use`: a server has it open."""
    # Without a server the file is all there is; SQLite would otherwise leave an index of its log beside it.
    manner = "mode=ro" if in_use else "mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?{manner}", uri=True)
        try:
            rows = connection.execute("SELECT name FROM domain LIMIT 100000").fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return frozenset()
    return frozenset(Domain(name) for (name,) in rows)
