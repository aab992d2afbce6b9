"""The sending API over real sockets: aiosmtpd with and without TLS, and Twisted's own ESMTP with its portal."""

from __future__ import annotations

import socket
import ssl
import tempfile
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller, UnixSocketController
from aiosmtpd.smtp import AuthResult
from aiosmtpd.smtp import Envelope as Received
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.internet import ssl as twisted_ssl
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.mail import smtp
from twisted.mail.imap4 import LOGINCredentials, PLAINCredentials
from twisted.mail.protocols import ESMTPFactory
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mailserver import Client, ClientOptions, ConnectFailed, Login, LoginFailed, SendRefused, Sent, TlsFailed
from mailserver.message import Klass
from mailserver.net.tls import certificate_pin, self_signed, server_context

BODY = b"Subject: x\r\n\r\n.dot\r\n\xc3\xbc\r\n"
ASCII = b"Subject: x\r\n\r\n.dot\r\nu\r\n"


class Bag:
    """What aiosmtpd got, over how many sessions."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.sessions: set[int] = set()
        self.logins: list[tuple[str, bytes]] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Received, address: str, options: Any) -> str:
        if not address.startswith("anna"):
            return "550 5.1.1 nobody here" if address.startswith("nobody") else "450 4.2.1 full"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Received) -> str:
        self.sessions.add(id(session))
        self.received.append(envelope)
        return "250 2.0.0 taken"

    def authenticate(self, server: Any, session: Any, envelope: Received, mechanism: str, data: Any) -> AuthResult:
        self.logins.append((mechanism, data.password))
        return AuthResult(success=data.password == b"secret", handled=False)

    async def auth_XOAUTH2(self, server: Any, args: list[str]) -> AuthResult:
        said = b64decode(args[1])
        self.logins.append(("XOAUTH2", said))
        if said == b"user=me\x01auth=Bearer good\x01\x01":
            return AuthResult(success=True, auth_data="me")
        await server.challenge_auth('{"status":"401"}')
        return AuthResult(success=False, handled=False)


class Real(TestCase):
    """A server in a thread, and clients on the reactor."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        certificate, key = self_signed("relay.example", time.time())
        (self.directory / "ca.pem").write_bytes(certificate)
        (self.directory / "key.pem").write_bytes(key)
        self.ca_file = str(self.directory / "ca.pem")
        self.pin = certificate_pin(certificate)
        self.bag = Bag()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def serve(self, tls: bool = False, before: bool = False, auth: bool = False) -> None:
        options: dict[str, Any] = {}
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.directory / "ca.pem", self.directory / "key.pem")
        if before:
            options["ssl_context"] = context
        elif tls:
            options |= {"tls_context": context, "require_starttls": True}
        if auth:
            options |= {"authenticator": self.bag.authenticate, "auth_required": True}
            options["auth_require_tls"] = tls
        controller = Controller(self.bag, hostname="127.0.0.1", port=self.port, decode_data=False, **options)
        controller.start()
        self.addCleanup(controller.stop)

    def client(self, tls: str = "off", host: str = "127.0.0.1", **more: Any) -> Client:
        options = more.pop("options", {})
        client = Client(f"{host}:{self.port}", tls=tls, options=ClientOptions(**options), **more)
        self.addCleanup(lambda: Deferred.fromCoroutine(client.close()))
        return client

    async def send(self, client: Client, *recipients: str, content: bytes = BODY) -> Sent:
        to = recipients or ("anna@b.example",)
        return await client.send(content, sender="me@example.org", recipients=to)

    async def fails(self, client: Client, kind: type[Exception]) -> Any:
        try:
            await self.send(client)
        except kind as error:
            return error
        raise AssertionError("it was sent")

    async def test_some_get_it_and_the_connection_is_kept(self) -> None:
        self.serve()
        client = self.client()
        for _ in range(3):
            sent = await self.send(client, "anna@b.example", "nobody@b.example", "bob@b.example")
            assert {each: outcome.remote_reply for each, outcome in sent.outcomes.items()} == {
                "anna@b.example": "250 2.0.0 taken",
                "nobody@b.example": "550 5.1.1 nobody here",
                "bob@b.example": "450 4.2.1 full",
            }
            assert [outcome.klass for outcome in sent.refused.values()] == [Klass.PERMANENT, Klass.TRANSIENT]
        assert [one.content for one in self.bag.received] == [BODY] * 3
        assert self.bag.received[0].mail_options == [f"SIZE={len(BODY)}", "BODY=8BITMIME"]
        assert len(self.bag.sessions) == 1

    async def test_many_at_once_over_few_connections(self) -> None:
        self.serve()
        async with self.client(options={"connections": 3}) as client:
            sending = [Deferred.fromCoroutine(self.send(client)) for _ in range(30)]
            assert all(not sent.refused for sent in await gatherResults(sending))
        assert len(self.bag.received) == 30
        assert len(self.bag.sessions) <= 3

    async def test_a_host_by_name(self) -> None:
        self.serve()
        assert not (await self.send(self.client(host="localhost"))).refused

    async def test_required(self) -> None:
        self.serve(tls=True)
        options = {"ca_file": self.ca_file, "server_name": "relay.example"}
        assert not (await self.send(self.client("required", options=options))).refused
        error = await self.fails(
            self.client("required", options={"ca_file": self.ca_file, "server_name": "x.example"}), TlsFailed
        )
        assert "it is for relay.example, localhost" in str(error)
        error = await self.fails(self.client("required"), TlsFailed)
        assert "it is self-signed and not among the known authorities" in str(error)
        assert len(self.bag.received) == 1

    async def test_pinned(self) -> None:
        self.serve(tls=True)
        assert not (await self.send(self.client("pinned", pins=[self.pin]))).refused
        error = await self.fails(self.client("pinned", pins=["0" * 64]), TlsFailed)
        assert f"its SHA-256 is {self.pin}, which is not pinned" in str(error)

    async def test_opportunistic_and_off(self) -> None:
        self.serve(tls=True)
        assert not (await self.send(self.client("opportunistic"))).refused
        error = await self.fails(self.client("off"), SendRefused)
        assert (error.command, error.reply) == ("MAIL", "530 Must issue a STARTTLS command first")

    async def test_tls_before_the_greeting(self) -> None:
        self.serve(before=True)
        for tls, more in (
            ("pinned", {"pins": [self.pin], "options": {"implicit_tls": True}}),
            ("required", {"options": {"implicit_tls": True, "ca_file": self.ca_file}}),
        ):
            assert not (await self.send(self.client(tls, **more))).refused

    async def test_an_endpoint_with_tls_of_its_own(self) -> None:
        self.serve(before=True)
        trust = twisted_ssl.trustRootFromCertificates(
            [twisted_ssl.Certificate.loadPEM(Path(self.ca_file).read_bytes())]
        )
        options = twisted_ssl.optionsForClientTLS("relay.example", trust)
        endpoint = wrapClientTLS(options, TCP4ClientEndpoint(reactor, "127.0.0.1", self.port))
        async with Client(endpoint, options=ClientOptions(server_name="relay.example")) as client:
            assert (await self.send(client)).outcomes["anna@b.example"].remote_mta == "relay.example"

    async def test_a_unix_socket(self) -> None:
        path = str(self.directory / "smtp.sock")
        controller = UnixSocketController(self.bag, path, decode_data=False)
        controller.start()
        self.addCleanup(controller.stop)
        async with Client(UNIXClientEndpoint(reactor, path), tls="off") as client:
            assert not (await self.send(client)).refused
        assert [one.content for one in self.bag.received] == [BODY]

    async def test_logins(self) -> None:
        self.serve(tls=True, auth=True)
        for login in (
            Login("me", "secret"),
            Login("me", "secret", mechanisms=("LOGIN",)),
            Login.xoauth2("me", "good"),
        ):
            await self.send(self.client("pinned", pins=[self.pin], login=login))
        assert [mechanism for mechanism, _ in self.bag.logins] == ["PLAIN", "LOGIN", "XOAUTH2"]
        for login in (Login("me", "wrong"), Login.xoauth2("me", "expired")):
            error = await self.fails(self.client("pinned", pins=[self.pin], login=login), LoginFailed)
            assert error.reply.startswith("535 5.7.8")
        error = await self.fails(self.client("opportunistic", login=Login("me", "secret")), LoginFailed)
        assert "kept back" in str(error)

    async def test_nobody_listens(self) -> None:
        error = await self.fails(self.client(), ConnectFailed)
        assert "refused" in str(error)

    async def test_twisted_with_a_portal(self) -> None:
        bag: list[bytes] = []
        factory = _twisted(bag)
        factory.portal.registerChecker(InMemoryUsernamePasswordDatabaseDontUse(me=b"secret"))
        factory.challengers = {b"PLAIN": PLAINCredentials, b"LOGIN": LOGINCredentials}
        factory.context = server_context(self.ca_file, self.directory / "key.pem")
        port: Any = reactor.listenTCP(self.port, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        for mechanism in ("PLAIN", "LOGIN"):
            login = Login("me", "secret", mechanisms=(mechanism,))
            async with self.client("pinned", pins=[self.pin], login=login) as client:
                sent = await self.send(client, "anna@b.example", "nobody@b.example", content=ASCII)
                assert list(sent.refused) == ["nobody@b.example"]
        async with self.client("pinned", pins=[self.pin], login=Login("me", "wrong")) as client:
            await self.fails(client, LoginFailed)
            error = await self.fails(self.client("pinned", pins=[self.pin]), SendRefused)
            assert "8BITMIME" in str(error)
        assert bag == [b".dot", b"u"] * 2


@implementer(smtp.IMessage)
class _Sink:
    def __init__(self, bag: list[bytes]) -> None:
        self.bag = bag
        self.body = False

    def lineReceived(self, line: bytes) -> None:
        if self.body:
            self.bag.append(line)
        self.body = self.body or not line

    def eomReceived(self) -> Any:
        return succeed(b"kept")

    def connectionLost(self) -> None:
        raise AssertionError("the connection was lost in mid-content")


@implementer(smtp.IMessageDelivery, IRealm)
class _Delivery:
    def __init__(self, bag: list[bytes]) -> None:
        self.bag = bag

    def requestAvatar(self, avatar_id: Any, mind: Any, *interfaces: Any) -> Any:
        return smtp.IMessageDelivery, self, lambda: None

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b"Received: from here"

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> Any:
        if user.dest.local == b"nobody":
            raise smtp.SMTPBadRcpt(user)
        return lambda: _Sink(self.bag)


def _twisted(bag: list[bytes]) -> Any:
    factory: Any = ESMTPFactory(None)
    factory.portal = Portal(_Delivery(bag))
    factory.noisy = False
    return factory
