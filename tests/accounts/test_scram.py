"""Keys for SCRAM beside the hash: where they come from, and what a stranger can learn from an exchange."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from twisted.cred.credentials import ICredentials, IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailserver.accounts.checkers import AccountChecker
from mailserver.accounts.database import _SCHEMA, AccountError
from mailserver.accounts.passwords import (
    Kept,
    PasswordVerifier,
    cost_of,
    hash_password,
    keep_password,
    prepared_form,
)
from mailserver.accounts.store import AccountStore
from mailserver.interfaces import IScramCredentials, IScramKeys, PoolFull
from mailserver.smtp.address import Mailbox
from mailserver.smtp.scram import ITERATIONS, ScramKeys, derive
from mailserver.threads import inline

ALICE = "alice@example.org"
MAILBOX = Mailbox.parse(ALICE)


class Clock:
    def wall(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0


@implementer(ICredentials, IScramCredentials)
@dataclass
class Credentials:
    username: bytes
    keys: ScramKeys
    proved: bool = True


class Kit:
    """A store with one account, a checker over it, and what ran on which pool."""

    def __init__(self, path: Path, cost: int = 4) -> None:
        self.calls = 0
        self.ran: list[tuple[str, str]] = []
        self.fails: dict[str, Exception] = {}
        self.store = AccountStore(path, self.threads, Clock())  # type: ignore[arg-type]  # duck types of IThreads, IClock
        self.store.open()
        self.checker = AccountChecker(self.store, self.verifier(cost))

    def verifier(self, cost: int, remember: float = 0) -> PasswordVerifier:
        return PasswordVerifier(self.threads, Clock(), cost, remember, self.check)  # type: ignore[arg-type]  # as above

    def check(self, password: bytes, stored: bytes) -> bool:
        self.calls += 1
        return bcrypt.checkpw(password, stored)

    def threads(self, kind: str, function: Any, *args: Any) -> Deferred[Any]:
        name = getattr(function, "__name__", "")
        if name in self.fails:
            raise self.fails[name]
        self.ran.append((kind, name))
        return inline(kind, function, *args)

    def login(self, password: str, name: str = ALICE) -> bytes:
        return self.asked(UsernamePassword(name.encode(), password.encode()))

    def asked(self, credentials: Any) -> bytes:
        results: list[Any] = []
        self.checker.requestAvatarId(credentials).addBoth(results.append)
        assert results, "still waiting"
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        answer: bytes = results[0]
        return answer

    def account(self) -> Any:
        return self.store.account(MAILBOX)

    def set(self, password: str | Kept) -> None:
        done(self.store.set_password(ALICE, password))

    def keep(self, text: str, cost: int = 4) -> Kept:
        return keep_password(text, cost, self.store.salt(ALICE))


def done(deferred: Deferred[Any]) -> None:
    results: list[Any] = []
    deferred.addBoth(results.append)
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    kit = Kit(tmp_path / "accounts.db")
    done(kit.store.add_domain("example.org"))
    done(kit.store.add_account(ALICE, kit.keep("pässword")))
    done(kit.store.add_alias("sales@example.org", [ALICE]))
    kit.ran.clear()
    yield kit
    kit.store.close()


def test_interfaces(kit: Kit) -> None:
    assert verifyObject(IScramKeys, kit.checker)
    assert set(kit.checker.credentialInterfaces) == {IUsernamePassword, IScramCredentials}
    without = AccountChecker(kit.store, kit.verifier(4), scram=False)
    assert list(without.credentialInterfaces) == [IUsernamePassword]


# Exchanges.


def test_the_keys_are_of_the_prepared_password(kit: Kit) -> None:
    keys = kit.checker.scramKeys(ALICE.encode())
    assert keys == derive("pässword".encode(), kit.store.salt(ALICE))
    assert keys.iterations == ITERATIONS
    assert kit.account().keys == keys


@pytest.mark.parametrize("name", [ALICE, "Alice@EXAMPLE.org", "ａlice@example.org"])
def test_who_has_proved_it_is_the_account(kit: Kit, name: str) -> None:
    keys = kit.checker.scramKeys(name.encode())
    assert kit.asked(Credentials(name.encode(), keys)) == ALICE.encode()
    assert kit.calls == 0
    assert kit.ran == []


def test_who_has_not_is_nobody(kit: Kit) -> None:
    with pytest.raises(UnauthorizedLogin):
        kit.asked(Credentials(ALICE.encode(), kit.checker.scramKeys(ALICE.encode()), proved=False))


@pytest.mark.parametrize(
    "name",
    [
        "bob@example.org",
        "sales@example.org",
        "alice+x@example.org",
        "alice",
        "postmaster",
        "x@elsewhere.example",
        "",
    ],
)
def test_made_up_keys_are_nobodys_whatever_was_proved(kit: Kit, name: str) -> None:
    keys = kit.checker.scramKeys(name.encode())
    assert keys.iterations == kit.account().keys.iterations
    assert len(keys.salt) == len(kit.account().keys.salt)
    assert kit.checker.scramKeys(name.encode()) == keys
    with pytest.raises(UnauthorizedLogin) as caught:
        kit.asked(Credentials(name.encode(), keys))
    assert str(caught.value) == ""


def test_the_keys_of_one_are_not_those_of_another(kit: Kit) -> None:
    done(kit.store.add_account("bob@example.org", kit.keep("pässword")))
    with pytest.raises(UnauthorizedLogin):
        kit.asked(Credentials(b"bob@example.org", kit.checker.scramKeys(b"nobody@example.org")))


def test_keys_that_were_overtaken_by_a_new_password(kit: Kit) -> None:
    keys = kit.checker.scramKeys(ALICE.encode())
    kit.set(kit.keep("another one"))
    with pytest.raises(UnauthorizedLogin):
        kit.asked(Credentials(ALICE.encode(), keys))


def test_an_account_that_was_removed_meanwhile(kit: Kit) -> None:
    keys = kit.checker.scramKeys(ALICE.encode())
    done(kit.store.remove_alias("sales@example.org"))
    done(kit.store.remove_account(ALICE))
    assert kit.store._database.rows("SELECT * FROM scram LIMIT 10") == []
    with pytest.raises(UnauthorizedLogin):
        kit.asked(Credentials(ALICE.encode(), keys))


def test_the_salt_of_a_name_is_the_same_before_during_and_after_an_account(kit: Kit, tmp_path: Path) -> None:
    """Whoever looks at salts over time learns neither that an account came, nor that a password changed."""
    name = "bob@example.org"
    seen = [kit.checker.scramKeys(name.encode()).salt]
    for password in ("first one", "second one"):
        kept = keep_password(password, 4, kit.store.salt(name))
        done(kit.store.set_password(name, kept) if len(seen) > 1 else kit.store.add_account(name, kept))
        seen.append(kit.checker.scramKeys(b"Bob@Example.org").salt)
    done(kit.store.remove_account(name))
    kit.store.close()
    after = Kit(tmp_path / "accounts.db")
    seen.append(after.checker.scramKeys(name.encode()).salt)
    assert seen == [seen[0]] * 4
    assert after.checker.scramKeys(b"carol@example.org").salt != seen[0]
    after.store.close()


def test_every_store_has_salts_of_its_own(kit: Kit, tmp_path: Path) -> None:
    other = Kit(tmp_path / "other.db")
    assert other.store.salt(ALICE) != kit.store.salt(ALICE)
    other.store.close()


def test_no_salts_before_the_store_is_open(tmp_path: Path) -> None:
    with pytest.raises(AccountError, match="not open"):
        AccountStore(tmp_path / "accounts.db", inline, Clock()).salt(ALICE)  # type: ignore[arg-type]  # as above


# Passwords by PLAIN and LOGIN.


@pytest.mark.parametrize("typed", ["pässword", "pa\u0308ssword", "p\u00adässword", "ｐässword"])
def test_one_password_on_every_keyboard(kit: Kit, typed: str) -> None:
    assert kit.login(typed) == ALICE.encode()
    assert kit.calls == 1
    assert [kind for kind, _ in kit.ran] == ["password"]


@pytest.mark.parametrize("typed", ["password", "PÄSSWORD", "pässword ", "pässword\0", "\x07", "ä" * 400])
def test_others_are_refused_at_the_same_cost(kit: Kit, typed: str) -> None:
    with pytest.raises(UnauthorizedLogin):
        kit.login(typed)
    assert kit.calls == 1


@pytest.mark.parametrize("text", ["emoji \U0001f600", "tab\there", "\u0627 and left"])
def test_a_password_without_a_prepared_form(kit: Kit, text: str) -> None:
    kept = kit.keep(text)
    assert kept.keys is None
    kit.set(kept)
    before = kit.account()
    assert kit.login(text) == ALICE.encode()
    assert kit.account() == before
    keys = kit.checker.scramKeys(ALICE.encode())
    assert keys == kit.store.keys_of_nobody(MAILBOX)
    with pytest.raises(UnauthorizedLogin):
        kit.asked(Credentials(ALICE.encode(), keys))


def test_prepared_forms() -> None:
    assert prepared_form("pa\u0308ss".encode()) == "päss".encode()
    assert prepared_form(b"\xff") is None
    assert prepared_form(b"x" * 72) == b"x" * 72
    assert prepared_form(b"x" * 73) is None
    assert prepared_form("\ufb03".encode() * 24) == b"ffi" * 24
    assert prepared_form("\ufb03".encode() * 25) is None
    assert prepared_form(b"x" * 10_000) is None


@pytest.mark.parametrize("text", ["\u00ad", "\u00ad\u200b"])
def test_a_password_of_which_nothing_is_left(kit: Kit, text: str) -> None:
    with pytest.raises(AccountError, match="empty"):
        kit.keep(text)


# Bringing what is kept to its present form.


@pytest.fixture
def old(kit: Kit) -> Kit:
    """The account's hash is one of before there were keys, of the password as it was typed."""
    kit.set(hash_password("pa\u0308ssword", 4))
    assert kit.account().keys is None
    kit.ran.clear()
    return kit


def test_the_first_login_makes_the_keys(old: Kit) -> None:
    before = old.account().password_hash
    assert old.login("pa\u0308ssword") == ALICE.encode()
    assert old.calls == 1
    assert old.ran == [("password", "check"), ("password", "keep_password"), ("disk", "_commit")]
    assert old.account().password_hash != before
    assert old.account().keys == derive("pässword".encode(), old.store.salt(ALICE))
    old.ran.clear()
    for typed in ("pässword", "pa\u0308ssword"):
        assert old.login(typed) == ALICE.encode()
    assert old.ran == [("password", "check")] * 2


def test_until_then_the_password_is_the_one_that_was_typed(old: Kit) -> None:
    with pytest.raises(UnauthorizedLogin):
        old.login("pässword")
    assert old.account().keys is None
    assert old.calls == 1


def test_a_wrong_password_makes_nothing(old: Kit) -> None:
    with pytest.raises(UnauthorizedLogin):
        old.login("wrong")
    assert old.ran == [("password", "check")]


def test_a_new_cost_makes_a_new_hash(kit: Kit) -> None:
    before = kit.account()
    kit.checker = AccountChecker(kit.store, kit.verifier(5))
    kit.login("pässword")
    after = kit.account()
    assert (cost_of(before.password_hash), cost_of(after.password_hash)) == ("04", "05")
    assert after.keys == before.keys
    kit.ran.clear()
    kit.login("pässword")
    assert kit.ran == [("password", "check")]


def test_what_was_renewed_is_remembered_at_once(old: Kit) -> None:
    old.checker = AccountChecker(old.store, old.verifier(4, remember=300))
    old.login("pa\u0308ssword")
    old.login("pässword")
    assert old.calls == 1


@pytest.mark.parametrize("failing", ["keep_password", "_commit"])
@pytest.mark.parametrize("error", [PoolFull("full"), AccountError("no room on the disk")])
def test_where_that_fails_the_login_is_good_and_the_next_one_tries_again(
    old: Kit, failing: str, error: Exception
) -> None:
    before = old.account()
    old.fails[failing] = error
    assert old.login("pa\u0308ssword") == ALICE.encode()
    assert old.account() == before
    old.fails.clear()
    old.login("pa\u0308ssword")
    assert old.account().keys is not None


def test_a_password_that_was_changed_meanwhile_stays(old: Kit) -> None:
    stale = old.account()
    old.set(old.keep("the new one"))
    now = old.account()
    done(old.store.renew_password(stale, old.keep("pa\u0308ssword")))
    assert old.account() == now


def test_logins_at_once_make_the_keys_once(old: Kit) -> None:
    waiting: list[tuple[Deferred[Any], Any]] = []

    def threads(kind: str, function: Any, *args: Any) -> Deferred[Any]:
        if getattr(function, "__name__", "") != "keep_password":
            return inline(kind, function, *args)
        deferred: Deferred[Any] = Deferred()
        waiting.append((deferred, lambda: function(*args)))
        return deferred

    verifier = PasswordVerifier(threads, Clock(), 4, 0)  # type: ignore[arg-type]  # duck types, as above
    checker = AccountChecker(old.store, verifier)
    credentials = UsernamePassword(ALICE.encode(), "pa\u0308ssword".encode())
    first, *others = [checker.requestAvatarId(credentials) for _ in range(5)]
    assert len(waiting) == 1
    assert all(one.called for one in others)
    assert not first.called
    deferred, work = waiting[0]
    deferred.callback(work())
    assert first.called
    assert old.account().keys is not None


def test_a_client_that_leaves_meanwhile_leaves_the_next_one_to_it(old: Kit) -> None:
    never: Deferred[Any] = Deferred()

    def threads(kind: str, function: Any, *args: Any) -> Deferred[Any]:
        return never if function is keep_password else inline(kind, function, *args)

    checker = AccountChecker(old.store, PasswordVerifier(threads, Clock(), 4, 0))  # type: ignore[arg-type]  # as above
    login = checker.requestAvatarId(UsernamePassword(ALICE.encode(), "pa\u0308ssword".encode()))
    login.cancel()
    failures: list[Any] = []
    login.addErrback(failures.append)
    assert failures[0].check(CancelledError)
    assert checker._renewing == set()


# Accounts of before.


def test_an_account_database_of_version_1_opens_and_its_accounts_log_in(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(_SCHEMA[0])
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO domain (name) VALUES ('example.org')")
        connection.execute(
            "INSERT INTO account (domain, local_part, password_hash, send_as_any, created)"
            " VALUES (1, 'alice', ?, 1, 7.0)",
            (hash_password("pa\u0308ssword", 4),),
        )
    connection.close()
    kit = Kit(path)
    assert kit.store._database.rows("PRAGMA user_version") == [(2,)]
    account = kit.account()
    assert (account.send_as_any, account.created, account.keys) == (True, 7.0, None)
    assert kit.login("pa\u0308ssword") == ALICE.encode()
    account = kit.account()
    assert (account.send_as_any, account.created) == (True, 7.0)
    assert kit.asked(Credentials(ALICE.encode(), account.keys)) == ALICE.encode()
    kit.store.close()
