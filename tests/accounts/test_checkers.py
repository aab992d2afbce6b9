"""The checker and the realm behind a real portal."""

import bcrypt
import pytest
from twisted.cred.checkers import AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailserver.accounts.checkers import AccountChecker
from mailserver.accounts.passwords import PasswordVerifier, hash_password, keep_password
from mailserver.accounts.realm import Identity, MailRealm
from mailserver.accounts.store import AccountStore
from mailserver.interfaces import PoolFull
from mailserver.threads import inline


class Clock:
    def wall(self):
        return 0.0

    def monotonic(self):
        return 0.0


@implementer(IMessageDelivery)
class Delivery:
    def __init__(self, identity):
        self.identity = identity

    def validateFrom(self, helo, origin):
        raise NotImplementedError

    def validateTo(self, user):
        raise NotImplementedError

    def receivedHeader(self, helo, origin, recipients):
        raise NotImplementedError


class Kit:
    def __init__(self, store):
        self.calls = 0
        self.full = False
        self.store = store
        self.checker = AccountChecker(store, PasswordVerifier(self.threads, Clock(), 4, 300, self.check))
        self.realm = MailRealm(Delivery, store.sends_as_any)
        self.portal = Portal(self.realm, [self.checker, AllowAnonymousAccess()])

    def check(self, password, stored):
        self.calls += 1
        return bcrypt.checkpw(password, stored)

    def threads(self, kind, function, *args):
        if self.full:
            raise PoolFull("full")
        return inline(kind, function, *args)

    def login(self, credentials, *interfaces):
        out = []
        asked = interfaces or (IMessageDeliveryFactory, IMessageDelivery)
        self.portal.login(credentials, None, *asked).addBoth(out.append)
        if hasattr(out[0], "raiseException"):
            out[0].raiseException()
        return out[0]


@pytest.fixture
def kit(tmp_path):
    store = AccountStore(tmp_path / "accounts.db", inline, Clock())
    store.open()
    store.add_domain("example.org")
    store.add_account("alice@example.org", keep_password("pw", 4, store.salt("alice@example.org")))
    store.add_account("robot@example.org", hash_password("pw", 4), send_as_any=True)
    store.add_alias("sales@example.org", ["alice@example.org"])
    yield Kit(store)
    store.close()


def test_interfaces(kit):
    assert verifyObject(ICredentialsChecker, kit.checker)
    assert verifyObject(IRealm, kit.realm)


@pytest.mark.parametrize("name", [b"alice@example.org", b"Alice@EXAMPLE.org"])
def test_login(kit, name):
    interface, delivery, logout = kit.login(UsernamePassword(name, b"pw"))
    assert interface is IMessageDelivery
    assert delivery.identity == Identity("alice@example.org", False)
    assert logout() is None
    assert kit.calls == 1


def test_one_memory_for_every_spelling_of_the_name(kit):
    kit.login(UsernamePassword(b"alice@example.org", b"pw"))
    kit.login(UsernamePassword(b"ALICE@example.org", b"pw"))
    assert kit.calls == 1


def test_an_account_that_may_use_any_sender(kit):
    _, delivery, _ = kit.login(UsernamePassword(b"robot@example.org", b"pw"))
    assert delivery.identity == Identity("robot@example.org", True)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        (b"alice@example.org", b"wrong"),
        (b"alice@example.org", b"x" * 100),
        (b"nobody@example.org", b"pw"),
        (b"alice@elsewhere.example", b"pw"),
        (b"alice", b"pw"),
        (b"alice+x@example.org", b"pw"),
        (b"sales@example.org", b"pw"),
        (b"postmaster", b"pw"),
        (b"", b""),
        (b"\xff\xfe@example.org", b"pw"),
        (b"a" * 10_000 + b"@example.org", b"pw"),
    ],
)
def test_refusals_are_all_the_same(kit, name, password):
    with pytest.raises(UnauthorizedLogin) as caught:
        kit.login(UsernamePassword(name, password))
    assert str(caught.value) == ""
    assert kit.calls == 1


def test_a_changed_password_ends_the_old_one(kit):
    kit.login(UsernamePassword(b"alice@example.org", b"pw"))
    kit.store.set_password("alice@example.org", hash_password("new", 4))
    with pytest.raises(UnauthorizedLogin):
        kit.login(UsernamePassword(b"alice@example.org", b"pw"))
    kit.login(UsernamePassword(b"alice@example.org", b"new"))
    assert kit.calls == 3


def test_a_removed_account_is_out_at_once(kit):
    kit.login(UsernamePassword(b"robot@example.org", b"pw"))
    kit.store.remove_account("robot@example.org")
    with pytest.raises(UnauthorizedLogin):
        kit.login(UsernamePassword(b"robot@example.org", b"pw"))


def test_a_full_pool_is_no_refusal(kit):
    kit.full = True
    with pytest.raises(PoolFull):
        kit.login(UsernamePassword(b"alice@example.org", b"pw"))


def test_strangers(kit):
    _, delivery, _ = kit.login(Anonymous())
    assert delivery.identity == Identity(None, False)


def test_other_interfaces_are_not_served(kit):
    with pytest.raises(NotImplementedError):
        kit.login(Anonymous(), IMessageDeliveryFactory)
