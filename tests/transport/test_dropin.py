"""`sendmail` beside Twisted's own: the same call to the same scripted host, and what becomes of both."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.mail import smtp
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

import mailserver
from mailserver import LoginFailed, SendFailed, SendRefused, SessionLost, TlsFailed
from mailserver.net.tls import self_signed, server_context

ME, ANNA, BOB = b"me@example.org", b"anna@b.example", b"bob@b.example"
BODY = b"Subject: x\n\n.dot\nx\n"
CLOSE = object()


class Host(LineReceiver):
    """Answers each verb from ``factory.script`` (a later word of the line may be a key, too)."""

    factory: Any
    transport: Any
    content: list[bytes] | None = None

    def connectionMade(self) -> None:
        self.factory.connections += 1
        self.factory.open.add(self)
        self.say("connect")

    def lineReceived(self, line: bytes) -> None:
        if self.content is not None:
            self.content.append(line)
            if line == b".":
                self.factory.contents.append(self.content)
                self.content = None
                self.say("end")
            return
        self.factory.heard.append(line)
        verb = line.split(b" ")[0].split(b":")[0].decode().upper()
        self.say(next((key for key in self.factory.script if key.encode() in line), verb))

    def say(self, key: str) -> None:
        reply = self.factory.script.get(key, self.factory.usual.get(key, b"235 in"))
        if reply is CLOSE:
            self.transport.loseConnection()
            return
        self.transport.write(reply + b"\r\n")
        if reply.startswith(b"354"):
            self.content = []
        if key == "STARTTLS" and reply.startswith(b"220"):
            self.transport.startTLS(self.factory.context)
        if key == "QUIT":
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.open.discard(self)
        waiter = self.factory.empty
        if waiter is not None and not self.factory.open:
            self.factory.empty = None
            waiter.callback(None)


USUAL = {
    "connect": b"220 hi",
    "EHLO": b"250-b\r\n250 SIZE",
    "HELO": b"250 b",
    "MAIL": b"250 2.1.0 m",
    "RCPT": b"250 2.1.5 r",
    "DATA": b"354 go",
    "end": b"250 2.0.0 kept",
    "RSET": b"250 ok",
    "QUIT": b"221 bye",
    "STARTTLS": b"220 go",
}


class Both(TestCase):
    """Each test makes one call with both functions."""

    def setUp(self) -> None:
        self.factory: Any = Factory.forProtocol(Host)
        self.factory.noisy = False
        self.factory.usual = USUAL
        self.factory.open, self.factory.empty = set(), None
        self.port = self.listen()
        self.patch(smtp.SMTPSenderFactory, "noisy", False)
        self.script: dict[str, Any] = {}

    def listen(self) -> Any:
        return reactor.listenTCP(0, self.factory, interface="127.0.0.1")  # type: ignore[attr-defined]

    async def tearDown(self) -> None:
        await self.port.stopListening()
        await self.quiet()

    async def quiet(self) -> None:
        if self.factory.open:
            self.factory.empty = Deferred()
            await self.factory.empty

    async def call(self, function: Callable[..., Deferred[Any]], *args: Any, **more: Any) -> Any:
        self.factory.script = self.script
        self.factory.connections, self.factory.heard, self.factory.contents = 0, [], []
        port = more.pop("port", None) or self.port.getHost().port
        given = args or (ME, [ANNA, BOB], BODY)
        try:
            return await function("127.0.0.1", *given, port=port, **more)
        except smtp.SMTPError as error:
            return error
        finally:
            await self.quiet()

    async def both(self, *args: Any, **more: Any) -> tuple[Any, Any]:
        return await self.call(smtp.sendmail, *args, **more), await self.call(mailserver.sendmail, *args, **more)

    async def same_error(self, kind: type, cause: type[SendFailed], *args: Any, **more: Any) -> Any:
        """Both fail with `kind` and the same code; answers ours."""
        stock, ours = await self.both(*args, **more)
        assert type(stock) is kind, stock
        assert type(ours) is kind, ours
        assert ours.code == stock.code
        assert type(ours.__cause__) is cause
        return ours

    async def test_everybody_gets_it(self) -> None:
        stock, ours = await self.both()
        assert ours[0] == stock[0] == 2
        assert [(address, code) for address, code, _ in ours[1]] == [(ANNA, 250), (BOB, 250)]
        assert [(address, code) for address, code, _ in stock[1]] == [(ANNA, 250), (BOB, 250)]
        assert self.factory.contents == [[b"Subject: x", b"", b"..dot", b"x", b"."]]
        assert self.factory.heard[-1] == b"QUIT"

    async def test_some_get_it(self) -> None:
        self.script = {"bob": b"550-5.1.1 not\r\n550 5.1.1 here"}
        stock, ours = await self.both()
        assert ours[0] == stock[0] == 1
        assert stock[1][1] == (BOB, 550, b"5.1.1 not\n5.1.1 here")
        assert ours[1][1] == (BOB, 550, b"5.1.1 not here")

    async def test_nobody_gets_it(self) -> None:
        self.script = {"anna": b"550 5.1.1 no", "bob": b"450 4.2.1 later"}
        ours = await self.same_error(smtp.SMTPDeliveryError, SendRefused)
        assert ours.resp == b"No recipients accepted"
        assert ours.addresses == [(ANNA, 550, b"5.1.1 no"), (BOB, 450, b"4.2.1 later")]
        assert b"anna@b.example: 550 5.1.1 no" in bytes(ours)
        assert self.factory.connections == 1

    async def test_the_message_is_refused(self) -> None:
        for script in (
            {"MAIL": b"451 4.3.0 not now"},
            {"DATA": b"554 5.5.0 no"},
            {"end": b"552 5.3.4 too big"},
        ):
            self.script = script
            ours = await self.same_error(smtp.SMTPDeliveryError, SendRefused)
            (reply,) = script.values()
            assert bytes(ours).startswith(reply)

    async def test_the_host_is_refused(self) -> None:
        self.script = {"connect": b"554 5.7.1 go away"}
        ours = await self.same_error(smtp.SMTPConnectError, SendRefused)
        assert ours.resp == b"5.7.1 go away"
        assert self.factory.connections == 1

    async def test_a_host_that_may_take_it_later_is_tried_again(self) -> None:
        self.script = {"connect": b"421 4.3.2 later"}
        await self.same_error(smtp.SMTPConnectError, SendRefused)
        assert self.factory.connections == 6

    async def test_nobody_listens(self) -> None:
        port = self.port.getHost().port
        await self.port.stopListening()
        try:
            ours = await self.same_error(smtp.SMTPConnectError, mailserver.ConnectFailed, port=port)
        finally:
            self.port = self.listen()
        assert b"refused" in bytes(ours)

    async def test_a_connection_that_breaks_is_tried_again(self) -> None:
        self.script = {"RCPT": CLOSE}
        await self.same_error(smtp.SMTPConnectError, SessionLost)
        assert self.factory.connections == 6

    async def test_a_connection_that_breaks_after_the_content_is_not(self) -> None:
        self.script = {"end": CLOSE}
        ours = await self.call(mailserver.sendmail)
        assert type(ours) is smtp.SMTPConnectError
        assert ours.__cause__.uncertain
        assert len(self.factory.contents) == 1
        await self.call(smtp.sendmail)
        assert len(self.factory.contents) == 6

    async def test_no_smtp(self) -> None:
        self.script = {"connect": b"HTTP/1.1 400 Bad Request"}
        stock, ours = await self.both()
        assert type(stock) is type(ours) is smtp.SMTPProtocolError
        assert b"HTTP" in bytes(ours)

    async def test_tls_is_required_and_not_offered(self) -> None:
        await self.same_error(smtp.TLSRequiredError, TlsFailed, requireTransportSecurity=True)

    async def test_tls_is_refused(self) -> None:
        self.script = {"EHLO": b"250-b\r\n250 STARTTLS", "STARTTLS": b"554 5.7.3 no"}
        await self.same_error(smtp.TLSError, TlsFailed)

    async def test_a_certificate_that_nobody_knows(self) -> None:
        directory = Path(tempfile.mkdtemp())
        certificate, key = self_signed("mx.b.example", time.time())
        (directory / "chain.pem").write_bytes(certificate)
        (directory / "key.pem").write_bytes(key)
        self.factory.context = server_context(directory / "chain.pem", directory / "key.pem")
        self.script = {"EHLO": b"250-b\r\n250 STARTTLS"}
        ours = await self.same_error(smtp.SMTPConnectError, TlsFailed)
        assert b"self-signed" in bytes(ours)
        assert self.factory.connections == 1

    async def test_a_login_is_required_and_not_offered(self) -> None:
        for more in ({"username": "me", "password": "secret"}, {}):
            await self.same_error(smtp.AUTHRequiredError, LoginFailed, requireAuthentication=True, **more)

    async def test_a_login_that_is_not_required_is_left_out(self) -> None:
        for offered in (b"250 b", b"250-b\r\n250 AUTH GSSAPI"):
            self.script = {"EHLO": offered}
            stock, ours = await self.both(username="me", password="secret")
            assert stock[0] == ours[0] == 2

    async def test_a_login_is_refused(self) -> None:
        self.script = {"EHLO": b"250-b\r\n250 AUTH PLAIN", "AUTH": b"535 5.7.8 wrong"}
        await self.same_error(smtp.AUTHDeclinedError, LoginFailed, username="me", password="secret")

    async def test_logins(self) -> None:
        challenges = {"AUTH LOGIN": b"334 VXNlcm5hbWU6", "AUTH CRAM": b"334 PDFAYj4=", "bWU=": b"334 UGFzcw=="}
        for offered in (b"PLAIN LOGIN CRAM-MD5", b"PLAIN LOGIN", b"PLAIN"):
            self.script = {"EHLO": b"250-b\r\n250 AUTH " + offered, "AUTH PLAIN": b"235 in", **challenges}
            dialogues = []
            for function in (smtp.sendmail, mailserver.sendmail):
                result = await self.call(function, username="me", password=b"secret")
                assert result[0] == 2, result
                dialogues.append([line for line in self.factory.heard if line not in (b"RSET", b"QUIT")])
            stock, ours = dialogues
            if offered == b"PLAIN":  # stock names the user as the authorization identity, too
                assert ours[1] == b"AUTH PLAIN AG1lAHNlY3JldA=="
            else:
                assert ours[1] == b"AUTH " + offered.split()[-1]
                assert ours[1:-3] == stock[1:-3]

    async def test_a_challenge_that_is_none(self) -> None:
        self.script = {"EHLO": b"250-b\r\n250 AUTH CRAM-MD5", "AUTH": b"334 what?"}
        ours = await self.call(mailserver.sendmail, username="me", password="secret")
        assert (type(ours), ours.code) == (smtp.AuthenticationError, 501)

    async def test_what_may_be_given(self) -> None:
        mail = EmailMessage()
        mail["Subject"] = "x"
        mail.set_content(".dot\nx\n")
        for message in (BODY, io.BytesIO(BODY), mail):
            for sender, to in ((ME, ANNA), (ME.decode(), ANNA.decode()), (smtp.Address(ME), [ANNA.decode()])):
                if isinstance(message, io.BytesIO):
                    message.seek(0)
                ours = await self.call(mailserver.sendmail, sender, to, message, senderDomainName=b"here.example")
                assert ours[0] == 1
                assert self.factory.heard[0] == b"EHLO here.example"
                assert self.factory.contents[0][-3:] == [b"..dot", b"x", b"."]

    async def test_forms_of_addresses(self) -> None:
        for sender, recipient in (
            (b"me@example.org", b"Anna <anna@b.example>"),
            (b"<me@example.org>", b"<anna@b.example>"),
            (b"", b"anna@b.example"),
            (b"<>", b"anna@b.example"),
            (b"me", b"anna@b.example"),
        ):
            lines = []
            for function in (smtp.sendmail, mailserver.sendmail):
                result = await self.call(function, sender, recipient, BODY, senderDomainName=smtp.DNSNAME.decode())
                assert result[0] == 1
                assert result[1][0][0] == recipient
                lines.append(self.factory.heard[1:3])
            assert [line.split(b" SIZE")[0] for line in lines[1]] == lines[0]

    def test_what_is_no_address(self) -> None:
        for sender, to in ((b"a b@c", ANNA), (ME, b"a@@b")):
            with pytest.raises(smtp.AddressError):
                mailserver.sendmail("127.0.0.1", sender, to, BODY, port=1)

    async def test_cancelled(self) -> None:
        for key in ("connect", "RCPT"):
            self.factory.script = {key: b"250-and then nothing"}
            self.factory.connections, self.factory.heard, self.factory.contents = 0, [], []
            sending = mailserver.sendmail("127.0.0.1", ME, ANNA, BODY, port=self.port.getHost().port)
            while not self.factory.open or (key == "RCPT" and not any(b"RCPT" in x for x in self.factory.heard)):
                await _turn()
            sending.cancel()
            await self.assertFailure(sending, CancelledError)
            await self.quiet()
            assert self.factory.connections == 1

    async def test_a_name_that_none_can_have(self) -> None:
        with pytest.raises(smtp.SMTPConnectError) as raised:
            await mailserver.sendmail("no such host", ME, ANNA, BODY)
        assert type(raised.value.__cause__) is mailserver.ConnectFailed


def _turn() -> Deferred[None]:
    waiter: Deferred[None] = Deferred()
    reactor.callLater(0, waiter.callback, None)  # type: ignore[attr-defined]
    return waiter
