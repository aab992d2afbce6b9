"""Both spools keep the contract of spools."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mailserver.spool.contract import SpoolOptions, SpoolWorld
from mailserver.spool.memory import MemorySpool
from mailserver.spool.sqlite import SqliteSpool
from mailserver.testing.contracts import DurableSpoolContract, SpoolBench
from mailserver.threads import inline


class Reactor:
    """``callFromThread`` queues; ``turn`` runs what is queued."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Any] = SimpleQueue()

    def callFromThread(self, function: Any, *args: Any) -> None:
        self.calls.put((function, args))

    def turn(self) -> None:
        function, args = self.calls.get(timeout=20)
        function(*args)


class Bench(SpoolBench):
    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        self.reactor = Reactor()
        self.fatal: list[str] = []

    def world(self) -> SpoolWorld:
        return SpoolWorld(self.reactor, self.clock, inline, lambda *_, **__: None, self.fatal.append)

    def make(self, options: SpoolOptions) -> Any:
        raise NotImplementedError

    def open(self, subscribed: bool = True, longest_interval: float = 0.0) -> Any:
        options = SpoolOptions(
            content_cap=1000, longest_interval=longest_interval, wal_extent=65_536, reserve=65_536
        )
        self.spool = self.make(options)
        self.spool.start()
        self.spool.subscribe(self.fresh.extend if subscribed else None)
        return self.spool

    def wait(self, awaitable: Any) -> Any:
        got: list[Any] = []
        failures: list[Any] = []
        awaitable.addCallbacks(got.append, failures.append)
        while not got and not failures:
            self.reactor.turn()
        if failures:
            failures[0].raiseException()
        return got[0]

    def close(self) -> None:
        self.wait(self.spool.stop())
        assert self.fatal == []


class SqliteBench(Bench):
    def make(self, options: SpoolOptions) -> SqliteSpool:
        return SqliteSpool(self.directory / "spool", options, self.world())


class MemoryBench(Bench):
    """Its restart is one of the same object: more is not promised."""

    def make(self, options: SpoolOptions) -> MemorySpool:
        return self.spool if hasattr(self, "spool") else MemorySpool(self.world(), options, beat=0)


class TestSqlite(DurableSpoolContract):
    def bench(self, directory: Path) -> SpoolBench:
        return SqliteBench(directory)


class TestMemory(DurableSpoolContract):
    def bench(self, directory: Path) -> SpoolBench:
        return MemoryBench(directory)
