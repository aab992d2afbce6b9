"""Our delivery inside a stock twisted.mail factory: one message for all recipients, answered by the commit."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.mail.interfaces import IMessageDelivery
from twisted.mail.smtp import ESMTP
from zope.interface.verify import verifyObject

from mailserver.interfaces import SpoolFull
from mailserver.message.identity import Identity
from mailserver.reception.delivery import IIdentified, SpoolDelivery
from tests.harness.reception import ANNA, Kit


class Stock:
    """A stock ESMTP server with an anonymous portal of ours."""

    def __init__(self, kit: Kit) -> None:
        self.protocol = ESMTP()
        self.protocol.portal = kit.portal
        self.protocol.host = b"stock.example"
        self.protocol.timeout = None
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def send(self, octets: bytes) -> list[str]:
        self.transport.clear()
        self.protocol.dataReceived(octets)
        return self.said()

    def said(self) -> list[str]:
        said = self.transport.value().decode().splitlines()
        self.transport.clear()
        return said


def test_it_provides_what_it_says() -> None:
    delivery = SpoolDelivery(Identity(), Kit().store)
    verifyObject(IMessageDelivery, delivery)
    verifyObject(IIdentified, delivery)


def test_two_recipients_are_one_message() -> None:
    kit = Kit()
    stock = Stock(kit)
    stock.send(b"EHLO c\r\n")
    for command in (
        b"MAIL FROM:<x@far.example>\r\n",
        b"RCPT TO:<anna@mail.test>\r\n",
        b"RCPT TO:<bert@mail.test>\r\n",
    ):
        assert stock.send(command)[0].startswith("250")
    stock.send(b"DATA\r\n")
    assert stock.send(b"Subject: hi\r\n\r\n..dot\r\n.\r\n")[0].startswith("250")
    [(envelope, content, facts)] = kit.intake.accepted
    assert [str(one.mailbox) for one in facts.originals] == [ANNA, "bert@mail.test"]
    assert str(envelope.reverse_path) == "x@far.example"
    assert content.startswith(b"Received: ")
    assert content.endswith(b"\nSubject: hi\n\n.dot\n")


def test_the_answer_waits_for_the_commit() -> None:
    kit = Kit()
    commit: Deferred[str] = Deferred()
    kit.intake.answers = iter([commit])
    stock = Stock(kit)
    for command in (b"EHLO c\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<anna@mail.test>\r\n", b"DATA\r\n"):
        stock.send(command)
    assert stock.send(b"Subject: hi\r\n\r\nx\r\n.\r\n") == []
    commit.callback("q1")
    assert stock.said()[0].startswith("250")


def test_a_full_disk_is_no_250(caplog) -> None:
    kit = Kit()
    kit.intake.answers = iter([SpoolFull("disk")])
    stock = Stock(kit)
    for command in (b"EHLO c\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<anna@mail.test>\r\n", b"DATA\r\n"):
        stock.send(command)
    assert stock.send(b"Subject: hi\r\n\r\nx\r\n.\r\n")[0].startswith(("4", "5"))
    assert kit.intake.accepted == []


def test_strangers_do_not_relay() -> None:
    stock = Stock(Kit())
    stock.send(b"EHLO c\r\n")
    stock.send(b"MAIL FROM:<x@far.example>\r\n")
    assert stock.send(b"RCPT TO:<y@far.example>\r\n")[0].startswith("550")
    assert stock.send(b"RCPT TO:<nobody@mail.test>\r\n")[0].startswith("550")


def test_a_lost_connection_leaves_nothing() -> None:
    kit = Kit()
    stock = Stock(kit)
    for command in (b"EHLO c\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<anna@mail.test>\r\n", b"DATA\r\n", b"one\r\n"):
        stock.send(command)
    from twisted.python.failure import Failure

    stock.protocol.connectionLost(Failure(ConnectionError()))
    assert kit.contents[0].discarded
    assert kit.intake.accepted == []
