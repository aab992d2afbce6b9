"""Reception and queue in one process: either is stopped and started while the other runs, and mail waits."""

from __future__ import annotations

import smtplib
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailserver.accounts import StaticDirectory
from mailserver.message import State
from mailserver.service import build
from mailserver.settings import Listener, Settings
from mailserver.transport import FunctionTransport
from tests.harness.daemon import free_address


class TwoSides(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.address = free_address()
        self.arrived: list[str] = []
        self.wanted: tuple[int, Deferred[None]] | None = None
        listener = Listener(role="mx", listen=[f"{self.address}:2525"])
        settings = Settings(instance=self.mktemp(), host_name="mx.here.example", listeners=[listener])
        self.server = build(
            settings,
            reactor=reactor,
            directory=StaticDirectory(["orders@here.example"]),
            transports={"local": FunctionTransport(self.on_mail)},
        )
        self.server.startService()
        self.addCleanup(self.server.stopService)

    def on_mail(self, mail: Any) -> None:
        self.arrived.append(mail.queue_id)
        if self.wanted is not None and len(self.arrived) == self.wanted[0]:
            self.wanted[1].callback(None)

    async def until_arrived(self, count: int) -> None:
        if len(self.arrived) < count:
            self.wanted = (count, Deferred())
            await self.wanted[1]

    async def send(self) -> None:
        def run() -> None:
            with smtplib.SMTP(self.address, 2525, local_hostname="client.test", timeout=20) as client:
                client.sendmail("zoe@far.example", ["orders@here.example"], "Subject: x\r\n\r\nx\r\n")

        await deferToThread(run)

    async def outbox_send(self) -> Any:
        return await self.server.outbox.send(b"Subject: x\n\nx\n", sender="", recipients=["orders@here.example"])

    async def test_the_queue_stops_while_reception_takes(self) -> None:
        await self.send()
        await self.until_arrived(1)
        await self.server.relay.stop_delivery(1)
        for _ in range(3):
            await self.send()
        sent = await self.outbox_send()
        assert self.server.spool.counts()["queued"] == 4
        assert len(self.arrived) == 1
        self.server.relay.start_delivery()
        fates = await sent.settled(timeout=30)
        assert fates["orders@here.example"].state is State.DELIVERED
        await self.until_arrived(5)
        assert len(set(self.arrived)) == 5
        await self.send()
        await self.until_arrived(6)

    async def test_reception_stops_while_the_queue_delivers(self) -> None:
        await self.send()
        await self.server.listeners.stop()
        with pytest.raises(ConnectionRefusedError):
            await self.send()
        await (await self.outbox_send()).settled(timeout=30)
        assert len(self.arrived) == 2
        self.server.listeners.start(self.server.certificates)
        await self.send()
        await self.until_arrived(3)

    async def test_the_commands_of_mailserverctl_work_on_the_queue_alone(self) -> None:
        await self.server.relay.stop_delivery(1)
        await self.outbox_send()
        for control in (self.server.control, self.server.relay.control):
            listed = await control.run("queue list", {})
            assert [row["state"] for row in listed["recipients"]] == ["queued"]
        alone = await self.server.relay.control.run("status", {})
        assert (alone["host name"], alone["listeners"]) == ("mx.here.example", [])
