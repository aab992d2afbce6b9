"""Connections that end in the middle: nothing half received is delivered, and nothing is left behind.

First over a memory transport, every place of a session with every end. Then over sockets, with TLS, where the
kernel and OpenSSL have their say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from twisted.cred.credentials import IUsernamePassword
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import ClientCreator, Protocol
from twisted.internet.ssl import ClientContextFactory
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mailserver.interfaces import ICheck
from mailserver.message.verdict import CONTINUE, Stage
from mailserver.net.tls import self_signed, server_context
from mailserver.reception.factory import ReceptionFactory
from mailserver.reception.pipeline import Pipeline
from mailserver.settings.listener import Certificate, Listener
from mailserver.settings.model import Settings
from tests.harness.reception import Kit

CLIENT = IPv4Address("TCP", "127.0.0.1", 1234)
EHLO = b"EHLO c.example\r\n"
MAIL = EHLO + b"MAIL FROM:<anna@mail.test>\r\n"
RCPT = MAIL + b"RCPT TO:<bert@mail.test>\r\n"
DATA = RCPT + b"DATA\r\n"
LOGIN = b"AUTH PLAIN AGFubmFAbWFpbC50ZXN0AHNlY3JldCB3b3Jkcw==\r\n"


class Place(NamedTuple):
    """A session that was told `octets`: its last reply begins with `reply`, or a question of `pending` is open."""

    octets: bytes
    reply: bytes = b"220"
    pending: Any = None


PLACES = {
    "nothing said": Place(b""),
    "half a line": Place(b"EHLO c.exam"),
    "a line without its LF": Place(b"EHLO c.example\r"),
    "greeted": Place(EHLO, b"250"),
    "half a MAIL": Place(EHLO + b"MAIL FROM:<anna@mail", b"250"),
    "MAIL": Place(MAIL, b"250"),
    "RCPT": Place(RCPT, b"250"),
    "DATA": Place(DATA, b"354"),
    "half a content": Place(DATA + b"Subject: x\r\n\r\nhello", b"354"),
    "a content and its dot": Place(DATA + b"Subject: x\r\n\r\nhello\r\n.", b"354"),
    "a content, its dot and CR": Place(DATA + b"Subject: x\r\n\r\nhello\r\n.\r", b"354"),
    "a refused content": Place(DATA + b"Subject: x\n\0", b"354"),
    "half a chunk": Place(RCPT + b"BDAT 100\r\nSubject: x\r\n", b"250"),
    "between chunks": Place(RCPT + b"BDAT 12\r\nSubject: x\r\n", b"250"),
    "half of the last chunk": Place(RCPT + b"BDAT 100 LAST\r\nSubject: x\r\n", b"250"),
    "a refused chunk": Place(RCPT + b"BDAT 30000000 LAST\r\nSubject: x\r\n", b"250"),
    "AUTH": Place(EHLO + b"AUTH LOGIN\r\n", b"334"),
    "half a response": Place(EHLO + b"AUTH LOGIN\r\nYW5u", b"334"),
    "a login that is looked at": Place(EHLO + LOGIN, b"250", "login"),
    "a greeting that waits": Place(EHLO, b"", Stage.CONNECT),
    "an EHLO that waits": Place(EHLO, b"220", Stage.HELLO),
    "a sender that is looked at": Place(MAIL, b"250", Stage.MAIL),
    "a recipient that is looked at": Place(RCPT, b"250", Stage.RCPT),
    "commands behind one that waits": Place(DATA + b"hello\r\n.\r\n" + DATA, b"250", Stage.RCPT),
}
OPEN_TO_ALL = {name: place for name, place in PLACES.items() if b"AUTH" not in place.octets}


@implementer(ICheck)
class Slow:
    """A check, and a credentials checker, whose answers wait."""

    name = "slow"
    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, pending: Any) -> None:
        self.stages = frozenset({pending} if isinstance(pending, Stage) else ())
        self.waiting: list[Deferred[Any]] = []

    def check(self, _stage: Stage, _context: object) -> Deferred[Any]:
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def requestAvatarId(self, _credentials: object) -> Deferred[Any]:
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def release(self) -> None:
        for one in self.waiting:
            if not one.called:
                one.callback(b"anna@mail.test" if not self.stages else CONTINUE)


class Door:
    """A listener behind which everybody is somebody, and what its parts saw."""

    def __init__(self, place: Place, tls: str = "none") -> None:
        self.kit = Kit()
        self.slow = Slow(place.pending)
        self.kit.world = replace(self.kit.world, checks=Pipeline([self.slow], self.kit.clock, self.kit.log, 60))
        if place.pending == "login":
            self.kit.portal.registerChecker(self.slow)
        role = "submission" if b"AUTH" in place.octets else "mx"
        listener = Listener(role=role, listen=["127.0.0.1:2525"], tls=tls)
        certificate = Certificate(name="default", chain="chain.pem", key="key.pem")
        settings = Settings(
            instance=Path("none"), host_name="mx.mail.test", listeners=[listener], certificates=[certificate]
        )
        self.factory = ReceptionFactory(settings, listener, self.kit.world, self.kit.portal)

    def nothing_is_left(self) -> None:
        assert self.kit.intake.accepted == []
        assert (self.factory.connections.count, self.factory.connections._by_address) == (0, {})
        assert all(content.discarded for content in self.kit.contents)
        assert self.kit.log.failures == []
        assert len(self.kit.log.named("session.closed")) == 1


def in_memory(place: Place) -> tuple[Door, StringTransport, Any]:
    door = Door(place, "implicit" if b"AUTH" in place.octets else "none")
    transport = StringTransport(peerAddress=CLIENT)
    transport.startTLS = lambda context: None
    protocol = door.factory.buildProtocol(CLIENT)
    protocol.makeConnection(transport)
    protocol.dataReceived(place.octets)
    last = [b"", *transport.value().splitlines()][-1]
    assert last.startswith(place.reply)
    assert bool(door.slow.waiting) is (place.pending is not None)
    return door, transport, protocol


@pytest.mark.parametrize("why", [ConnectionLost, ConnectionDone, ConnectionAborted])
@pytest.mark.parametrize("name", PLACES)
def test_the_connection_is_lost(name: str, why: type[Exception]) -> None:
    door, _, protocol = in_memory(PLACES[name])
    protocol.connectionLost(Failure(why()))
    door.nothing_is_left()
    assert all(one.called for one in door.slow.waiting), "it was cancelled"
    door.slow.release()
    door.factory.tick()
    door.nothing_is_left()


@pytest.mark.parametrize("name", PLACES)
def test_the_client_sends_no_more(name: str) -> None:
    place = PLACES[name]
    door, transport, protocol = in_memory(place)
    protocol.readConnectionLost()
    # What it asked is still answered. Then we close, too.
    assert transport.disconnecting is (place.pending is None)
    while any(not one.called for one in door.slow.waiting):
        door.slow.release()
    assert transport.disconnecting
    protocol.connectionLost(Failure(ConnectionDone()))
    complete = name == "commands behind one that waits"
    assert len(door.kit.intake.accepted) == complete
    door.kit.intake.accepted.clear()
    door.kit.contents[:complete] = []
    door.nothing_is_left()


def test_a_content_that_came_whole_is_stored_without_its_client() -> None:
    place = Place(DATA, b"354")
    door, _, protocol = in_memory(place)
    commit: Deferred[str] = Deferred()
    door.kit.intake.answers = iter([commit])
    protocol.dataReceived(b"Subject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n")
    protocol.connectionLost(Failure(ConnectionLost()))
    commit.callback("q1")
    assert len(door.kit.intake.accepted) == 1
    assert door.kit.log.failures == []
    assert door.factory.connections.count == 0


# Over sockets.


class Talker(Protocol):
    """Sends octets, waits for as many replies as there are, and ends the connection in its own way."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.waiting: tuple[int, Deferred[None]] | None = None
        self.closed: Deferred[None] = Deferred()

    def replies(self, count: int) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.waiting = (count, done)
        self.dataReceived(b"")
        return done

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        there = sum(line[3:4] == b" " for line in self.received.splitlines())
        if self.waiting is not None and there >= self.waiting[0]:
            (_, done), self.waiting = self.waiting, None
            done.callback(None)

    def connectionLost(self, reason: Any = None) -> None:
        self.closed.callback(None)


def finish(client: Talker) -> None:
    """FIN, and the client goes on reading."""
    client.transport.loseWriteConnection()


def reset(client: Talker) -> None:
    """RST."""
    client.transport.abortConnection()


def close(client: Talker) -> None:
    """The client closes. Under TLS close_notify goes before the FIN."""
    client.transport.loseConnection()


def cut(client: Talker) -> None:
    """Under TLS: FIN without close_notify."""
    client.transport.protocol.transport.loseConnection()


def whole(octets: bytes) -> int:
    """How many replies the commands in it get."""
    commands = octets.split(b"\r\n")
    content = b"DATA" in commands
    return sum(bool(line) for line in commands[: commands.index(b"DATA") + 1 if content else -1])


class OverSockets(TestCase):
    def each(self, places: dict[str, Place]) -> Iterator[tuple[str, Place]]:
        for name, place in places.items():
            if place.pending is None and b"BDAT" not in place.octets:
                yield name, place

    async def connect(self, door: Door) -> Talker:
        port = reactor.listenTCP(0, door.factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        client = await ClientCreator(reactor, Talker).connectTCP("127.0.0.1", port.getHost().port)
        while not door.factory.connections.count:  # it is connected, and not accepted yet
            await deferLater(reactor, 0)
        return client

    async def over(self, door: Door, client: Talker) -> None:
        await door.factory.drained()
        await client.closed
        door.nothing_is_left()

    async def reaches(self, door: Door, client: Talker, place: Place) -> None:
        client.received = b""
        client.transport.write(place.octets)
        await client.replies(whole(place.octets))

    async def test_in_clear(self) -> None:
        for end in (finish, reset, close):
            for _, place in self.each(OPEN_TO_ALL):
                door = Door(place)
                client = await self.connect(door)
                await client.replies(1)
                await self.reaches(door, client, place)
                end(client)
                await self.over(door, client)

    def context(self) -> Any:
        chain, key = Path(self.mktemp()), Path(self.mktemp())
        for file, octets in zip((chain, key), self_signed("localhost", 1_700_000_000.0), strict=True):
            file.write_bytes(octets)
        return server_context(chain, key)

    async def test_under_tls_from_the_first_octet(self) -> None:
        context = self.context()
        for end in (reset, close, cut):
            for _, place in self.each(PLACES):
                door = Door(place, "implicit")
                door.factory.context = context
                client = await self.connect(door)
                client.transport.startTLS(ClientContextFactory())
                await client.replies(1)
                await self.reaches(door, client, place)
                end(client)
                await self.over(door, client)

    async def test_under_starttls(self) -> None:
        context = self.context()
        for end in (reset, close, cut):
            for place in (PLACES["greeted"], PLACES["half a content"], PLACES["half a response"]):
                door = Door(place, "starttls")
                door.factory.context = context
                client = await self.connect(door)
                client.transport.write(EHLO + b"STARTTLS\r\n")
                await client.replies(3)
                client.transport.startTLS(ClientContextFactory())
                await self.reaches(door, client, place)
                end(client)
                await self.over(door, client)

    async def test_within_a_handshake(self) -> None:
        context = self.context()
        # The beginning of a ClientHello that says it has 512 octets, and no TLS at all.
        for octets in (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"EHLO c.example\r\n"):
            for end in (finish, reset, close):
                door = Door(PLACES["nothing said"], "implicit")
                door.factory.context = context
                client = await self.connect(door)
                client.transport.write(octets)
                end(client)
                await self.over(door, client)
