"""The relay transport: which host is tried when, with recorders; and messages to a real server."""

from __future__ import annotations

import socket
import ssl
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from aiosmtpd.controller import Controller, UnixSocketController
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import AuthResult
from aiosmtpd.smtp import Envelope as Received
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailserver.clock import SystemClock
from mailserver.log import Log
from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import Klass, Outcome, Scope, permanent, transient
from mailserver.message.route import Attempt, Route, TlsPolicy
from mailserver.message.state import State
from mailserver.net.client import Peer
from mailserver.net.tls import self_signed
from mailserver.settings.model import Listener, Relay, Settings
from mailserver.smtp.address import Mailbox
from mailserver.smtp.plan import Login, SessionPlan
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Phase
from mailserver.threads import inline
from mailserver.transport.smtp import SmtpTransport

OK = Outcome(Klass.SUCCESS, Scope.RECIPIENT, Status(2, 0, 0), "ok", State.RELAYED)
HOST = transient("host is tired", Status(4, 3, 2), Scope.HOST)
NEVER_HERE = permanent("no service", Status(5, 0, 0), Scope.HOST)
GREY = transient("later", Status(4, 7, 1))
UNKNOWN = permanent("no such user", Status(5, 1, 1))
MESSAGE = transient("disk full", Status(4, 3, 1), Scope.MESSAGE)
PERHAPS = Outcome(Klass.TRANSIENT, Scope.HOST, Status(4, 4, 2), "lost", uncertain=True)


def settings_of(instance: str | Path, **relay: Any) -> Settings:
    listener = Listener(role="mx", listen=["127.0.0.1:2525"])
    return Settings(
        instance=Path(instance), host_name="me.example.org", listeners=[listener], relay=Relay(**relay)
    )


def recipients(*names: str) -> tuple[Recipient, ...]:
    boxes = [Mailbox.parse(f"{name}@b.example") for name in names]
    return tuple(Recipient(number, box, (Original(box),)) for number, box in enumerate(boxes))


def attempt(
    destination: str, *names: str, content: Content | None = None, tls: TlsPolicy | None = None
) -> Attempt:
    route = Route("smtp", destination, tls or TlsPolicy("off"))
    envelope = Envelope(Mailbox.parse("me@example.org"))
    content = content or Content.of(b"Subject: x\r\n\r\n.dot\r\n")
    return Attempt("q1", envelope, recipients(*names or ("anna",)), content, route, 0.0)


class Session:
    """Stands for a session; each message is answered by the next entry of `script`."""

    def __init__(self, script: list[Sequence[Outcome]], most: int = 100, messages: int = 100) -> None:
        self.script = script
        self.most, self.messages = most, messages
        self.rooms: list[int] = []
        self.sent = 0
        self.usable = True
        self.quits = 0

    def room(self, recipients: Sequence[Recipient]) -> int:
        return self.rooms.pop(0) if self.rooms else min(len(recipients), self.most)

    async def send(self, attempt: Attempt) -> dict[Recipient, Outcome]:
        self.sent += 1
        outcomes = self.script.pop(0)
        self.usable = all(outcome.scope is not Scope.HOST for outcome in outcomes) and self.sent < self.messages
        return dict(zip(attempt.recipients, outcomes, strict=True))

    def quit(self) -> Deferred[None]:
        self.usable = False
        self.quits += 1
        return Deferred()


class Connector:
    """Stands for the connector; `hosts` has for each host its sessions or refusals, in order."""

    def __init__(self, **hosts: list[Any]) -> None:
        self.hosts = hosts
        self.asked: list[str] = []
        self.plans: list[tuple[SessionPlan, str]] = []

    async def connect(self, peer: Peer, plan: SessionPlan, ca_file: str = "") -> Any:
        self.asked.append(peer.host)
        self.plans.append((plan, ca_file))
        return self.hosts[peer.host].pop(0)


class Zone:
    """Three hosts for every domain."""

    async def query(self, name: str, kind: str) -> Sequence[Any]:
        if kind == "MX":
            return [(1, "one"), (2, "two"), (3, "three")]
        return ["192.0.2.1"] if kind == "A" else []


class Stage:
    """A transport with recorders around it."""

    def __init__(self, **hosts: list[Any]) -> None:
        self.lines: list[bytes] = []
        self.log = Log(cast(Any, self), SystemClock())
        self.clock = Clock()
        self.connector = Connector(**hosts)
        zone = cast(Any, Zone())
        self.transport = SmtpTransport(self.clock, settings_of("x", connection_reuse=2), zone, inline, self.log)
        self.transport._connector = cast(Any, self.connector)

    def write(self, octets: bytes) -> int:
        self.lines.append(octets)
        return len(octets)

    def deliver(self, one: Attempt) -> list[Outcome]:
        found: list[Any] = []
        Deferred.fromCoroutine(cast(Any, self.transport.deliver(one))).addCallback(found.append)
        return [found[0][recipient] for recipient in one.recipients]


def test_the_first_host_takes_it() -> None:
    stage = Stage(one=[Session([[OK]])])
    assert stage.deliver(attempt("b.example")) == [OK]
    assert stage.connector.asked == ["one"]
    assert stage.connector.plans[0][0].helo == "me.example.org"


def test_trouble_of_a_host_leads_to_the_next() -> None:
    for trouble in (HOST, NEVER_HERE):
        stage = Stage(one=[trouble], two=[Session([[OK]])])
        assert stage.deliver(attempt("b.example")) == [OK]
        assert stage.connector.asked == ["one", "two"]
        stage = Stage(one=[Session([[trouble]])], two=[Session([[OK]])])
        assert stage.deliver(attempt("b.example")) == [OK]


def test_as_many_recipients_as_the_host_says_and_as_many_messages() -> None:
    first, second = Session([[OK, UNKNOWN], [OK, OK]], most=2, messages=2), Session([[GREY]], most=2)
    stage = Stage(one=[first, second])
    assert stage.deliver(attempt("b.example", "a", "b", "c", "d", "e")) == [OK, UNKNOWN, OK, OK, GREY]
    assert (first.quits, second.quits) == (1, 0)


def test_a_kept_session_without_room_makes_way_for_a_new_one() -> None:
    first, second = Session([[OK]]), Session([[OK]])
    first.rooms = [1, 0]
    stage = Stage(one=[first, second])
    assert stage.deliver(attempt("b.example")) == [OK]
    assert stage.deliver(attempt("b.example")) == [OK]
    assert (first.sent, first.quits, second.sent) == (1, 1, 1)


def test_a_decision_stands() -> None:
    for decision in (GREY, UNKNOWN, MESSAGE, PERHAPS):
        stage = Stage(one=[Session([[decision]])])
        assert stage.deliver(attempt("b.example")) == [decision]
        assert stage.connector.asked == ["one"]


def test_only_those_without_a_decision_go_to_the_next_host() -> None:
    second = Session([[OK]])
    stage = Stage(one=[Session([[OK, HOST, UNKNOWN]])], two=[second])
    assert stage.deliver(attempt("b.example", "anna", "bob", "carl")) == [OK, OK, UNKNOWN]


def test_all_hosts_in_trouble() -> None:
    stage = Stage(one=[HOST], two=[HOST], three=[HOST])
    assert stage.deliver(attempt("b.example", "anna", "bob")) == [HOST, HOST]
    assert stage.connector.asked == ["one", "two", "three"]


def test_never_at_one_host_does_not_outweigh_not_now_at_another() -> None:
    assert Stage(one=[HOST], two=[NEVER_HERE], three=[NEVER_HERE]).deliver(attempt("b.example")) == [HOST]
    assert Stage(one=[NEVER_HERE], two=[HOST], three=[NEVER_HERE]).deliver(attempt("b.example")) == [HOST]
    assert Stage(one=[NEVER_HERE], two=[NEVER_HERE], three=[NEVER_HERE]).deliver(attempt("b.example")) == [
        NEVER_HERE
    ]
    assert Stage(one=[HOST], two=[Session([[UNKNOWN]])]).deliver(attempt("b.example")) == [UNKNOWN]


def test_a_session_carries_messages_up_to_its_number() -> None:
    first, second = Session([[OK], [OK]]), Session([[OK]])
    stage = Stage(one=[first, second])
    for _ in range(3):
        assert stage.deliver(attempt("b.example")) == [OK]
    assert (first.sent, first.quits, second.sent) == (2, 1, 1)


def test_a_session_is_not_shared_between_policies() -> None:
    stage = Stage(one=[Session([[OK]]), Session([[OK]])])
    stage.deliver(attempt("b.example", tls=TlsPolicy("opportunistic")))
    stage.deliver(attempt("b.example", tls=TlsPolicy("verified", "ca.pem")))
    assert [(plan.tls, ca_file) for plan, ca_file in stage.connector.plans] == [
        ("opportunistic", ""),
        ("verified", "x/ca.pem"),
    ]


def test_a_kept_session_that_was_closed_says_nothing_about_the_host() -> None:
    stale, fresh = Session([[OK], [HOST]]), Session([[OK]])
    stage = Stage(one=[stale, fresh])
    assert stage.deliver(attempt("b.example")) == [OK]
    assert stage.deliver(attempt("b.example")) == [OK]
    assert stage.connector.asked == ["one", "one"]


def test_a_kept_session_lost_after_the_final_dot_is_not_tried_again() -> None:
    stage = Stage(one=[Session([[OK], [PERHAPS]])])
    stage.deliver(attempt("b.example"))
    assert stage.deliver(attempt("b.example")) == [PERHAPS]


def test_a_bug_is_a_transient_outcome_and_a_line_in_the_log() -> None:
    stage = Stage(one=[])
    (outcome,) = stage.deliver(attempt("b.example"))
    assert (outcome.klass, outcome.status) == (Klass.TRANSIENT, Status(4, 3, 0))
    stage.log.flush()
    assert b"queue=q1" in b"".join(stage.lines)


def test_no_hosts_is_the_outcome_of_all() -> None:
    stage = Stage()
    stage.transport._finder = cast(Any, _Nobody())
    assert stage.deliver(attempt("b.example", "anna", "bob")) == [_Nobody.outcome] * 2


class _Nobody:
    outcome = permanent("no such domain", Status(5, 1, 2), Scope.DESTINATION)

    async def find(self, destination: str) -> Outcome:
        return self.outcome


class Mailbag:
    """What the server of aiosmtpd got; `refuse` has recipients that it does not know."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.logins: list[Any] = []
        self.refuse: set[str] = set()
        self.full: set[str] = set()
        self.sessions: set[int] = set()

    async def handle_RCPT(self, server: Any, session: Any, envelope: Received, address: str, options: Any) -> str:
        if address in self.refuse:
            return "550 5.1.1 nobody here"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Received) -> str:
        self.sessions.add(id(session))
        self.received.append(envelope)
        if isinstance(server, LMTP):
            replies = [("452 4.2.2" if one in self.full else "250 2.0.0", one) for one in envelope.rcpt_tos]
            return "\r\n".join(map(" ".join, replies))
        return "250 2.0.0 taken"

    def authenticate(self, server: Any, session: Any, envelope: Received, mechanism: str, data: Any) -> AuthResult:
        self.logins.append((mechanism, data.login, data.password))
        return AuthResult(success=data.password == b"secret", handled=False)


class _Lmtp(UnixSocketController):
    def factory(self) -> LMTP:
        return LMTP(self.handler, hostname="lmtp.test", enable_SMTPUTF8=True)


class RealServerTests(TestCase):
    """Messages over real sockets to aiosmtpd, which runs in a thread of its own."""

    def setUp(self) -> None:
        self.instance = Path(tempfile.mkdtemp())
        certificate, key = self_signed("relay.example", time.time())
        (self.instance / "ca.pem").write_bytes(certificate)
        (self.instance / "key.pem").write_bytes(key)
        (self.instance / "secret").write_text("secret\n")
        self.bag = Mailbag()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def start(self, **options: Any) -> None:
        controller = Controller(self.bag, hostname="127.0.0.1", port=self.port, **options)
        controller.start()
        self.addCleanup(controller.stop)

    def secure(self) -> Any:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.instance / "ca.pem", self.instance / "key.pem")
        return context

    def transport(self, threads: Any = inline, lmtp: bool = False, **relay: Any) -> SmtpTransport:
        log = Log(cast(Any, _Nowhere()), SystemClock())
        settings = settings_of(self.instance, **relay)
        return SmtpTransport(reactor, settings, cast(Any, Zone()), threads, log, lmtp=lmtp)

    async def deliver(self, transport: SmtpTransport, one: Attempt) -> list[Outcome]:
        outcomes = await transport.deliver(one)
        return [outcomes[recipient] for recipient in one.recipients]

    def here(self, *names: str, **more: Any) -> Attempt:
        return attempt(f"[127.0.0.1]:{self.port}", *names, **more)

    async def test_messages_share_a_connection_and_arrive_as_they_are(self) -> None:
        self.start(decode_data=False)
        self.bag.refuse = {"bob@b.example"}
        transport = self.transport()
        body = b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n\xc3\xbc\r\nend\r\n"
        for _ in range(3):
            outcomes = await self.deliver(transport, self.here("anna", "bob", content=Content.of(body)))
            assert [outcome.klass for outcome in outcomes] == [Klass.SUCCESS, Klass.PERMANENT]
            assert outcomes[0].remote_reply == "250 2.0.0 taken"
            assert outcomes[1].remote_reply == "550 5.1.1 nobody here"
        await transport.close()
        assert [one.content for one in self.bag.received] == [body] * 3
        assert self.bag.received[0].mail_from == "me@example.org"
        assert self.bag.received[0].rcpt_tos == ["anna@b.example"]
        assert len(self.bag.sessions) == 1

    async def test_lmtp_over_a_unix_socket(self) -> None:
        path = str(self.instance / "lmtp")
        self.bag.refuse = {"bob@b.example"}
        self.bag.full = {"carl@b.example"}
        controller = _Lmtp(self.bag, path, hostname="lmtp.test")
        controller.start()
        self.addCleanup(controller.stop)
        transport = self.transport(lmtp=True)
        for _ in range(2):
            mail = attempt(f"unix:{path}", "anna", "bob", "carl", "dora")
            outcomes = await self.deliver(transport, mail)
            assert [(one.klass, one.scope, one.remote_reply) for one in outcomes] == [
                (Klass.SUCCESS, Scope.RECIPIENT, "250 2.0.0 anna@b.example"),
                (Klass.PERMANENT, Scope.RECIPIENT, "550 5.1.1 nobody here"),
                (Klass.TRANSIENT, Scope.RECIPIENT, "452 4.2.2 carl@b.example"),
                (Klass.SUCCESS, Scope.RECIPIENT, "250 2.0.0 dora@b.example"),
            ]
        await transport.close()
        assert len(self.bag.sessions) == 1

    async def test_nobody_at_the_unix_socket(self) -> None:
        (outcome,) = await self.deliver(self.transport(lmtp=True), attempt(f"unix:{self.instance}/absent"))
        assert (outcome.klass, outcome.scope, outcome.phase) == (Klass.TRANSIENT, Scope.HOST, Phase.CONNECT)
        assert f"unix:{self.instance}/absent" in outcome.text

    async def test_a_large_content_from_disk(self) -> None:
        self.start(decode_data=False, data_size_limit=0)
        transport = self.transport()
        content = _OnDisk(
            self.instance / "content", b"Subject: large\n\n" + b".line of forty octets, dotted in front\n" * 60_000
        )
        (outcome,) = await self.deliver(transport, self.here(content=content))
        await transport.close()
        assert outcome.klass is Klass.SUCCESS
        (received,) = self.bag.received
        assert received.content == (self.instance / "content").read_bytes().replace(b"\n", b"\r\n")

    async def test_verified_tls_and_a_login_at_the_smart_host(self) -> None:
        self.start(
            decode_data=False,
            tls_context=self.secure(),
            require_starttls=True,
            authenticator=self.bag.authenticate,
            auth_required=True,
        )
        transport = self.transport(
            smart_host=f"127.0.0.1:{self.port}", smart_host_user="me", smart_host_password_file="secret"
        )
        (outcome,) = await self.deliver(transport, self.here(tls=TlsPolicy("verified", "ca.pem")))
        assert outcome.klass is Klass.SUCCESS, outcome
        (outcome,) = await self.deliver(transport, self.here(tls=TlsPolicy("opportunistic")))
        assert (outcome.klass, outcome.status) == (Klass.TRANSIENT, Status(4, 7, 0))
        (self.instance / "ca.pem").unlink()
        await transport.close()
        assert [password for _, _, password in self.bag.logins] == [b"secret"]

    async def test_a_wrong_password_returns_no_mail(self) -> None:
        (self.instance / "secret").write_text("wrong\n")
        self.start(decode_data=False, tls_context=self.secure(), authenticator=self.bag.authenticate)
        transport = self.transport(
            smart_host=f"127.0.0.1:{self.port}", smart_host_user="me", smart_host_password_file="secret"
        )
        (outcome,) = await self.deliver(transport, self.here(tls=TlsPolicy("verified", "ca.pem")))
        await transport.close()
        assert (outcome.klass, outcome.status) == (Klass.TRANSIENT, Status(4, 7, 8))
        assert outcome.remote_reply is not None
        assert outcome.remote_reply.startswith("535")

    async def test_no_password_file(self) -> None:
        (self.instance / "secret").unlink()
        transport = self.transport(
            smart_host=f"127.0.0.1:{self.port}", smart_host_user="me", smart_host_password_file="secret"
        )
        (outcome,) = await self.deliver(transport, self.here())
        assert (outcome.klass, outcome.scope) == (Klass.TRANSIENT, Scope.DESTINATION)
        assert "cannot be read" in outcome.text

    async def test_nobody_listens(self) -> None:
        (outcome,) = await self.deliver(self.transport(), self.here())
        assert (outcome.klass, outcome.scope, outcome.status) == (Klass.TRANSIENT, Scope.HOST, Status(4, 4, 1))
        assert "refused" in outcome.text

    async def test_many_at_once(self) -> None:
        self.start(decode_data=False)
        transport = self.transport(connection_reuse=5)
        running = [Deferred.fromCoroutine(self.deliver(transport, self.here())) for _ in range(20)]
        results = await gatherResults(running)
        await transport.close()
        assert all(outcome.klass is Klass.SUCCESS for outcomes in results for outcome in outcomes)
        assert len(self.bag.received) == 20


class _Nowhere:
    def write(self, octets: bytes) -> int:
        return len(octets)


class _OnDisk(Content):
    """A content in a file, as the spool's are."""

    def __init__(self, path: Path, octets: bytes) -> None:
        super().__init__()
        path.write_bytes(octets)
        self._count(octets)
        self.file = str(path)

    def pieces(self) -> Any:
        with Path(cast(str, self.file)).open("rb") as file:
            while piece := file.read(65_536):
                yield piece


def test_the_login_is_part_of_what_a_session_is_kept_under() -> None:
    stage = Stage(one=[])
    peer, route = Peer("h", "192.0.2.1", 25), Route("smtp", "b.example")
    _, without = stage.transport._way(route, peer)
    stage.transport._login = cast(Any, lambda _: Login("me", "x"))
    _, with_login = stage.transport._way(route, peer)
    assert without != with_login
