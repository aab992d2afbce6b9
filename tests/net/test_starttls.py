"""STARTTLS over real sockets with real TLS: nothing that came in clear is worth anything afterwards.

CVE-2011-0411 and its kin: commands behind STARTTLS, replies behind its 220, at every place where a segment ends.
"""

from __future__ import annotations

import socket
import ssl
import tempfile
import warnings
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import ServerFactory
from twisted.trial.unittest import TestCase

from mailserver.message.outcome import Outcome
from mailserver.net.client import ClientSession, Connector, Peer
from mailserver.net.server import ServerProtocol, Surroundings
from mailserver.net.servertls import Contexts, ServerTls, read_pair
from mailserver.net.tls import ClientContexts
from mailserver.smtp import events
from mailserver.smtp.limits import Patience, Profile, ServerLimits
from mailserver.smtp.plan import Login, SessionPlan
from mailserver.smtp.sasl import PASSWORD_MECHANISMS
from mailserver.smtp.server import ServerCore
from mailserver.smtp.status import Status
from mailserver.threads import inline
from tests.harness.handshake import any_server, write_pair
from tests.harness.rawtls import RawPeer, turn
from tests.harness.servercore import YES

PROFILE = Profile(
    host_name="mx.example.org",
    starttls=True,
    mechanisms=("PLAIN",),
    auth_in_clear=True,
    limits=ServerLimits(error_limit=0),
    patience=Patience(10, 20, 30, 600),
)
STARTTLS = b"STARTTLS\r\n"
ENVELOPE = b"MAIL FROM:<evil@x>\r\nRCPT TO:<victim@y>\r\nDATA\r\n"
BEHIND = b"NOOP\r\nEHLO evil\r\n" + ENVELOPE


class Recorder:
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.reasons: list[str] = []

    def handle(self, event: Any) -> Any:
        self.events.append(event)
        return YES.get(type(event))

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Failures(list[Any]):
    def failure(self, what: str, error: Any, /, **_: object) -> None:
        self.append((what, error))


class ServerSide(TestCase):
    """Our server; the client is raw."""

    timeout = 60

    def setUp(self) -> None:
        directory = Path(tempfile.mkdtemp())
        pair = read_pair(*write_pair(directory, "default", "mx.example.org"))
        self.clock, self.failures = Clock(), Failures()
        surroundings = Surroundings(self.clock, self.failures, ServerTls(Contexts(pair, [])))  # type: ignore[arg-type]
        self.client_context = any_server()
        self.profile = PROFILE

        def build(_: Any) -> ServerProtocol:
            self.recorder = Recorder()
            core = ServerCore(self.profile, PASSWORD_MECHANISMS, False)
            self.protocol = ServerProtocol(core, self.recorder, surroundings)
            return self.protocol

        factory = ServerFactory()
        factory.noisy = False
        factory.buildProtocol = build  # type: ignore[method-assign, assignment]
        self.port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(self.port.stopListening)

    async def connect(self, *, hello: bytes = b"EHLO clear.example\r\n") -> RawPeer:
        sock = socket.create_connection(("127.0.0.1", self.port.getHost().port))
        self.addCleanup(sock.close)
        peer = RawPeer(sock)
        await peer.until(b"220 ")
        peer.other = self.protocol.transport
        if hello:
            await peer.send(hello)
            await peer.until(b"250 ")
        return peer

    async def gone(self) -> None:
        """The session has ended, and once."""
        while not self.recorder.reasons:
            await turn()
        assert len(self.recorder.reasons) == 1
        assert self.failures == []

    def forgot(self) -> None:
        """Nothing happened since STARTTLS but that everything was forgotten."""
        names = self.recorder.names()
        assert names[names.index("StartTls") :] == ["StartTls", "TransactionReset"]

    async def proves_that_it_forgot(self, peer: RawPeer) -> None:
        """Over TLS it is a new session: one reply to each command, and none is left over."""
        self.forgot()
        await peer.say(b"NOOP\r\n")
        assert (await peer.hear(b"\r\n")).startswith(b"250 ")
        for command in (b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\n", b"DATA\r\n"):
            await peer.say(command)
            assert (await peer.hear(b"\r\n")).startswith(b"503 ")
        self.forgot()

    async def test_commands_behind_starttls_cut_at_every_byte(self) -> None:
        octets = STARTTLS + BEHIND
        for cut in range(len(octets) + 1):
            peer = await self.connect()
            await peer.send(*filter(None, (octets[:cut], octets[cut:])))
            assert (await peer.until(b"\r\n")).startswith(b"220 2.0.0 Ready")
            if cut < len(STARTTLS) or cut == len(octets):
                await peer.secure(self.client_context)
                await self.proves_that_it_forgot(peer)
            else:
                # What comes in clear after TLS was begun is no record, or the beginning of none.
                peer.begin(self.client_context)
                await peer.send(peer.shake())
                await self.no_more_than_alerts(peer)
            self.forgot()
            peer.reset()
            await self.gone()

    async def no_more_than_alerts(self, peer: RawPeer) -> None:
        """The server closes, and says nothing in clear."""
        only_alerts(await peer.end())
        self.forgot()

    async def test_commands_behind_starttls_in_many_segments(self) -> None:
        peer = await self.connect()
        await peer.send(*(bytes([octet]) for octet in STARTTLS))
        await peer.until(b"220 2.0.0 Ready")
        await peer.secure(self.client_context)
        await self.proves_that_it_forgot(peer)

    async def test_a_hello_in_the_segment_of_starttls_is_thrown_away_with_the_rest(self) -> None:
        peer = await self.connect()
        peer.begin(self.client_context)
        hello = await peer.flight()
        await peer.send(STARTTLS + BEHIND + hello)
        await peer.until(b"220 2.0.0 Ready")
        # It got no answer; the same octets in their time are a handshake.
        await peer.send(hello)
        await peer.finish()
        await self.proves_that_it_forgot(peer)

    async def test_text_before_behind_and_within_the_hello(self) -> None:
        for place in (0, 1, 5, 50, 200, None):
            for separate in (False, True):
                peer = await self.connect()
                await peer.send(STARTTLS)
                await peer.until(b"220 2.0.0 Ready")
                peer.begin(self.client_context)
                hello = await peer.flight()
                at = len(hello) if place is None else place
                pieces = hello[:at], BEHIND, hello[at:]
                await peer.send(*(filter(None, pieces) if separate else [b"".join(pieces)]))
                got = await peer.end()
                assert b"2.0.0" not in got
                assert b"250" not in got
                assert got == b"" or got[0] in (21, 22)
                self.forgot()
                await self.gone()

    async def test_a_hello_octet_by_octet(self) -> None:
        peer = await self.connect()
        await peer.send(STARTTLS)
        await peer.until(b"220 2.0.0 Ready")
        peer.begin(self.client_context)
        hello = await peer.flight()
        await peer.send(*(bytes([octet]) for octet in hello))
        await peer.finish()
        await self.proves_that_it_forgot(peer)

    async def test_name_login_and_transaction_are_forgotten(self) -> None:
        peer = await self.connect()
        await peer.send(b"AUTH PLAIN AGEAYg==\r\n")
        await peer.until(b"235 ")
        await peer.send(b"MAIL FROM:<a@b> BODY=8BITMIME\r\n", b"RCPT TO:<c@d>\r\n")
        await peer.until(b"2.1.5")
        assert self.protocol.core.authenticated
        # Within a transaction it is refused: there is none to be taken along.
        await peer.send(STARTTLS)
        await peer.until(b"503 ")
        await peer.send(b"RSET\r\n")
        await peer.until(b"250 ")
        await peer.send(STARTTLS)
        await peer.until(b"220 2.0.0 Ready")
        await peer.secure(self.client_context)
        assert not self.protocol.core.authenticated
        await self.proves_that_it_forgot(peer)
        await peer.say(b"EHLO secret.example\r\n" + ENVELOPE)
        got = await peer.hear(b"354 ")
        assert b"AUTH PLAIN" in got
        assert b"STARTTLS" not in got
        hellos = [event for event in self.recorder.events if isinstance(event, events.Hello)]
        assert [event.name for event in hellos] == ["clear.example", "secret.example"]
        await peer.say(b".\r\nSTARTTLS\r\n")
        got = await peer.hear(b"503 ")
        assert self.recorder.names().count("ContentEnds") == 1

    async def test_a_login_is_asked_for_again(self) -> None:
        self.profile = Profile(
            host_name="mx.example.org",
            starttls=True,
            mechanisms=("PLAIN",),
            auth_in_clear=True,
            auth_required=True,
        )
        peer = await self.connect()
        await peer.send(b"AUTH PLAIN AGEAYg==\r\n")
        await peer.until(b"235 ")
        await peer.send(STARTTLS)
        await peer.until(b"220 2.0.0 Ready")
        await peer.secure(self.client_context)
        await peer.say(b"EHLO x\r\nMAIL FROM:<a@b>\r\n")
        await peer.hear(b"530 ")

    # Handshakes that come to nothing.

    async def test_garbage_in_the_place_of_a_hello(self) -> None:
        for octets in (
            b"EHLO x\r\nMAIL FROM:<evil@x>\r\n",
            b"\x00" * 70_000,
            b"\x16\x03\x01\xff\xff" + b"x" * 20_000,
            b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
            b"\x80\x2e\x01\x00\x02" + b"\x00" * 60,  # SSL 2
            b"\x15\x03\x01\x00\x02\x02\x28",  # an alert
            b"\x17\x03\x03\x00\x06QUIT\r\n",  # data
        ):
            peer = await self.connect()
            await peer.send(STARTTLS)
            await peer.until(b"220 2.0.0 Ready")
            await peer.send(octets)
            await self.no_more_than_alerts(peer)
            await self.gone()

    async def test_half_a_handshake_and_the_end(self) -> None:
        for end in (RawPeer.reset, lambda peer: peer.sock.shutdown(socket.SHUT_WR)):
            for count in (0, 1, 100, None):
                peer = await self.connect()
                await peer.send(STARTTLS)
                await peer.until(b"220 2.0.0 Ready")
                peer.begin(self.client_context)
                if hello := peer.shake()[:count]:
                    await peer.send(hello)
                end(peer)
                await self.gone()
                self.forgot()

    async def test_a_client_that_refuses_the_certificate(self) -> None:
        peer = await self.connect()
        await peer.send(STARTTLS)
        await peer.until(b"220 2.0.0 Ready")
        context = ssl.create_default_context()
        refused = False
        try:
            await peer.secure(context, "mx.example.org")
        except ssl.SSLCertVerificationError:
            refused = True
        assert refused
        await peer.send(peer.unsent() + BEHIND)
        await peer.end()
        await self.gone()
        self.forgot()

    async def test_a_client_of_tls_1_1(self) -> None:
        peer = await self.connect()
        await peer.send(STARTTLS)
        await peer.until(b"220 2.0.0 Ready")
        peer.begin(of_old(self.client_context))
        await peer.send(peer.shake())
        alerts = await peer.end()
        only_alerts(alerts)
        assert alerts[-1] == 70  # protocol_version
        self.forgot()
        await self.gone()

    async def test_silence_after_starttls_ends_without_a_word_in_clear(self) -> None:
        for started in (False, True):
            peer = await self.connect()
            await peer.send(STARTTLS)
            await peer.until(b"220 2.0.0 Ready")
            if started:
                peer.begin(self.client_context)
                await peer.send(peer.shake()[:50])
            for _ in range(2):  # the time of the client, and that of the farewell
                self.clock.now += 700
                self.protocol.check_deadline(self.clock.now)
            assert await peer.end() == b""
            await self.gone()
            self.forgot()

    # The end of TLS within a content.

    async def test_an_end_within_a_content_delivers_nothing(self) -> None:
        for tail in (b"", b"hello\r\n", b"hello\r\n.", b"hello\r\n.\r"):
            for end in ("notify", "close", "reset", "cut", "clear"):
                peer = await self.connect()
                await peer.send(STARTTLS)
                await peer.until(b"220 2.0.0 Ready")
                await peer.secure(self.client_context)
                await peer.say(b"EHLO x\r\n" + ENVELOPE)
                await peer.hear(b"354 ")
                if tail:
                    await peer.say(tail)
                if end == "notify":
                    await peer.send(peer.notify())
                elif end == "cut":
                    await peer.send(peer.records(b"\r\n.\r\n")[:-1])
                elif end == "clear":
                    await peer.send(b"\r\n.\r\nQUIT\r\n")
                if end == "reset":
                    peer.reset()
                else:
                    peer.sock.shutdown(socket.SHUT_WR)
                await self.gone()
                assert "ContentEnds" not in self.recorder.names(), (tail, end)


def of_old(context: ssl.SSLContext) -> ssl.SSLContext:
    """Nothing newer than TLS 1.1."""
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def only_alerts(octets: bytes) -> None:
    """`octets` are TLS records of the kind alert, and nothing else."""
    while octets:
        assert octets[0] == 21, octets
        octets = octets[5 + int.from_bytes(octets[3:5], "big") :]


GO = b"220 go\r\n"
INJECTED = b"250-evil\r\n250-AUTH PLAIN\r\n250 SIZE 1\r\n"
CLEAR_LIST = b"250-mx\r\n250-PIPELINING\r\n250-AUTH PLAIN\r\n250-SIZE 77\r\n250 STARTTLS\r\n"


class Endpoint:
    """Tells of the connection that it made."""

    def __init__(self, port: int) -> None:
        self._endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        self.wire: Deferred[Any] = Deferred()

    def connect(self, factory: Any) -> Deferred[Any]:
        def made(wire: Any) -> Any:
            self.wire.callback(wire)
            return wire

        return self._endpoint.connect(factory).addCallback(made)


class ClientSide(TestCase):
    """Our client; the server is raw."""

    timeout = 60

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.chain, key = write_pair(self.directory, "default", "mx.example.org")
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_context.load_cert_chain(self.chain, key)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.setblocking(False)
        self.addCleanup(self.listening.close)
        self.connector = Connector(reactor, inline, ClientContexts())

    def open(self, mode: str = "verified", login: Login | None = None) -> Deferred[ClientSession | Outcome]:
        self.endpoint = Endpoint(self.listening.getsockname()[1])
        peer = Peer("mx.example.org", "", 0, self.endpoint)
        plan = SessionPlan("me.example", mode, login=login)
        return Deferred.fromCoroutine(self.connector.connect(peer, plan, str(self.chain)))

    async def accept(self) -> RawPeer:
        while True:
            try:
                sock, _ = self.listening.accept()
            except BlockingIOError:
                await turn()
                continue
            self.addCleanup(sock.close)
            return RawPeer(sock, (await self.endpoint.wire).transport)

    async def asked(self) -> RawPeer:
        """A host that was asked for STARTTLS and has not answered."""
        host = await self.accept()
        await host.send(b"220 hi\r\n")
        assert await host.until(b"\r\n") == b"EHLO me.example\r\n"
        await host.send(CLEAR_LIST)
        assert await host.until(b"\r\n") == b"STARTTLS\r\n"
        return host

    async def refused(self, opened: Deferred[ClientSession | Outcome], host: RawPeer) -> Outcome:
        """No session comes of it, and nothing more was said in clear than the records of a handshake."""
        said = await host.end()
        assert b"EHLO" not in said
        assert b"AUTH" not in said
        outcome = await opened
        assert isinstance(outcome, Outcome), outcome
        return outcome

    async def test_replies_behind_the_220_cut_at_every_byte(self) -> None:
        octets = GO + INJECTED
        for cut in range(len(octets) + 1):
            opened = self.open()
            host = await self.asked()
            await host.send(*filter(None, (octets[:cut], octets[cut:])))
            outcome = await self.refused(opened, host)
            if cut == len(GO):
                assert outcome.status == Status(4, 7, 5)
            else:
                assert "in clear behind" in outcome.text

    async def test_replies_before_between_and_behind_the_servers_hello(self) -> None:
        for place in (0, 1, 5, 60, 100):
            for separate in (False, True):
                opened = self.open()
                host = await self.asked()
                await host.send(GO)
                host.begin(self.server_context, server=True)
                while not (flight := host.shake()):
                    await turn()
                pieces = flight[:place], INJECTED, flight[place:]
                await host.send(*(filter(None, pieces) if separate else [b"".join(pieces)]))
                assert (await self.refused(opened, host)).status == Status(4, 7, 5)

    async def test_a_flight_octet_by_octet_and_the_list_in_clear_is_forgotten(self) -> None:
        opened = self.open()
        host = await self.asked()
        await host.send(*(bytes([octet]) for octet in GO))
        host.begin(self.server_context, server=True)
        flight = await host.flight()
        await host.send(*(bytes([octet]) for octet in flight))
        await host.finish()
        assert await host.hear(b"\r\n") == b"EHLO me.example\r\n"
        # HELO has no list of its own that would take the place of the first one.
        await host.say(b"502 no\r\n")
        assert await host.hear(b"\r\n") == b"HELO me.example\r\n"
        await host.say(b"250 mx\r\n")
        session = await opened
        assert isinstance(session, ClientSession), session
        assert session._wire.core.offers == {}
        left = session.quit()
        assert await host.hear(b"\r\n") == b"QUIT\r\n"
        await host.say(b"221 bye\r\n")
        host.sock.close()
        await left

    async def test_a_login_that_was_offered_in_clear_alone(self) -> None:
        opened = self.open(login=Login("a", "b"))
        host = await self.asked()
        await host.send(GO)
        host.begin(self.server_context, server=True)
        await host.finish()
        await host.hear(b"\r\n")
        await host.say(b"250 mx\r\n")
        outcome = await opened
        assert isinstance(outcome, Outcome)
        assert "offers no AUTH" in outcome.text

    async def test_a_host_of_tls_1_1(self) -> None:
        of_old(self.server_context)
        for mode in ("verified", "offered"):
            opened = self.open(mode)
            host = await self.asked()
            await host.send(GO)
            failed = False
            try:
                host.begin(self.server_context, server=True)
                await host.finish()
            except (ssl.SSLError, EOFError):
                failed = True
            assert failed
            await host.send(host.unsent())
            host.sock.close()
            outcome = await opened
            assert isinstance(outcome, Outcome)
            assert outcome.status == Status(4, 7, 5)

    async def test_a_host_that_closes_in_the_handshake(self) -> None:
        for count in (0, 1, 60):
            opened = self.open()
            host = await self.asked()
            await host.send(GO)
            host.begin(self.server_context, server=True)
            flight = await host.flight()
            if count:
                await host.send(flight[:count])
            host.sock.close()
            outcome = await opened
            assert isinstance(outcome, Outcome)
            assert outcome.status == Status(4, 7, 5)
