"""What is offered is what the portal can take, and a login by SCRAM goes the way of every other."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from twisted.cred.checkers import (
    AllowAnonymousAccess,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import ICredentials, IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.accounts.realm import MailRealm
from mailserver.interfaces import IScramCredentials, IScramKeys, PoolFull
from mailserver.net.server import ServerProtocol, Surroundings
from mailserver.reception.esmtpfactory import ESMTPFactory
from mailserver.reception.limits import PerMinute
from mailserver.reception.mechanisms import MECHANISMS, ScramCredentials, mechanisms_for
from mailserver.reception.session import Session
from mailserver.reception.world import Peer, Rates
from mailserver.smtp.limits import Profile
from mailserver.smtp.scram import ScramKeys, ScramSha256, derive
from mailserver.smtp.scramclient import ScramClient
from mailserver.smtp.server import ServerCore
from tests.harness.reception import ANNA, Kit, login_to

KEYS = derive(b"pencil", b"salt" * 4, 4096)
NOBODY = ScramKeys(b"pepper" * 3, 4096, bytes(32), bytes(32))
ALL = ("PLAIN", "LOGIN", "SCRAM-SHA-256")


@implementer(ICredentialsChecker, IScramKeys)
class Keeper:
    """Anna has keys; `answers` takes their place."""

    credentialInterfaces: tuple[Any, ...] = (IScramCredentials,)

    def __init__(self, answers: Any = None) -> None:
        self.answers = answers
        self.asked: list[Any] = []

    def scramKeys(self, username: bytes) -> Any:
        if isinstance(self.answers, Exception):
            raise self.answers
        if self.answers is not None:
            return self.answers
        return KEYS if username == ANNA.encode() else NOBODY

    def requestAvatarId(self, credentials: Any) -> Any:
        self.asked.append(credentials)
        if not credentials.proved:
            raise UnauthorizedLogin
        return credentials.username


class Both(Keeper):
    credentialInterfaces = (IUsernamePassword, IScramCredentials)


class Everything(Keeper):
    credentialInterfaces = (ICredentials,)


class Hashed(Keeper):
    credentialInterfaces = (IUsernameHashedPassword,)


@implementer(ICredentialsChecker)
class WithoutKeys:
    """It says that it takes SCRAM, and keeps no keys."""

    credentialInterfaces = (IScramCredentials,)

    def requestAvatarId(self, credentials: Any) -> Any:
        raise AssertionError("nobody asks")


class OwnLogin(Portal):
    def login(self, *_: Any) -> Any:
        raise AssertionError("nobody asks")


def passwords() -> InMemoryUsernamePasswordDatabaseDontUse:
    return InMemoryUsernamePasswordDatabaseDontUse()


@pytest.mark.parametrize(
    ("checkers", "names"),
    [
        ([], ()),
        ([AllowAnonymousAccess()], ()),
        ([AllowAnonymousAccess(), passwords()], ALL[:2]),
        ([AllowAnonymousAccess(), Keeper()], ALL[2:]),
        ([Both()], ALL),
        ([passwords(), Keeper()], ALL),
        ([Everything()], ALL),
        ([Hashed()], ()),
        ([passwords(), WithoutKeys()], ALL[:2]),
    ],
)
def test_what_is_offered(checkers: list[Any], names: tuple[str, ...]) -> None:
    assert mechanisms_for(Portal(MailRealm(lambda identity: identity), checkers)) == names


def test_a_portal_that_does_not_show_its_checkers_gets_passwords() -> None:
    realm = MailRealm(lambda identity: identity)
    for portal in (OwnLogin(realm, [Keeper()]), OwnLogin(realm), object()):
        assert mechanisms_for(portal) == ALL[:2]


def test_nonces_do_not_repeat() -> None:
    made = MECHANISMS["SCRAM-SHA-256"]
    nonces = set()
    for _ in range(100):
        mechanism = made()
        assert isinstance(mechanism, ScramSha256)
        mechanism.start(b"n,,n=x,r=c")
        challenge: Any = mechanism.found(KEYS)
        nonce = challenge.data.decode().partition(",")[0].removeprefix("r=c")
        assert len(nonce) == 24
        assert "," not in nonce
        nonces.add(nonce)
    assert len(nonces) == 100


def test_credentials_do_not_show_keys() -> None:
    assert repr(KEYS.stored_key) not in repr(ScramCredentials(b"anna", KEYS, proved=True))


class Wire:
    """One connection from 192.0.2.9 to a submission listener, over TLS."""

    def __init__(self, kit: Kit, keeper: Any) -> None:
        portal = Portal(MailRealm(kit.delivery_for), [AllowAnonymousAccess(), keeper])
        profile = Profile("mx.mail.test", mechanisms=mechanisms_for(portal), auth_required=True, submission=True)
        self.transport = StringTransport()
        self.login = login_to(portal, kit.clock, kit.log)
        session = Session(kit.world, Peer("192.0.2.9", "submission", True, "s1"), self.login, tls=True)
        core = ServerCore(profile, MECHANISMS)
        self.protocol = ServerProtocol(core, session, Surroundings(kit.clock, kit.log))
        self.protocol.makeConnection(self.transport)
        core.tls = True
        self.send(b"EHLO client.example")

    def send(self, line: bytes) -> bytes:
        """The last line of what is said to it."""
        self.protocol.dataReceived(line + b"\r\n")
        return self.said()

    def said(self) -> bytes:
        said = self.transport.value().rpartition(b"\r\n")[0].rpartition(b"\r\n")[2]
        self.transport.clear()
        return said

    def scram(self, password: str = "pencil", user: str = ANNA) -> bytes:
        """The last reply to a login."""
        client = ScramClient(user, password, "nonce")
        said = self.send(b"AUTH SCRAM-SHA-256 " + base64.b64encode(client.first))
        if not said.startswith(b"334 "):
            return said
        root = client.challenge(base64.b64decode(said[4:])).work()
        said = self.send(base64.b64encode(client.final(root)))
        if not said.startswith(b"334 "):
            return said
        client.verify(base64.b64decode(said[4:]))
        return self.send(b"")


def test_a_login() -> None:
    kit, keeper = Kit(), Both()
    wire = Wire(kit, keeper)
    assert wire.scram().startswith(b"235")
    assert keeper.asked == [ScramCredentials(ANNA.encode(), KEYS, proved=True)]
    assert wire.login.account == ANNA
    assert kit.log.named("login.accepted") == [{"session": "s1", "account": ANNA, "mechanism": "SCRAM-SHA-256"}]
    assert wire.send(b"MAIL FROM:<bert@mail.test>").startswith(b"553")
    assert wire.send(b"MAIL FROM:<anna@mail.test>").startswith(b"250")


@pytest.mark.parametrize("user", [ANNA, "nobody@mail.test"])
def test_a_refused_login_is_late_counted_and_logged_without_a_name(user: str) -> None:
    kit = Kit(auth_failure_delay=2.0, rates=Rates(PerMinute(0), PerMinute(0), PerMinute(1)))
    wire = Wire(kit, Both())
    assert wire.scram("pencils", user) == b""
    kit.clock.advance(2)
    assert wire.said().startswith(b"535 5.7.8")
    assert kit.log.named("login.refused") == [
        {"session": "s1", "client": "192.0.2.9", "mechanism": "SCRAM-SHA-256", "reason": "UnauthorizedLogin"}
    ]
    # One a minute: now nobody gets as far as to a salt.
    first = b"AUTH SCRAM-SHA-256 " + base64.b64encode(ScramClient(user, "pencil", "nonce").first)
    assert wire.send(first).startswith(b"454")
    assert Wire(kit, Both()).send(first).startswith(b"454")
    kit.clock.advance(60)
    assert wire.scram().startswith(b"235")


@pytest.mark.parametrize(("authzid", "code"), [("anna@mail.test", 235), ("bert@mail.test", 535)])
def test_acting_as_another_account(authzid: str, code: int) -> None:
    wire = Wire(Kit(), keeper := Both())
    client = ScramClient(ANNA, "pencil", "nonce")
    first = client.first.replace(b"n,,", f"n,a={authzid},".encode())
    said = wire.send(b"AUTH SCRAM-SHA-256 " + base64.b64encode(first))
    root = client.challenge(base64.b64decode(said[4:])).work()
    header = base64.b64encode(f"n,a={authzid},".encode())
    # The proof is of what was sent: the other header is a part of it.
    client._message = client._message.replace(b"c=biws", b"c=" + header)
    client._without_proof = client._without_proof.replace("c=biws", "c=" + header.decode())
    wire.send(base64.b64encode(client.final(root)))
    assert wire.send(b"").startswith(b"%d" % code)
    assert len(keeper.asked) == (code == 235)


@pytest.mark.parametrize(
    ("answer", "culprit"),
    [
        (PoolFull("full"), ""),
        (ZeroDivisionError(), "Both.scramKeys"),
        (True, "Both.scramKeys"),
        (b"keys", "Both.scramKeys"),
        ((KEYS,), "Both.scramKeys"),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_keys_that_cannot_be_had(answer: Any, culprit: str, later: bool) -> None:
    kit = Kit()
    waiting: Deferred[Any] = Deferred()
    wire = Wire(kit, Both(waiting if later else answer))
    said = wire.scram()
    if later:
        assert said == b""
        if isinstance(answer, Exception):
            waiting.errback(answer)
        else:
            waiting.callback(answer)
        said = wire.said()
    assert said.startswith(b"454 4.7.0")
    blamed = [fields["culprit"] for _, fields in kit.log.events if "culprit" in fields]
    assert len(kit.log.failures) + len(blamed) == bool(culprit)
    assert all(one.endswith(culprit) for one in blamed)
    wire.protocol.dataReceived(b"NOOP\r\n")
    assert wire.said().startswith(b"250")


def test_keys_that_come_later() -> None:
    waiting: Deferred[Any] = Deferred()
    wire = Wire(Kit(), Both(waiting))
    client = ScramClient(ANNA, "pencil", "nonce")
    assert wire.send(b"AUTH SCRAM-SHA-256 " + base64.b64encode(client.first)) == b""
    waiting.callback(KEYS)
    root = client.challenge(base64.b64decode(wire.said()[4:])).work()
    client.verify(base64.b64decode(wire.send(base64.b64encode(client.final(root)))[4:]))
    assert wire.send(b"").startswith(b"235")


def test_a_client_that_leaves_while_keys_are_looked_for() -> None:
    cancelled: list[int] = []
    waiting: Deferred[Any] = Deferred(lambda _: cancelled.append(1))
    kit = Kit()
    wire = Wire(kit, Both(waiting))
    assert wire.scram() == b""
    wire.protocol.connectionLost(Failure(ConnectionLost()))
    assert cancelled == [1]
    assert kit.log.failures == []


def test_keys_that_never_come() -> None:
    kit = Kit()
    wire = Wire(kit, Both(Deferred()))
    assert wire.scram() == b""
    kit.clock.advance(300)
    wire.login.asking.check(kit.clock.monotonic())
    assert wire.said().startswith(b"454")
    assert kit.log.named("hook.failed")[0]["culprit"].endswith("Both.scramKeys")


# A factory with one's own portal.


class Connection:
    def __init__(self, keeper: Any, **attributes: Any) -> None:
        kit = Kit()
        factory = ESMTPFactory(Portal(MailRealm(kit.delivery_for), [keeper]), clock=kit.clock, reactor=kit.clock)
        for name, value in attributes.items():
            setattr(factory, name, value)
        self.protocol = factory.buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def send(self, line: bytes) -> bytes:
        self.transport.clear()
        self.protocol.dataReceived(line + b"\r\n")
        return self.transport.value()


def test_a_foreign_portal_is_offered_what_it_can_take() -> None:
    assert b"AUTH CRAM-MD5 SCRAM-SHA-256\r\n" in Connection(Both(), clear_auth=True).send(b"EHLO x")
    assert b"SCRAM" not in Connection(passwords(), clear_auth=True).send(b"EHLO x")


def test_scram_waits_for_tls_too() -> None:
    connection = Connection(Both())
    assert b"SCRAM" not in connection.send(b"EHLO x")
    assert connection.send(b"AUTH SCRAM-SHA-256").startswith(b"538")


@pytest.mark.parametrize(("password", "code"), [("pencil", b"235"), ("pencils", b"535")])
def test_a_login_to_a_foreign_portal(password: str, code: bytes) -> None:
    connection = Connection(Both(), clear_auth=True)
    connection.send(b"EHLO x")
    client = ScramClient(ANNA, password, "nonce")
    said = connection.send(b"AUTH SCRAM-SHA-256 " + base64.b64encode(client.first))
    root = client.challenge(base64.b64decode(said[4:])).work()
    said = connection.send(base64.b64encode(client.final(root)))
    if said.startswith(b"334"):
        said = connection.send(b"")
    assert said.startswith(code)
