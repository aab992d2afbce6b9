"""What commands work on: the parts of a running server, or of a stopped instance that was opened for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailserver.accounts.store import AccountStore
from mailserver.admin.command import ControlError
from mailserver.interfaces import IClock, ISpool, ISpoolReader, IThreads
from mailserver.settings.model import Settings


@dataclass(frozen=True)
class Files:
    """What a command works on that needs nothing but the instance directory, which may not exist yet."""

    instance: Path
    clock: IClock


@dataclass(frozen=True)
class World:
    """``queue`` has ``kick()``; ``status`` answers what only the running server knows (see
    `mailserver.admin.servercommands`); ``reactor`` has ``callLater``; ``certificates`` has ``reload()``. Where no
    server runs, these are None."""

    settings: Settings
    accounts: AccountStore | None
    spool: ISpool
    reader: ISpoolReader
    clock: IClock
    threads: IThreads
    queue: Any = None
    status: Callable[[], Mapping[str, Any]] | None = None
    reactor: Any = None
    certificates: Any = None

    def store(self) -> AccountStore:
        """The accounts. Raises ControlError where the application says itself who exists."""
        if self.accounts is None:
            raise ControlError("this server keeps no accounts of its own; the application that runs it does")
        return self.accounts

    def running(self) -> Mapping[str, Any]:
        """What the running server says of itself. Raises ControlError where none runs."""
        if self.status is None:
            raise ControlError("the server is not running")
        return self.status()
