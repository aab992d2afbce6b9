"""A static route by LMTP, from the settings to the mailbox server: our own listener of that role."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailserver.accounts import StaticDirectory
from mailserver.message import State
from mailserver.relay import build_queue
from mailserver.service import build
from mailserver.settings import Listener, Relay, Settings, StaticRoute
from mailserver.transport import FunctionTransport
from tests.harness.daemon import free_address


class LmtpRoute(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.place = f"{free_address()}:2424"
        self.arrived: list[tuple[str, bytes]] = []
        self.mailboxes = build(
            Settings(
                instance=self.mktemp(), host_name="box.example",
                listeners=[Listener(role="lmtp", listen=[self.place])],
            ),
            reactor=reactor,
            directory=StaticDirectory(["anna@there.example", "bob@there.example"]),
            transports={"local": FunctionTransport(self.on_mail)},
        )  # fmt: skip
        self.mailboxes.startService()
        self.addCleanup(self.mailboxes.stopService)

    async def on_mail(self, mail: Any) -> None:
        self.arrived.append((str(mail.recipient), (await mail.content.read()).rpartition(b"\n\n")[2]))

    def queue(self, chunking: bool) -> Any:
        queue = build_queue(
            Settings(
                instance=self.mktemp(), host_name="me.example", relay=Relay(chunking=chunking),
                routes=[StaticRoute(domain="there.example", host=self.place, transport="lmtp")],
            ),
            reactor=reactor,
            directory=StaticDirectory(["me@me.example"]),
        )  # fmt: skip
        queue.startService()
        self.addCleanup(queue.stopService)
        return queue

    async def sent(self, chunking: bool) -> dict[str, State]:
        names = ["anna@there.example", "nobody@there.example", "bob@there.example"]
        sent = await self.queue(chunking).outbox.send(b"Subject: x\n\n.dot\n", sender="", recipients=names)
        fates = await sent.settled(timeout=30)
        return {str(name): fate.state for name, fate in fates.items()}

    async def test_by_bdat_and_by_data(self) -> None:
        for chunking in (True, False):
            assert await self.sent(chunking) == {
                "anna@there.example": State.RELAYED,
                "nobody@there.example": State.FAILED,
                "bob@there.example": State.RELAYED,
            }
        await self.mailboxes.relay.stop_delivery(10)
        assert sorted(self.arrived) == [
            ("anna@there.example", b".dot\n"), ("anna@there.example", b".dot\n"),
            ("bob@there.example", b".dot\n"), ("bob@there.example", b".dot\n"),
        ]  # fmt: skip
