"""The spool on a real reactor, with its real pools."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from mailserver.clock import SystemClock
from mailserver.message import Change, Claim, Envelope, Original, Prepared, Recipient, Settlement, State
from mailserver.message.prepared import new_queue_id
from mailserver.smtp.address import Mailbox
from mailserver.spool import SpoolOptions, SpoolWorld, open_spool
from mailserver.threads import Pools

BOX = Mailbox.parse("a@example.org")


class SpoolOnAReactor(TestCase):
    def setUp(self) -> None:
        self.pools = Pools(reactor)
        self.addCleanup(self.pools.stop)
        self.clock = SystemClock()
        self.fatal: list[str] = []
        self.claims: list[Claim] = []
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name) / "spool"
        self.spool = self.opened()

    def opened(self) -> Any:
        world = SpoolWorld(reactor, self.clock, self.pools, lambda _event, **_fields: None, self.fatal.append)
        spool = open_spool(self.directory, SpoolOptions(content_cap=10_000, wal_extent=65_536), world)
        spool.subscribe(self.claims.extend)
        return spool

    async def stored(self, size: int) -> str:
        content = self.spool.new_content()
        for _ in range(size // 50_000 + 1):
            waiting = content.write(b"x" * 49_999 + b"\n")
            if waiting is not None:
                await waiting
        waiting = content.finish()
        if waiting is not None:
            await waiting
        now = self.clock.wall()
        recipients = (Recipient(0, BOX, (Original(BOX),)),)
        return str(await self.spool.store(Prepared(new_queue_id(now), Envelope(BOX), recipients, content, now)))

    async def test_a_large_message_from_writing_to_removal(self) -> None:
        queue_id = await self.stored(2_000_000)
        await deferLater(reactor, 0, lambda: None)  # the waiter is told before the subscriber
        (claim,) = self.claims
        octets = await self.pools("disk", lambda: b"".join(claim.content.pieces()))
        assert octets == (b"x" * 49_999 + b"\n") * 41
        assert len(list((self.directory / "content").iterdir())) == 1
        await self.spool.settle([Settlement(queue_id, (Change(0, State.DELIVERED),))])
        await self.spool.stop()
        assert list((self.directory / "content").iterdir()) == []
        assert self.fatal == []

    async def test_it_stops_and_starts_again(self) -> None:
        ids = [await self.stored(100) for _ in range(3)]
        await self.spool.stop()
        self.spool = self.opened()
        assert [claim.queue_id for claim in self.spool.claim(self.clock.wall(), 10)] == ids
        await self.spool.stop()

    async def test_the_tick(self) -> None:
        ticked: Deferred[None] = Deferred()
        self.spool.ticks(lambda: ticked.callback(None))
        await ticked
        await self.spool.stop()
