"""What an instance has on disk, seen from outside while its server runs or after it died."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.harness.daemon import Daemon


def queued(daemon: Daemon) -> int:
    """Messages in the spool, by a connection that only reads."""
    with closing(sqlite3.connect(f"file:{daemon.instance}/spool/spool.db?mode=ro", uri=True)) as spool:
        (count,) = spool.execute("SELECT count(*) FROM messages").fetchone()
    return int(count)


def contents(daemon: Daemon) -> list[Path]:
    """The content files of the spool."""
    return list((daemon.instance / "spool/content").iterdir())


def unfinished(daemon: Daemon) -> list[Path]:
    """What stands in a ``tmp/`` of any Maildir."""
    return list(daemon.instance.glob("maildirs/*/*/tmp/*"))


def id_in_name(letter: Path) -> str:
    """The queue id of a letter."""
    return letter.name.split(".")[1].partition("R")[0]
