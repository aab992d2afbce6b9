"""The sending API over a memory reactor: what is sent, what comes back, what is kept, and what each failure is."""

from __future__ import annotations

from collections.abc import Callable
from email.message import EmailMessage
from typing import Any, cast

import pytest
from twisted.internet._resolver import HostResolution
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionDone, ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver import (
    Client,
    ClientOptions,
    ConnectFailed,
    HostNotFound,
    Login,
    LoginFailed,
    MailServerError,
    SendFailed,
    SendRefused,
    Sent,
    SessionLost,
    TlsFailed,
)
from mailserver.message import Content, Klass
from mailserver.settings import HostPort
from mailserver.smtp import AddressError, Mailbox
from mailserver.threads import inline
from mailserver.transport.pool import IDLE

OFFERS = b"250-b\r\n250-PIPELINING\r\n250-AUTH PLAIN LOGIN XOAUTH2\r\n250 8BITMIME\r\n"
ASKED = (b"250 m\r\n250 r\r\n354 go\r\n",)
BODY = b"Subject: x\r\n\r\nx\r\n"


class Transport(StringTransport):
    """One that ends when it is told to."""

    lost: Callable[[], object]

    def abortConnection(self) -> None:
        self.disconnecting = True
        self.lost()


class Far:
    """The far end of one connection."""

    def __init__(self, reactor: MemoryReactorClock, protocol: Any) -> None:
        self.reactor = reactor
        self.protocol = protocol
        self.transport = Transport()
        self.transport.lost = lambda: reactor.callLater(0, self.loses)
        protocol.makeConnection(self.transport)

    def says(self, *replies: bytes) -> Far:
        for reply in replies:
            self.protocol.dataReceived(reply)
        return self

    def heard(self) -> bytes:
        data = self.transport.value()
        self.transport.clear()
        return cast(bytes, data)

    def greets(self) -> Far:
        self.says(b"220 hi\r\n", OFFERS).heard()
        return self

    def takes(self, *replies: bytes) -> Far:
        """One message for one recipient, from MAIL to the end."""
        return self.says(*replies or (b"250 m\r\n250 r\r\n354 go\r\n", b"250 2.0.0 kept\r\n"))

    def loses(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


class Result:
    """What a send came to."""

    def __init__(self, client: Client, *recipients: str, content: Any = BODY) -> None:
        self.values: list[Any] = []
        to = recipients or ("anna@b.example",)
        self.deferred = Deferred.fromCoroutine(client.send(content, sender="me@example.org", recipients=to))
        self.deferred.addBoth(self.values.append)

    @property
    def error(self) -> Any:
        """The exception that it failed with."""
        (value,) = self.values
        assert isinstance(value, Failure), value
        return value.value

    @property
    def sent(self) -> Sent:
        (value,) = self.values
        if isinstance(value, Failure):
            value.raiseException()
        assert isinstance(value, Sent)
        return value

    def failed(self, kind: type[SendFailed]) -> SendFailed:
        (value,) = self.values
        assert isinstance(value, Failure), value
        assert type(value.value) is kind, value
        return cast(SendFailed, value.value)


class Net:
    """A client, and the connections that it opens."""

    def __init__(self, server: Any = "192.0.2.1:587", tls: str = "off", **more: Any) -> None:
        self.reactor = MemoryReactorClock()
        arguments = {name: more.pop(name) for name in ("login", "pins") if name in more}
        self.options = ClientOptions(helo_name="me.example.org", reactor=self.reactor, threads=inline, **more)
        self.client = Client(server, tls=tls, options=self.options, **arguments)

    def accept(self, number: int = -1) -> Far:
        return Far(self.reactor, self.reactor.tcpClients[number][2].buildProtocol(None))

    @property
    def opened(self) -> int:
        return len(self.reactor.tcpClients)

    def close(self) -> list[object]:
        done: list[object] = []
        Deferred.fromCoroutine(self.client.close()).addBoth(done.append)
        return done


# What is sent


def test_one_message() -> None:
    net = Net()
    result = Result(net.client)
    far = net.accept()
    far.says(b"220 hi\r\n")
    assert far.heard() == b"EHLO me.example.org\r\n"
    far.says(OFFERS)
    assert far.heard() == b"MAIL FROM:<me@example.org>\r\nRCPT TO:<anna@b.example>\r\nDATA\r\n"
    far.says(b"250 m\r\n250 r\r\n354 go\r\n")
    assert far.heard() == BODY + b".\r\n"
    assert not result.values
    far.says(b"250 2.0.0 kept as 17\r\n")
    assert result.sent.outcomes["anna@b.example"].klass is Klass.SUCCESS
    assert (result.sent.refused, result.sent.reply) == ({}, "250 2.0.0 kept as 17")


def test_what_may_be_given() -> None:
    message = EmailMessage()
    message["Subject"] = "ü"
    message.set_content("x\n")
    for content, start in (
        (b"Subject: x\n\nx\n", BODY),
        ([b"Subject: x\n", b"\nx\n"], BODY),
        (Content.of(BODY), BODY),
        (message, b"Subject: =?utf-8?"),
    ):
        net = Net()
        Result(net.client, content=content)
        far = net.accept().greets()
        far.heard()
        far.says(b"250 m\r\n250 r\r\n354 go\r\n")
        assert far.heard().startswith(start)


def test_addresses_in_any_form_and_each_once() -> None:
    net = Net()
    box = Mailbox.parse("bob@b.example")
    result = Result(net.client, "anna@b.example", "anna@B.example", cast(Any, box))
    far = net.accept().says(b"220 hi\r\n")
    far.heard()
    far.says(OFFERS)
    assert far.heard().count(b"RCPT") == 2
    far.says(b"250 m\r\n550 5.1.1 no\r\n250 r\r\n354 go\r\n", b"250 kept\r\n")
    assert set(result.sent.refused) == {"anna@b.example", "anna@B.example"}
    assert result.sent.outcomes[box].klass is Klass.SUCCESS


def test_one_recipient_alone_and_the_null_sender() -> None:
    net = Net()
    coroutine = net.client.send(BODY, sender="", recipients="anna@b.example")
    Deferred.fromCoroutine(coroutine).addErrback(lambda failure: None)
    far = net.accept().says(b"220 hi\r\n")
    far.heard()
    assert b"MAIL FROM:<>\r\nRCPT TO:<anna@b.example>\r\n" in far.says(OFFERS).heard()


def test_octets_above_127_are_announced() -> None:
    net = Net()
    Result(net.client, content=b"Subject: x\n\n\xc3\xbc\n")
    far = net.accept().says(b"220 hi\r\n")
    far.heard()
    assert b"BODY=8BITMIME" in far.says(OFFERS).heard()


def test_a_header_outside_of_ascii_needs_smtputf8() -> None:
    net = Net()
    result = Result(net.client, content="Subject: ü\n\nx\n".encode())
    net.accept().greets()
    assert result.failed(SendRefused).outcome.status == (5, 6, 7)
    net = Net()
    Result(net.client, content="Subject: ü\n\nx\n".encode())
    far = net.accept().says(b"220 hi\r\n", b"250-b\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n")
    assert b"MAIL FROM:<me@example.org> BODY=8BITMIME SMTPUTF8\r\n" in far.heard()


def test_any_octets() -> None:
    net = Net(any_octets=True)
    Result(net.client, content="Subject: ü\n\nx\n".encode())
    far = net.accept().says(b"220 hi\r\n", b"250 b\r\n")
    assert b"MAIL FROM:<me@example.org>\r\n" in far.heard()


def test_one_flight_and_its_switch() -> None:
    for chunking in (True, False):
        net = Net(chunking=chunking)
        result = Result(net.client)
        far = net.accept().says(b"220 hi\r\n", b"250-b\r\n250-PIPELINING\r\n250 CHUNKING\r\n")
        assert (b"BDAT 17 LAST\r\nSubject: x\r\n\r\nx\r\n" in far.heard()) is chunking
        far.takes(*((b"250 m\r\n250 r\r\n250 2.0.0 kept\r\n",) if chunking else ()))
        assert result.sent.refused == {}


def test_lmtp() -> None:
    net = Net(lmtp=True)
    result = Result(net.client, "anna@b.example", "bob@b.example")
    far = net.accept().says(b"220 hi\r\n")
    assert far.heard() == b"LHLO me.example.org\r\n"
    far.says(OFFERS, b"250 m\r\n250 r\r\n250 r\r\n354 go\r\n", b"250 kept\r\n450 4.2.1 busy\r\n")
    assert {name: str(one.remote_reply) for name, one in result.sent.outcomes.items()} == {
        "anna@b.example": "250 kept",
        "bob@b.example": "450 4.2.1 busy",
    }


def test_a_content_in_a_file_is_read_by_a_thread() -> None:
    kinds: list[str] = []

    def threads(kind: str, function: Any, *args: Any) -> Any:
        kinds.append(kind)
        return inline(kind, function, *args)

    net = Net()
    net.client = Client("192.0.2.1:587", tls="off", options=ClientOptions(reactor=net.reactor, threads=threads))
    content = Content.of(BODY)
    content.file = "content/x"
    result = Result(net.client, content=content)
    net.accept().greets().takes()
    assert result.sent
    assert set(kinds) == {"disk"}


@pytest.mark.parametrize("recipients", [["anna"], [""], ["a b@c.example"], ["anna@b.example", "bob@"]])
def test_no_address(recipients: list[str]) -> None:
    net = Net()
    coroutine = net.client.send(BODY, sender="me@example.org", recipients=recipients)
    with pytest.raises(AddressError, match="no mail address"):
        coroutine.send(None)
    assert net.opened == 0


def test_no_recipient() -> None:
    with pytest.raises(ValueError, match="no recipient"):
        Net().client.send(BODY, sender="me@example.org", recipients=[]).send(None)


# Where, and how


@pytest.mark.parametrize(
    ("server", "place"),
    [
        ("192.0.2.1:25", ("192.0.2.1", 25)),
        ("[2001:db8::1]:587", ("2001:db8::1", 587)),
        (HostPort("192.0.2.1", 2525), ("192.0.2.1", 2525)),
    ],
)
def test_connects_to(server: Any, place: tuple[str, int]) -> None:
    net = Net(server, connect_timeout=7, bind_address="")
    Result(net.client)
    assert net.reactor.tcpClients[0][:2] == place
    assert net.reactor.tcpClients[0][3] == 7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"server": "smtp.example.org"}, "HOST:PORT"),
        ({"server": "*:25"}, "HOST:PORT"),
        ({"tls": "verified"}, "'verified' is none of off, opportunistic, offered, required, pinned"),
        ({"tls": "pinned"}, "pins are given with"),
        ({"tls": "required", "pins": ["0" * 64]}, "pins are given with"),
        ({"tls": "pinned", "pins": "abc"}, "64 hexadecimal digits"),
        ({"server": "smtp.example.org:465", "tls": "off"}, "before the greeting"),
        ({"server": object(), "tls": "required"}, "server_name"),
    ],
)
def test_what_does_not_fit(arguments: dict[str, Any], words: str) -> None:
    given = {"server": "smtp.example.org:587", **arguments}
    with pytest.raises(ValueError, match=words):
        Client(given.pop("server"), options=ClientOptions(reactor=MemoryReactorClock()), **given)


def test_an_endpoint() -> None:
    net = Net(Endpoint(DNSLookupError("nothing")))
    error = Result(net.client).failed(HostNotFound)
    assert "the server" in str(error)


@implementer(IReactorPluggableNameResolver)
class Names(MemoryReactorClock):
    """A reactor that knows no name, or one."""

    def __init__(self, *addresses: str) -> None:
        super().__init__()
        self.addresses = addresses
        self.nameResolver = cast(Any, self)

    def resolveHostName(self, receiver: Any, name: str, portNumber: int = 0, **_: object) -> Any:
        resolution = HostResolution(name)
        receiver.resolutionBegan(resolution)
        for address in self.addresses:
            receiver.addressResolved(IPv4Address("TCP", address, portNumber))
        receiver.resolutionComplete()
        return resolution


def test_a_name_is_looked_up() -> None:
    net = Net()
    net.reactor = Names("192.0.2.7")
    net.client = Client("smtp.b.example:587", tls="off", options=ClientOptions(reactor=net.reactor))
    result = Result(net.client)
    assert net.reactor.tcpClients[0][:2] == ("192.0.2.7", 587)
    net.accept().greets().takes()
    assert result.sent.outcomes["anna@b.example"].remote_mta == "smtp.b.example"


def test_a_name_that_is_not_found() -> None:
    client = Client("smtp.b.example:587", options=ClientOptions(reactor=Names()))
    error = Result(client).failed(HostNotFound)
    assert "smtp.b.example:587" in str(error)
    assert (error.transient, error.command) == (True, "the look-up of its name")


def test_a_login_for_each_connection() -> None:
    tokens = ["first", "second"]

    async def login() -> Login:
        return Login("me", tokens.pop(0), unprotected=True)

    net = Net(login=login, reuse=1)
    for token in (b"AG1lAGZpcnN0", b"AG1lAHNlY29uZA=="):
        result = Result(net.client)
        far = net.accept().says(b"220 hi\r\n")
        far.heard()
        far.says(OFFERS)
        assert far.heard() == b"AUTH PLAIN " + token + b"\r\n"
        far.says(b"235 ok\r\n").takes()
        assert result.sent
    assert tokens == []


def test_what_a_login_function_raises_is_for_the_caller() -> None:
    def login() -> Login:
        raise KeyError("no token")

    net = Net(login=login)
    assert isinstance(Result(net.client).error, KeyError)
    assert net.opened == 0
    # The turn it had is free again.
    for _ in range(net.options.connections):
        assert isinstance(Result(net.client).error, KeyError)


# Reuse and turns


def test_a_connection_is_kept_for_the_next_message() -> None:
    net = Net()
    for number in range(3):
        result = Result(net.client)
        if number == 0:
            far = net.accept().greets()
        far.takes()
        assert result.sent
    assert net.opened == 1
    net.reactor.advance(IDLE + 1)
    assert far.heard().endswith(b"QUIT\r\n")


def test_a_kept_connection_that_is_gone_costs_nothing() -> None:
    net = Net()
    first = Result(net.client)
    far = net.accept().greets().takes()
    assert first.sent
    second = Result(net.client)
    far.loses()
    net.accept().greets().takes()
    assert second.sent
    assert net.opened == 2


def test_messages_wait_for_their_turn() -> None:
    net = Net(connections=2)
    results = [Result(net.client) for _ in range(4)]
    assert net.opened == 2
    one, other = net.accept(0).greets(), net.accept(1).greets()
    one.takes()
    assert [bool(result.values) for result in results] == [True, False, False, False]
    one.takes()
    one.takes()
    other.takes()
    assert [result.sent.reply for result in results] == ["250 2.0.0 kept"] * 4
    assert net.opened == 2


def test_close_lets_messages_through_and_takes_no_more() -> None:
    net = Net(connections=1)
    results = [Result(net.client) for _ in range(2)]
    far = net.accept().greets()
    closing, again = net.close(), net.close()
    assert "closed" in str(Result(net.client).error)
    far.takes()
    assert closing == []
    far.takes()
    assert all(result.sent for result in results)
    assert far.heard().endswith(b"QUIT\r\n")
    far.says(b"221 bye\r\n")
    far.loses()
    assert (closing, again, net.close()) == ([None], [None], [None])
    assert net.reactor.getDelayedCalls() == []


def test_cancelled_while_it_waits_for_its_turn_and_while_it_is_sent() -> None:
    net = Net(connections=1)
    first, second, third = (Result(net.client) for _ in range(3))
    far = net.accept().greets()
    second.deferred.cancel()
    first.deferred.cancel()
    assert far.transport.disconnecting
    for result in (first, second):
        assert result.values[0].check(CancelledError)
    net.accept().greets().takes()
    assert third.sent
    assert net.opened == 2


# Failures, each by its name


class Endpoint:
    """An endpoint that fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        return fail(self.error)


def test_no_connection() -> None:
    net = Net()
    result = Result(net.client)
    net.reactor.tcpClients[0][2].clientConnectionFailed(None, Failure(ConnectionRefusedError()))
    error = result.failed(ConnectFailed)
    assert isinstance(error, MailServerError)
    assert "192.0.2.1:587" in str(error)
    assert (error.transient, error.reply, error.command) == (True, None, "the connection")


@pytest.mark.parametrize(
    ("replies", "command", "code", "transient"),
    [
        ((b"554 5.7.1 go away\r\n",), "the connection (no greeting)", "554", False),
        ((b"220 hi\r\n", b"421 later\r\n"), "EHLO", "421", True),
        ((b"220 hi\r\n", OFFERS, b"550 5.7.1 no\r\n503 r\r\n503 d\r\n"), "MAIL", "550", False),
        ((b"220 hi\r\n", OFFERS, b"250 m\r\n450 4.2.1 r\r\n503 d\r\n"), "RCPT", "450", True),
        ((b"220 hi\r\n", OFFERS, b"250 m\r\n250 r\r\n451 d\r\n"), "DATA", "451", True),
        ((b"220 hi\r\n", OFFERS, *ASKED, b"552 5.3.4 x\r\n"), "the end of the content", "552", False),
    ],
)
def test_refused(replies: tuple[bytes, ...], command: str, code: str, transient: bool) -> None:
    net = Net()
    result = Result(net.client)
    far = net.accept().says(*replies)
    if far.transport.disconnecting:
        far.loses()
    error = result.failed(SendRefused)
    assert (error.command, error.transient) == (command, transient)
    assert error.reply is not None
    assert error.reply.startswith(code)
    assert error.reply in str(error)
    assert error.host == "192.0.2.1"
    assert not error.uncertain


def test_every_recipient_is_refused_for_reasons_of_its_own() -> None:
    net = Net()
    result = Result(net.client, "anna@b.example", "bob@b.example", "carl@b.example")
    net.accept().greets().says(b"250 m\r\n550 5.1.1 no\r\n450 4.2.1 full\r\n550 5.1.1 no\r\n503 d\r\n")
    error = result.failed(SendRefused)
    assert "(and 1 other reasons)" in str(error)
    assert error.transient
    assert [outcome.remote_reply for outcome in error.outcomes.values()] == [
        "550 5.1.1 no",
        "450 4.2.1 full",
        "550 5.1.1 no",
    ]


def test_a_message_that_the_host_cannot_take() -> None:
    net = Net()
    result = Result(net.client, "bjørn@b.example")
    net.accept().greets()
    error = result.failed(SendRefused)
    assert "SMTPUTF8" in str(error)
    assert (error.command, error.reply, error.transient) == ("RCPT", None, False)


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ((), "waiting for the answer to the connection"),
        ((b"220 hi\r\n",), "EHLO"),
        ((b"220 hi\r\n", OFFERS), "MAIL"),
        ((b"220 hi\r\n", OFFERS, b"250 m\r\n"), "RCPT"),
    ],
)
def test_the_connection_breaks(replies: tuple[bytes, ...], words: str) -> None:
    net = Net()
    result = Result(net.client)
    net.accept().says(*replies).loses()
    error = result.failed(SessionLost)
    assert words in str(error)
    assert error.transient
    assert not error.uncertain


def test_the_connection_breaks_after_the_content() -> None:
    net = Net()
    result = Result(net.client)
    net.accept().greets().says(b"250 m\r\n250 r\r\n354 go\r\n").loses()
    assert result.failed(SessionLost).uncertain


def test_silence_and_nonsense() -> None:
    net = Net()
    result = Result(net.client)
    net.accept()
    net.reactor.pump([301, 0])
    assert "within 300 s" in str(result.failed(SessionLost))
    result = Result(net.client)
    net.accept().says(b"HTTP/1.1 400 Bad Request\r\n")
    net.reactor.advance(0)
    assert "no SMTP reply" in str(result.failed(SessionLost))


def test_no_tls_where_it_is_required() -> None:
    for more in ({"tls": "required"}, {"tls": "pinned", "pins": ["0" * 64]}):
        net = Net(**cast(Any, more))
        result = Result(net.client)
        net.accept().greets()
        net.reactor.advance(0)
        error = result.failed(TlsFailed)
        assert "does not offer STARTTLS" in str(error)
        assert error.command == "STARTTLS"


def test_an_authorities_file_that_is_not_there() -> None:
    net = Net(tls="required", ca_file="absent.pem")
    assert "absent.pem does not exist" in str(Result(net.client).failed(TlsFailed))
    assert net.opened == 0


def test_the_login_is_refused() -> None:
    net = Net(login=Login("me", "wrong", unprotected=True))
    result = Result(net.client)
    far = net.accept().greets().says(b"535 5.7.8 wrong password\r\n")
    far.loses()
    error = result.failed(LoginFailed)
    assert (error.command, error.reply, error.transient) == ("AUTH", "535 5.7.8 wrong password", True)
    assert "wrong password" in str(error)


def test_the_login_is_kept_back_in_clear() -> None:
    net = Net(login=Login("me", "secret"))
    result = Result(net.client)
    far = net.accept().greets()
    net.reactor.advance(0)
    assert b"AUTH" not in far.heard()
    assert "kept back" in str(result.failed(LoginFailed))


def test_the_connection_breaks_while_it_logs_in() -> None:
    net = Net(login=Login("me", "secret", unprotected=True))
    result = Result(net.client)
    net.accept().greets().loses()
    assert result.failed(SessionLost).command == "AUTH"


def test_a_content_that_cannot_be_read() -> None:
    class Broken(Content):
        def pieces(self) -> Any:
            yield b"Subject: x\n"
            if self.started:
                raise OSError("bad sector")
            self.started = True

    content = Broken()
    content.started = False
    net = Net()
    result = Result(net.client, content=content)
    far = net.accept().greets().says(b"250 m\r\n250 r\r\n354 go\r\n")
    far.loses()
    assert "bad sector" in str(result.failed(SendFailed))
