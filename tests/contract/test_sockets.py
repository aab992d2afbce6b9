"""Real sockets: Twisted's client and ours, against Twisted's server and ours."""

from __future__ import annotations

import smtplib
import ssl
import time
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, serverFromString
from twisted.internet.ssl import ClientContextFactory
from twisted.internet.threads import deferToThread
from twisted.mail.imap4 import LOGINCredentials, PLAINCredentials
from twisted.mail.protocols import ESMTPFactory as StockFactory
from twisted.mail.smtp import ESMTPSenderFactory, SMTPDeliveryError
from twisted.trial.unittest import TestCase

from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import Klass
from mailserver.message.route import Attempt, Route
from mailserver.net.client import ClientSession, Connector, Peer
from mailserver.net.tls import ClientContexts, self_signed, server_context
from mailserver.reception import ESMTPFactory
from mailserver.smtp.address import Mailbox
from mailserver.smtp.plan import SessionPlan
from mailserver.threads import inline
from tests.contract import example

# With LF: Twisted's client makes CRLF of it.
MESSAGE = b"From: x\nSubject: hi\n\n.one\ntwo\n"
CHALLENGERS = {b"PLAIN": PLAINCredentials, b"LOGIN": LOGINCredentials}
STORED = "Subject: hi\n\n.one\ntwo"


class ServerCase(TestCase):
    """A server on a free port, closed with its connections at the end."""

    timeout = 20

    def setUp(self) -> None:
        self.shelf: list[str] = []
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        chain, key = self_signed("localhost", time.time())
        paths = [Path(directory.name, name) for name in ("chain.pem", "key.pem")]
        for path, octets in zip(paths, (chain, key), strict=True):
            path.write_bytes(octets)
        self.context = server_context(*paths)

    async def listen(self, factory: Any, **attributes: Any) -> int:
        factory.domain = b"localhost"
        factory.challengers = CHALLENGERS
        for name, value in attributes.items():
            setattr(factory, name, value)
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        return port.getHost().port

    async def send(self, port: int, recipients: list[str], **options: Any) -> Any:
        done: Deferred[Any] = Deferred()
        sender = ESMTPSenderFactory(
            options.pop("user", b"guest"), options.pop("password", b"password"), "x@far.example", recipients,
            BytesIO(MESSAGE), done, retries=0, timeout=10, **options,
        )  # fmt: skip
        sender.noisy = False
        gone: Deferred[None] = Deferred()
        lost = sender.clientConnectionLost
        sender.clientConnectionLost = lambda *args: (lost(*args), gone.callback(None))
        reactor.connectTCP("127.0.0.1", port, sender)
        try:
            return await done
        finally:
            await gone


class TestTwistedsClient(ServerCase):
    async def test_it_sends_under_tls_with_a_password(self) -> None:
        port = await self.listen(ESMTPFactory(example.portal(self.shelf)), context=self.context)
        sent, _ = await self.send(
            port, ["console@here.example"], contextFactory=ClientContextFactory(), hostname="localhost"
        )
        assert sent == 1
        assert self.shelf[0].endswith(STORED)

    async def test_it_sends_in_clear_where_that_is_allowed(self) -> None:
        port = await self.listen(ESMTPFactory(example.portal(self.shelf)), clear_auth=True)
        await self.send(port, ["console@here.example"], requireTransportSecurity=False)
        assert len(self.shelf) == 1

    async def test_it_hears_of_refused_recipients(self) -> None:
        port = await self.listen(ESMTPFactory(example.portal(self.shelf)), context=self.context)
        options = {"contextFactory": ClientContextFactory(), "hostname": "localhost"}
        _, answers = await self.send(port, ["console@here.example", "nobody@here.example"], **options)
        assert [code for _, code, _ in answers] == [250, 550]
        error = await self.assertFailure(
            Deferred.fromCoroutine(self.send(port, ["nobody@here.example"], **options)), SMTPDeliveryError
        )
        assert error.code == 550


class TestProgramTwo(ServerCase):
    async def test_a_factory_on_an_endpoint(self) -> None:
        factory = ESMTPFactory(example.portal(self.shelf))
        factory.domain, factory.context = b"mx.example.org", self.context
        factory.challengers = CHALLENGERS
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        options = {"contextFactory": ClientContextFactory(), "hostname": "localhost"}
        await self.send(port.getHost().port, ["console@here.example"], **options)
        assert len(self.shelf) == 1


class TestTlsFromTheFirstOctet(ServerCase):
    async def test_a_password_is_safe_there(self) -> None:
        factory = ESMTPFactory(example.portal(self.shelf))
        factory.challengers = CHALLENGERS
        port = reactor.listenSSL(0, factory, self.context, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        features = await deferToThread(self.submit, port.getHost().port)
        assert "starttls" not in features
        assert features["auth"].split() == ["PLAIN", "LOGIN"]
        assert len(self.shelf) == 1

    def submit(self, port: int) -> dict[str, str]:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP_SSL("127.0.0.1", port, timeout=10, context=context) as client:
            client.login("guest", "password")
            client.sendmail("x@far.example", ["console@here.example"], MESSAGE.decode())
            return client.esmtp_features


class TestOurClient(ServerCase):
    async def _sent(self, factory: Any, **attributes: Any) -> list[Klass]:
        port = await self.listen(factory, **attributes)
        connector = Connector(reactor, inline, ClientContexts())
        plan = SessionPlan("client.example", "opportunistic")
        session = await connector.connect(Peer("localhost", "127.0.0.1", port), plan)
        assert isinstance(session, ClientSession), session
        names = ("console@here.example", "nobody@here.example")
        recipients = tuple(
            Recipient(number, Mailbox.parse(name), (Original(Mailbox.parse(name)),))
            for number, name in enumerate(names)
        )
        attempt = Attempt(
            "q1", Envelope(Mailbox.parse("x@far.example")), recipients, Content.of(MESSAGE),
            Route("smtp", "here.example"), 0.0,
        )  # fmt: skip
        outcomes = await session.send(attempt)
        await session.quit()
        return [outcomes[one].klass for one in recipients]

    async def test_it_sends_to_a_stock_server(self) -> None:
        factory = StockFactory(None, example.portal(self.shelf))
        assert await self._sent(factory) == [Klass.SUCCESS, Klass.PERMANENT]
        assert self.shelf[0].endswith(STORED)

    async def test_it_sends_to_ours_under_tls(self) -> None:
        factory = ESMTPFactory(example.portal(self.shelf))
        assert await self._sent(factory, context=self.context) == [Klass.SUCCESS, Klass.PERMANENT]
        assert self.shelf[0].endswith(STORED)
