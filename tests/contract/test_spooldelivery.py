"""SpoolDelivery within a stock factory, over a spool on disk: 250 is durable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.mail.protocols import ESMTPFactory as StockFactory

from mailserver.accounts.directory import StaticDirectory
from mailserver.accounts.realm import MailRealm
from mailserver.interfaces import SpoolFull
from mailserver.message.header import hops
from mailserver.queue.intake import Intake
from mailserver.reception import ESMTPFactory
from mailserver.reception.delivery import SpoolDelivery, Store
from mailserver.reception.policy import Policy
from tests.contract.servers import CLIENT, FROM, HELLO, MemoryTransport
from tests.harness.reception import Kit
from tests.spool.conftest import NOW, Harness

RECIPIENTS = (b"RCPT TO:<anna@here.example>", b"RCPT TO:<bert@here.example>")
CONTENT = (b"Subject: hi", b"", b"..dots", b"last", b".")


class StockWithSpool:
    def __init__(self, directory: Path, **bounds: Any) -> None:
        self.harness = Harness(directory)
        self.spool = self.harness.open()
        local = StaticDirectory(["anna@here.example", "bert@here.example"])
        policy = Policy(local, lambda client: False, lambda identity, mailbox: True)
        intake = Intake(self.spool, local, "mx.here.example")
        store = Store(intake, self.spool.new_content, policy, self.harness.clock, "mx.here.example", **bounds)
        realm = MailRealm(lambda identity: SpoolDelivery(identity, store))
        factory = StockFactory(None, Portal(realm, [AllowAnonymousAccess()]))
        self.protocol = factory.buildProtocol(CLIENT)
        self.protocol.timeout = None
        self.transport = MemoryTransport()
        self.protocol.makeConnection(self.transport)

    def talk(self, *commands: bytes) -> list[str]:
        said: list[str] = []
        for command in commands:
            self.transport.clear()
            self.protocol.dataReceived(command + b"\r\n")
            said += self.said()[-1:]
        return said

    def said(self) -> list[str]:
        return self.transport.value().decode().splitlines()


def again(stock: StockWithSpool) -> list[Any]:
    """What a fresh process finds."""
    stock.harness.close()
    spool = stock.harness.open(subscribed=False)
    return list(spool.claim(NOW + 1, 10))


def test_two_recipients_are_one_durable_message(tmp_path: Path) -> None:
    stock = StockWithSpool(tmp_path / "spool")
    stock.talk(HELLO, FROM, *RECIPIENTS, b"DATA", *CONTENT)
    assert stock.said() == []  # not before the commit
    stock.harness.reactor.turn()
    assert stock.said()[0].startswith("250 ")
    [claim] = again(stock)
    assert [str(one.mailbox) for one in claim.recipients] == ["anna@here.example", "bert@here.example"]
    assert str(claim.envelope.reverse_path) == "x@far.example"
    octets = b"".join(claim.content.chunks())
    assert octets.endswith(b"\nSubject: hi\n\n.dots\nlast\n")
    assert hops(claim.content.head) == 1


def test_a_large_content_is_durable_too(tmp_path: Path) -> None:
    stock = StockWithSpool(tmp_path / "spool")
    lines = [b"x" * 900] * 200
    stock.talk(HELLO, FROM, RECIPIENTS[0], b"DATA", b"Subject: hi", b"", *lines, b".")
    while not stock.said():
        stock.harness.reactor.turn()
    assert stock.said()[0].startswith("250 ")
    [claim] = again(stock)
    assert claim.content.file is not None
    assert b"".join(claim.content.chunks()).endswith(b"\n\n" + b"".join(line + b"\n" for line in lines))


def test_what_a_stock_server_lets_through_is_refused(tmp_path: Path) -> None:
    stock = StockWithSpool(tmp_path / "spool", max_message_size=200, max_hops=3)
    stock.talk(HELLO)
    begin = (FROM, RECIPIENTS[0], b"DATA")
    for line in (b"a\nb", b"a\rb", b"a\0b"):
        assert stock.talk(*begin, b"Subject: x", b"", line, b".")[-1].startswith("550 ")
    assert stock.talk(*begin, b"x" * 150, b"y" * 150, b".")[-1].startswith("552 5.3.4")
    assert stock.talk(*begin, *[b"Received: x"] * 3, b"", b"x", b".")[-1].startswith("550 ")
    assert again(stock) == []


def test_within_our_own_bare_factory_its_refusals_keep_their_codes() -> None:
    kit = Kit()
    kit.intake.answers = iter([SpoolFull("disk")])
    factory = ESMTPFactory(kit.portal, reactor=kit.clock, clock=kit.clock)
    transport = MemoryTransport()
    protocol = factory.buildProtocol(CLIENT)
    protocol.makeConnection(transport)
    begin = b"\r\n".join((HELLO, FROM, b"RCPT TO:<anna@mail.test>", b"RCPT TO:<bert@mail.test>", b"DATA", b""))
    protocol.dataReceived(begin + b"\r\n".join((*CONTENT, b"")))
    assert transport.value().splitlines()[-1].startswith(b"452 4.3.1 ")
    protocol.dataReceived(begin + b"\r\n".join((*CONTENT, b"")))
    assert transport.value().splitlines()[-1].startswith(b"250 ")
    assert len(kit.intake.accepted) == 1


def test_a_stock_server_that_heard_no_hello(tmp_path: Path) -> None:
    stock = StockWithSpool(tmp_path / "spool")
    assert [line[:3] for line in stock.talk(FROM, RECIPIENTS[0], b"RCPT TO:<x@far.example>")] == [
        "250",
        "250",
        "550",
    ]
