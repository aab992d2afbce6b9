"""A spool with a real commit thread and a reactor that the test turns by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from mailserver.message import Change, Claim, Content, Envelope, Original, Prepared, Recipient, Settlement, State
from mailserver.message.prepared import new_queue_id
from mailserver.smtp.address import Mailbox
from mailserver.spool.contract import SpoolOptions, SpoolWorld
from mailserver.spool.sqlite import SqliteSpool
from mailserver.threads import inline

NOW = 1_790_000_000.0
SMALL = SpoolOptions(content_cap=1000, memory_budget=100_000, wal_extent=65_536, reserve=65_536)


class Clock:
    def __init__(self) -> None:
        self.now = NOW
        self.passed = 0.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.passed


class Reactor:
    """``callFromThread`` queues; ``turn`` runs what is queued."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        self.calls.put((function, args))

    def turn(self) -> None:
        function, args = self.calls.get(timeout=20)
        function(*args)


class Harness:
    """One spool directory over its lives."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = Clock()
        self.reactor = Reactor()
        self.fatal: list[str] = []
        self.logged: list[tuple[str, dict[str, Any]]] = []
        self.threads: Callable[..., Deferred[Any]] = inline
        self.extra: dict[str, Any] = {}
        self.fresh: list[Claim] = []
        self.options = SMALL
        self.spool: SqliteSpool
        self._failed: list[SqliteSpool] = []

    def open(self, subscribed: bool = True, **options: Any) -> SqliteSpool:
        self.options = replace(self.options, **options)
        self.spool = self.make(self.world())
        self.spool.start()
        if subscribed:
            self.spool.subscribe(self.fresh.extend)
        return self.spool

    def world(self) -> SpoolWorld:
        return SpoolWorld(self.reactor, self.clock, self._threads, self._log, self.fatal.append, **self.extra)

    def make(self, world: SpoolWorld) -> SqliteSpool:
        return SqliteSpool(self.directory, self.options, world)

    def _threads(self, kind: str, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        assert kind == "disk"
        return self.threads(kind, function, *args)

    def _log(self, event: str, **fields: Any) -> None:
        self.logged.append((event, fields))

    def close(self) -> None:
        self.wait(self.spool.stop())

    def reopen(self, **options: Any) -> SqliteSpool:
        self.close()
        return self.open(**options)

    def crash(self) -> Harness:
        """What a power loss now would leave, in a directory of its own."""
        image = Harness(self.directory.with_name(self.directory.name + "-image"))
        shutil.copytree(self.directory, image.directory)
        image.options = self.options
        return image

    def wait(self, awaited: Any) -> Any:
        """The result of a Deferred, or its exception."""
        got: list[Any] = []
        failures: list[Any] = []
        awaited.addCallbacks(got.append, failures.append)
        while not got and not failures:
            self.reactor.turn()
        if failures:
            failures[0].raiseException()
        return got[0]

    def tick(self, idle: bool = False) -> None:
        """Let a second pass, and wait until the commit thread has seen it; unless `idle`, it is woken."""
        seen: list[bool] = []
        self.spool.ticks(lambda: seen.append(True))
        self.clock.passed += 1
        if not idle:
            self.spool.settle([]).addErrback(lambda _failure: None)
        while not seen:
            self.reactor.turn()

    # Messages.

    def message(self, recipients: int = 1, octets: bytes | Content = b"Subject: x\n\nbody\n") -> Prepared:
        content = octets if isinstance(octets, Content) else self.content(octets)
        boxes = [Mailbox.parse(f"r{number}@example.org") for number in range(recipients)]
        return Prepared(
            new_queue_id(self.clock.now),
            Envelope(Mailbox.parse("sender@example.com"), envid="e1", identity="sender@example.com"),
            tuple(Recipient(number, box, (Original(box),)) for number, box in enumerate(boxes)),
            content,
            self.clock.now,
        )

    def content(self, octets: bytes) -> Content:
        content = self.spool.new_content()
        content.write(octets)
        waiting = content.finish()
        if waiting is not None:
            self.wait(waiting)
        return content

    def store(self, recipients: int = 1, octets: bytes | Content = b"Subject: x\n\nbody\n") -> str:
        queue_id: str = self.wait(self.spool.store(self.message(recipients, octets)))
        return queue_id

    def settle(self, queue_id: str, *changes: Change, claimed: bool = True, stored: Any = ()) -> list[str]:
        settlement = Settlement(queue_id, changes, tuple(stored), claimed)
        ids: list[str] = self.wait(self.spool.settle([settlement]))
        return ids

    def claim(self, limit: int = 100, closed: Any = frozenset()) -> list[Claim]:
        return list(self.spool.claim(self.clock.now, limit, closed))

    def states(self, queue_id: str) -> dict[int, State]:
        from mailserver.spool.contract import Query

        page = self.spool.find(Query(queue_id=queue_id))
        return {one.recipient.number: one.state for message in page.messages for one in message.recipients}

    def files(self) -> set[str]:
        return {path.name for path in (self.directory / "content").iterdir()}


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    made = Harness(tmp_path / "spool")
    yield made
    if hasattr(made, "spool"):
        made.close()
