"""The account store: what it keeps, what it refuses, and how it opens."""

import sqlite3

import pytest
from twisted.internet.defer import Deferred

from mailserver.accounts.database import AccountError
from mailserver.accounts.store import AccountStore
from mailserver.smtp.address import Domain, Mailbox
from mailserver.threads import inline


class Clock:
    now = 1_700_000_000.0

    def wall(self):
        return self.now

    def monotonic(self):
        return self.now


def done(answer):
    """The result of an awaitable that is finished, or what it raises."""
    out = []
    (answer if isinstance(answer, Deferred) else Deferred.fromCoroutine(answer)).addBoth(out.append)
    if hasattr(out[0], "raiseException"):
        out[0].raiseException()
    return out[0]


@pytest.fixture
def store(tmp_path):
    store = AccountStore(tmp_path / "accounts.db", inline, Clock())
    store.open()
    yield store
    store.close()


@pytest.fixture
def filled(store):
    done(store.add_domain("example.org"))
    done(store.add_domain("example.net"))
    done(store.add_account("alice@example.org", "$hash-a"))
    done(store.add_account("Bob@Example.ORG", "$hash-b", send_as_any=True))
    done(store.add_alias("sales@example.org", ["bob@example.org", "Carol@elsewhere.example"]))
    return store


def test_nothing_is_made_before_open(tmp_path):
    AccountStore(tmp_path / "accounts.db", inline, Clock())
    assert list(tmp_path.iterdir()) == []


def test_what_was_added_is_listed_in_order(filled):
    assert [str(d.domain) for d in filled.domains()] == ["example.org", "example.net"]
    assert [str(a.mailbox) for a in filled.accounts()] == ["alice@example.org", "bob@example.org"]
    assert filled.accounts("example.net") == []
    [alias] = filled.aliases("example.org")
    assert str(alias.mailbox) == "sales@example.org"
    assert [str(t) for t in alias.targets] == ["bob@example.org", "Carol@elsewhere.example"]
    assert filled.accounts()[0].created == Clock.now


def test_local_parts_are_found_without_case(filled):
    assert filled.account(Mailbox.parse("BOB@example.org")).password_hash == "$hash-b"
    assert filled.sends_as_any("bob@example.org")
    assert not filled.sends_as_any("alice@example.org")
    assert filled.alias_targets(Mailbox.parse("SALES@example.org"))


def test_all_is_there_after_a_restart(filled, tmp_path):
    filled.close()
    again = AccountStore(tmp_path / "accounts.db", inline, Clock())
    again.open()
    assert len(again.accounts()) == 2
    assert len(again.aliases()) == 1
    again.close()


def test_removal(filled):
    done(filled.remove_alias("sales@example.org"))
    done(filled.remove_account("bob@example.org"))
    done(filled.remove_account("alice@example.org"))
    done(filled.remove_domain("example.org"))
    assert [str(d.domain) for d in filled.domains()] == ["example.net"]
    assert filled.accounts() == []


def test_password_is_replaced(filled):
    done(filled.set_password("Alice@example.org", "$new"))
    assert filled.account(Mailbox.parse("alice@example.org")).password_hash == "$new"


def test_postmaster_is_the_first_account_until_the_domain_names_one(filled):
    domain = Domain("example.org")
    assert str(filled.postmaster(domain)) == "alice@example.org"
    done(filled.set_postmaster(domain, "bob@example.org"))
    assert str(filled.postmaster(domain)) == "bob@example.org"
    assert str(filled.domains()[0].postmaster) == "bob@example.org"
    done(filled.remove_alias("sales@example.org"))
    done(filled.remove_account("bob@example.org"))
    assert str(filled.postmaster(domain)) == "alice@example.org"
    assert filled.domains()[0].postmaster is None


REFUSED = [
    (lambda s: s.add_domain("example.org"), "already"),
    (lambda s: s.add_domain("no domain"), "not a domain name"),
    (lambda s: s.add_domain("[192.0.2.1]"), "not a domain name"),
    (lambda s: s.remove_domain("example.org"), r"still has accounts \(2\); remove them first"),
    (lambda s: s.remove_domain("other.example"), "`domain list` shows"),
    (lambda s: s.add_account("alice@example.org", "x"), "an account alice@example.org already"),
    (lambda s: s.add_account("SALES@example.org", "x"), "an alias sales@example.org already"),
    (lambda s: s.add_account("alice@other.example", "x"), "not a domain of this server"),
    (lambda s: s.add_account("alice", "x"), "write it as name@domain"),
    (lambda s: s.add_account("postmaster", "x"), "write it as name@domain"),
    (lambda s: s.add_account("../x@example.org", "x"), "write it as name@domain"),
    (lambda s: s.add_account("a/b@example.org", "x"), "slash"),
    (lambda s: s.add_account('".."@example.org', "x"), "first dot"),
    (lambda s: s.remove_account("bob@example.org"), "the alias sales@example.org leads to bob@example.org"),
    (lambda s: s.remove_account("nobody@example.org"), "no account nobody@example.org"),
    (lambda s: s.set_password("nobody@example.org", "x"), "no account nobody@example.org"),
    (lambda s: s.set_postmaster("example.net", "alice@example.org"), "not in example.net"),
    (lambda s: s.set_postmaster("example.org", "eve@example.org"), "no account"),
    (lambda s: s.add_alias("alice@example.org", ["bob@example.org"]), "an account alice@example.org already"),
    (lambda s: s.add_alias("sales@example.org", ["bob@example.org"]), "an alias sales@example.org already"),
    (lambda s: s.add_alias("new@example.org", []), "leads nowhere"),
    (lambda s: s.add_alias("new@example.org", ["who@example.org"]), "neither an account nor an alias"),
    (lambda s: s.add_alias("new@example.org", ["New@example.org"]), "itself"),
    (lambda s: s.add_alias("new@example.org", [f"u{n}@x.example" for n in range(1001)]), "1000 are allowed"),
    (lambda s: s.remove_alias("new@example.org"), "no alias new@example.org"),
]


@pytest.mark.parametrize(("change", "words"), REFUSED)
def test_refusals_say_what_to_do_and_change_nothing(filled, change, words):
    before = (filled.domains(), filled.accounts(), filled.aliases(), filled.generation)
    with pytest.raises(AccountError, match=words):
        done(change(filled))
    assert (filled.domains(), filled.accounts(), filled.aliases(), filled.generation) == before


def test_an_alias_leads_in_no_circle(filled):
    done(filled.add_alias("one@example.org", ["alice+x@example.org"]))
    done(filled.add_alias("two@example.org", ["one@example.org"]))
    with pytest.raises(AccountError, match="lead to itself"):
        done(filled.add_alias("alice+x@example.org", ["two@example.org"]))


def test_a_sub_address_in_an_alias_keeps_its_account(filled):
    done(filled.add_alias("one@example.org", ["alice+x@example.org"]))
    with pytest.raises(AccountError, match=r"leads to alice\+x@example.org"):
        done(filled.remove_account("alice@example.org"))


def test_targets_of_ours_are_folded_and_equal_ones_are_one(filled):
    done(filled.add_alias("one@example.org", ["ALICE@example.org", "alice@Example.org"]))
    assert filled.alias_targets(Mailbox.parse("one@example.org")) == (Mailbox.parse("alice@example.org"),)


def test_generation_grows_with_each_change_only(filled):
    before = filled.generation
    filled.accounts()
    assert filled.generation == before
    done(filled.add_domain("third.example"))
    assert filled.generation == before + 1


def test_a_newer_schema_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "accounts.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(AccountError, match=r"newer version of this server \(schema 99, this one knows 2\)"):
        AccountStore(path, inline, Clock()).open()


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "accounts.db").write_bytes(b"hello, I am a letter" * 100)
    with pytest.raises(AccountError, match="cannot be opened as an account store"):
        AccountStore(tmp_path / "accounts.db", inline, Clock()).open()


def test_a_directory_that_is_missing(tmp_path):
    with pytest.raises(AccountError, match="cannot be opened"):
        AccountStore(tmp_path / "missing" / "accounts.db", inline, Clock()).open()


def test_the_file_is_private_and_durable(store, tmp_path):
    assert (tmp_path / "accounts.db").stat().st_mode & 0o777 == 0o600
    writer = store._database._writer
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,)


def test_the_reading_connection_cannot_write(store):
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        store._database._reader.execute("INSERT INTO domain (name) VALUES ('x')")


def test_a_change_is_made_on_the_disk_pool(tmp_path):
    kinds = []

    def threads(kind, function, *args):
        kinds.append(kind)
        return inline(kind, function, *args)

    store = AccountStore(tmp_path / "accounts.db", threads, Clock())
    store.open()
    done(store.add_domain("example.org"))
    assert kinds == ["disk"]
    store.close()


class Failing:
    """A connection whose COMMIT fails with an SQLite error code."""

    in_transaction = False

    def __init__(self, code):
        self.code = code
        self.commits = 0
        self.closed = False

    def execute(self, statement, values=()):
        if statement == "COMMIT":
            self.commits += 1
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self.code
            raise error
        return sqlite3.connect(":memory:").execute("SELECT 1 WHERE 0")

    def close(self):
        self.closed = True


def test_after_an_io_error_nothing_is_committed_nor_closed(store):
    whole, store._database._writer = store._database._writer, Failing(sqlite3.SQLITE_IOERR_FSYNC)
    writer = store._database._writer
    for _ in range(2):
        with pytest.raises(AccountError, match="cannot be written"):
            done(store.add_domain("example.org"))
    store.close()
    assert writer.commits == 1
    assert not writer.closed
    whole.close()


def test_a_full_disk_comes_back_by_itself(store):
    whole, store._database._writer = store._database._writer, Failing(sqlite3.SQLITE_FULL)
    with pytest.raises(AccountError, match="no room on the disk"):
        done(store.add_domain("example.org"))
    store._database._writer = whole
    done(store.add_domain("example.org"))
    assert len(store.domains()) == 1
