"""An instance is made whole or not at all."""

import os
import stat
from pathlib import Path

import bcrypt
import pytest
from twisted.internet.defer import Deferred

from mailserver.accounts.database import AccountError
from mailserver.accounts.passwords import Kept
from mailserver.accounts.store import AccountStore
from mailserver.admin import instance
from mailserver.admin.command import ControlError
from mailserver.admin.instance import First, check, create, load
from mailserver.net.tls import server_context
from mailserver.settings.problem import SettingsError
from mailserver.threads import inline
from tests.harness.daemon import free_address


class Clock:
    def wall(self):
        return 1_700_000_000.0

    def monotonic(self):
        return 0.0


@pytest.fixture(autouse=True)
def _cheap(monkeypatch):
    """The cost of the settings is for production."""
    monkeypatch.setattr(instance, "keep_password", lambda text, cost, salt: Kept(f"{cost}:{text}"))


def make(directory, first=First("example.org", "anna", "long password")):  # noqa: B008 - a value
    out = []
    Deferred.fromCoroutine(create(directory, first, Clock())).addBoth(out.append)
    if hasattr(out[0], "raiseException"):
        out[0].raiseException()
    return out[0]


def test_everything_is_there_and_private(tmp_path):
    directory = tmp_path / "deep" / "instance"
    reply = make(directory)
    assert reply["account"] == "anna@example.org"
    assert reply["host name"] == "mail.example.org"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {path.name for path in directory.iterdir()} == {
        "accounts.db", "certificates", "log", "mailserver.toml", "maildirs", "run", "spool",
    }  # fmt: skip
    assert stat.S_IMODE((directory / "certificates" / "default.key").stat().st_mode) == 0o600
    assert list((directory / "spool").iterdir()) == []
    settings = load(directory)
    assert settings.relay.outgoing == "hold"
    certificate = settings.certificate("default")
    server_context(settings.path(certificate.chain), settings.path(certificate.key))
    assert settings.listeners[0].listen == ("127.0.0.1:2525",)
    # The check tries the ports, and those of the manual may be another test's: an address of our own.
    address, file = free_address(), directory / "mailserver.toml"
    file.write_text(file.read_text().replace("127.0.0.1:", f"{address}:"))
    assert f"mx on {address}:2525" in check(load(directory), Clock())["said"]


def test_the_account_is_there(tmp_path):
    make(tmp_path / "i", First("example.org", "Anna@example.org", "long password", "mx.example.org"))
    store = AccountStore(tmp_path / "i" / "accounts.db", inline, Clock())
    store.open()
    [account] = store.accounts()
    assert (str(account.mailbox), account.password_hash) == ("anna@example.org", "12:long password")
    store.close()
    assert load(tmp_path / "i").host_name == "mx.example.org"


def test_an_empty_directory_is_taken(tmp_path):
    directory = tmp_path / "i"
    directory.mkdir(mode=0o755)
    make(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_what_is_there_is_never_touched(tmp_path):
    make(tmp_path / "i")
    before = {path: path.read_bytes() for path in (tmp_path / "i").rglob("*") if path.is_file()}
    with pytest.raises(ControlError, match=r"i is an instance already; .* name another directory: --instance DIR"):
        make(tmp_path / "i")
    assert {path: path.read_bytes() for path in (tmp_path / "i").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("first", "error", "words"),
    [
        (First("no domain", "anna", "long password"), AccountError, "not a domain name"),
        (First("example.org", "anna@example.net", "long password"), ControlError, "not in the domain example.org"),
        (First("example.org", "a b", "long password"), AccountError, "not a mail address"),
        (First("example.org", "anna", "long password", "no host"), SettingsError, "host_name"),
        (First("example.org", ".".join("ab"), "long password", "a\nb"), SettingsError, "host_name"),
    ],
)
def test_bad_beginnings_leave_nothing(tmp_path, first, error, words):
    with pytest.raises(error, match=words):
        make(tmp_path / "i", first)
    assert not (tmp_path / "i").exists()


def test_a_directory_with_something_else_in_it(tmp_path):
    (tmp_path / "letter").touch()
    with pytest.raises(ControlError, match="exists and is not empty; nothing was changed"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_an_instance_of_another_user(tmp_path, monkeypatch):
    make(tmp_path / "i")
    uid = os.geteuid()

    def closed(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "geteuid", lambda: uid + 4000)
    monkeypatch.setattr(Path, "read_bytes", closed)
    with pytest.raises(ControlError, match=r"i belongs to the user \S+; run this command as that user \(sudo -u"):
        load(tmp_path / "i")
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    with pytest.raises(ControlError, match=r"is closed to its own user; run: chmod -R u\+rwX"):
        load(tmp_path / "i")


@pytest.mark.parametrize("there", [False, True])
def test_a_failure_on_the_way_leaves_nothing(tmp_path, monkeypatch, there):
    def no_space(path, octets, mode):
        raise OSError(28, "No space left on device")

    if there:
        (tmp_path / "i").mkdir()
    monkeypatch.setattr(instance, "_write", no_space)
    with pytest.raises(ControlError, match="No space left"):
        make(tmp_path / "i")
    assert (tmp_path / "i").exists() is there
    assert not there or list((tmp_path / "i").iterdir()) == []


def test_a_place_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ControlError, match="cannot be made: Not a directory"):
        make(tmp_path / "file" / "i")


def test_no_instance(tmp_path):
    with pytest.raises(ControlError, match=r"there is no instance in .* `mailserverctl --instance /\S+ init"):
        load(tmp_path)


def test_check_names_every_file_that_is_wrong(tmp_path):
    make(tmp_path / "i")
    file = tmp_path / "i" / "mailserver.toml"
    (tmp_path / "i" / "certificates" / "default.key").unlink()
    more = 'smart_host = "mx.remote.example:25"\nsmart_host_user = "u"\nsmart_host_password_file = "secret"\n'
    file.write_text(file.read_text().replace("[relay]\n", f'[relay]\nsmart_host_ca_file = "ca.pem"\n{more}'))
    with pytest.raises(ControlError) as caught:
        check(load(tmp_path / "i"), Clock())
    for words in ("default.key", "ca.pem", "secret"):
        assert sum(words in line for line in str(caught.value).split("\n")) == 1


def test_real_passwords_are_hashed(tmp_path, monkeypatch):
    monkeypatch.undo()
    text = instance.first_settings("mx.example.org") + "\n[accounts]\nbcrypt_cost = 4\n"
    monkeypatch.setattr(instance, "first_settings", lambda host_name: text)
    make(tmp_path / "i")
    store = AccountStore(Path(tmp_path / "i" / "accounts.db"), inline, Clock())
    store.open()
    assert bcrypt.checkpw(b"long password", store.accounts()[0].password_hash.encode())
    store.close()
