"""Who a mailbox is, by tables."""

from dataclasses import replace

import pytest
from zope.interface.verify import verifyObject

from mailserver.accounts.directory import REMEMBERED, AccountDirectory, StaticDirectory
from mailserver.accounts.store import AccountStore
from mailserver.interfaces import IDirectory
from mailserver.message.identity import Identity
from mailserver.message.resolution import Found
from mailserver.smtp.address import NULL, Mailbox
from mailserver.threads import inline


class Clock:
    def wall(self):
        return 0.0

    def monotonic(self):
        return 0.0


@pytest.fixture
def store(tmp_path):
    store = AccountStore(tmp_path / "accounts.db", inline, Clock())
    store.open()
    for domain in ("example.org", "empty.example", "second.example"):
        store.add_domain(domain)
    for account in ("alice@example.org", "bob@example.org", "a+b@example.org", "abuse@second.example"):
        store.add_account(account, "$hash")
    store.add_account("zoe@second.example", "$hash")
    store.add_domain("bücher.example")
    store.add_account("Jürgen@bücher.example", "$hash")
    store.add_alias("sales@example.org", ["bob@example.org", "carol@elsewhere.example"])
    store.add_alias("team@example.org", ["sales@example.org"])
    store.add_alias("hostmaster@example.org", ["bob@example.org"])
    yield store
    store.close()


TABLE = [
    ("alice@example.org", Found.ACCOUNT, "alice@example.org"),
    ("ALICE@Example.ORG", Found.ACCOUNT, "alice@example.org"),
    ("alice+tag@example.org", Found.ACCOUNT, "alice@example.org"),
    ("alice+tag+more@example.org", Found.ACCOUNT, "alice@example.org"),
    ("a+b@example.org", Found.ACCOUNT, "a+b@example.org"),
    ("a@example.org", Found.UNKNOWN, "a@example.org"),
    ("+x@example.org", Found.UNKNOWN, "+x@example.org"),
    ("nobody@example.org", Found.UNKNOWN, "nobody@example.org"),
    ("sales@example.org", Found.ALIAS, "sales@example.org"),
    ("Postmaster@example.org", Found.ACCOUNT, "alice@example.org"),
    ("abuse@example.org", Found.ACCOUNT, "alice@example.org"),
    ("hostmaster@example.org", Found.ALIAS, "hostmaster@example.org"),
    ("abuse@second.example", Found.ACCOUNT, "abuse@second.example"),
    ("postmaster@second.example", Found.ACCOUNT, "abuse@second.example"),
    ("postmaster@empty.example", Found.UNKNOWN, "postmaster@empty.example"),
    ("postmaster", Found.ACCOUNT, "alice@example.org"),
    # One name, in U-labels and A-labels, in capitals, composed and decomposed (RFC 6531 §3.3, RFC 5198 §3).
    ("jürgen@bücher.example", Found.ACCOUNT, "jürgen@xn--bcher-kva.example"),
    ("JÜRGEN@xn--BCHER-kva.example", Found.ACCOUNT, "jürgen@xn--bcher-kva.example"),
    ("ju\u0308rgen+x@bu\u0308cher.example", Found.ACCOUNT, "jürgen@xn--bcher-kva.example"),
    ("jurgen@bücher.example", Found.UNKNOWN, "jurgen@xn--bcher-kva.example"),
    ("Bob@elsewhere.example", Found.ELSEWHERE, "Bob@elsewhere.example"),
    ("alice@sub.example.org", Found.ELSEWHERE, "alice@sub.example.org"),
    ("alice@[192.0.2.1]", Found.ELSEWHERE, "alice@[192.0.2.1]"),
]


@pytest.mark.parametrize(("address", "found", "mailbox"), TABLE)
def test_resolve(store, address, found, mailbox):
    directory = AccountDirectory(store)
    answer = directory.resolve(Mailbox.parse(address))
    assert (answer.found, str(answer.mailbox)) == (found, mailbox)
    assert bool(answer.targets) == (found is Found.ALIAS)
    assert directory.resolve(Mailbox.parse(address)) is answer


def test_the_interface(store):
    assert verifyObject(IDirectory, AccountDirectory(store))
    assert verifyObject(IDirectory, StaticDirectory([]))


def test_the_null_path_is_nobody(store):
    assert AccountDirectory(store).resolve(NULL).found is Found.UNKNOWN


def test_bare_postmaster_is_that_of_the_host_name(store):
    answer = AccountDirectory(store, "second.example").resolve(Mailbox.parse("postmaster"))
    assert str(answer.mailbox) == "abuse@second.example"
    answer = AccountDirectory(store, "mx.elsewhere.example").resolve(Mailbox.parse("postmaster"))
    assert str(answer.mailbox) == "alice@example.org"


def test_a_domain_names_its_postmaster(store):
    directory = AccountDirectory(store)
    asked = Mailbox.parse("abuse@example.org")
    assert str(directory.resolve(asked).mailbox) == "alice@example.org"
    store.set_postmaster("example.org", "bob@example.org")
    assert str(directory.resolve(asked).mailbox) == "bob@example.org"


def test_changes_are_seen_at_once(store):
    directory = AccountDirectory(store)
    asked = Mailbox.parse("new@example.org")
    assert directory.resolve(asked).found is Found.UNKNOWN
    store.add_account("new@example.org", "$hash")
    assert directory.resolve(asked).found is Found.ACCOUNT
    store.remove_account("new@example.org")
    assert directory.resolve(asked).found is Found.UNKNOWN


def test_a_change_during_a_look_up_leaves_nothing_stale(store):
    directory = AccountDirectory(store)
    asked = Mailbox.parse("new@example.org")
    is_account = store.is_account

    def overtaken(mailbox):
        if not is_account(asked):
            store.add_account("new@example.org", "$hash")
        return False

    store.is_account = overtaken
    assert directory.resolve(asked).found is Found.UNKNOWN
    store.is_account = is_account
    assert directory.resolve(asked).found is Found.ACCOUNT


def test_memory_is_bounded(store):
    directory = AccountDirectory(store)
    for number in range(REMEMBERED + 10):
        directory.resolve(Mailbox.parse(f"u{number}@elsewhere.example"))
    assert len(directory._answers) == 10


@pytest.mark.parametrize(
    ("sender", "owned"),
    [
        ("bob@example.org", True),
        ("BOB+x@example.org", True),
        ("sales@example.org", True),
        ("team@example.org", True),
        ("hostmaster@example.org", True),
        ("alice@example.org", False),
        ("postmaster@example.org", False),
        ("bob@elsewhere.example", False),
        ("nobody@example.org", False),
    ],
)
def test_owns(store, sender, owned):
    directory = AccountDirectory(store)
    bob = Identity("bob@example.org")
    assert directory.owns(bob, Mailbox.parse(sender)) is owned
    assert directory.owns(replace(bob, send_as_any=True), Mailbox.parse(sender))
    assert not directory.owns(Identity(), Mailbox.parse(sender))


def test_the_postmaster_account_owns_the_roles_and_everyone_owns_the_null_path(store):
    directory = AccountDirectory(store)
    assert directory.owns(Identity("alice@example.org"), Mailbox.parse("abuse@example.org"))
    assert directory.owns(Identity("bob@example.org"), NULL)
    assert not directory.owns(Identity(), NULL)


@pytest.mark.parametrize(
    ("address", "found", "mailbox"),
    [
        ("orders@example.org", Found.ACCOUNT, "orders@example.org"),
        ("Orders+x@example.org", Found.ACCOUNT, "orders@example.org"),
        ("postmaster@example.org", Found.ACCOUNT, "orders@example.org"),
        ("postmaster", Found.ACCOUNT, "orders@example.org"),
        ("other@example.org", Found.UNKNOWN, "other@example.org"),
        ("orders@example.net", Found.ELSEWHERE, "orders@example.net"),
    ],
)
def test_static(address, found, mailbox):
    answer = StaticDirectory(["Orders@example.org"]).resolve(Mailbox.parse(address))
    assert (answer.found, str(answer.mailbox)) == (found, mailbox)
