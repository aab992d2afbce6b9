"""What is tried before a start, and what is only worth saying."""

from __future__ import annotations

import os
import resource
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mailserver import preflight
from mailserver.accounts.peek import hosted_domains
from mailserver.accounts.store import AccountStore
from mailserver.clock import SystemClock
from mailserver.net.tls import self_signed
from mailserver.settings.model import Certificate, Control, Listener, Settings, StaticRoute
from mailserver.settings.plugin import Plugin
from mailserver.spool.lock import SpoolLock
from mailserver.threads import inline

DAY = 86_400.0


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    store = AccountStore(tmp_path / "accounts.db", inline, SystemClock())
    store.open()
    store.add_domain("mail.test")
    store.close()
    (tmp_path / "spool").mkdir()
    for file, octets in zip(("a.crt", "a.key"), self_signed("mail.test", time.time()), strict=True):
        (tmp_path / file).write_bytes(octets)
        (tmp_path / file).chmod(0o600)
    return tmp_path


def settings(instance: Path, **more: object) -> Settings:
    given: dict[str, object] = {
        "host_name": "mail.test",
        "listeners": [Listener(role="mx", listen=["127.0.0.1:0"], tls="starttls")],
        "certificates": [Certificate(chain="a.crt", key="a.key")],
        **more,
    }
    return Settings(instance=instance, **given)


def test_nothing_is_wrong_and_nothing_is_made(instance: Path) -> None:
    before = sorted(instance.rglob("*"))
    good = settings(instance)
    assert preflight.problems_of(good) == preflight.check(good) == preflight.warnings(good, time.time()) == []
    assert sorted(instance.rglob("*")) == before


def test_a_running_server_is_no_mistake_in_its_settings(instance: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "PATIENCE", 0.0)
    lock = SpoolLock(instance / "spool")
    lock.acquire(0.0)
    try:
        assert preflight.check(settings(instance)) == []
        [problem] = preflight.problems_of(settings(instance))
    finally:
        lock.release()
    assert "another server has this instance open" in problem


def test_an_instance_without_accounts(instance: Path) -> None:
    (instance / "accounts.db").unlink()
    [problem] = preflight.problems_of(settings(instance))
    assert "accounts.db: is missing" in problem
    unknown = [Plugin(name="nobody-has-installed-this")]
    assert preflight.problems_of(settings(instance, plugins=unknown)) == [problem]


def test_the_place_of_the_control_socket(instance: Path) -> None:
    shared = instance / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    [problem] = preflight.problems_of(settings(instance, control=Control(socket="shared/control.sock")))
    assert "is open to other users (mode 1777); name a directory that does not exist yet" in problem
    assert "chmod" not in problem
    shared.chmod(0o755)
    [problem] = preflight.problems_of(settings(instance, control=Control(socket="shared/control.sock")))
    assert f"if it is the server's alone, run: chmod 700 {shared}" in problem
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755
    [problem] = preflight.problems_of(settings(instance, control=Control(socket="x/y/control.sock")))
    assert "x does not exist" in problem
    [problem] = preflight.problems_of(settings(instance, control=Control(socket="run/" + "s" * 120)))
    assert "has 120 octets, and a socket's has at most" in problem


def test_a_certificate_that_is_missing_is_easily_made(instance: Path) -> None:
    (instance / "a.crt").unlink()
    (instance / "a.key").unlink()
    [problem] = preflight.problems_of(settings(instance))
    assert problem.endswith(f"mailserverctl --instance {instance} certificate new --name default)")


def test_warnings_about_certificates(instance: Path) -> None:
    (instance / "a.key").chmod(0o644)
    warned = preflight.warnings(settings(instance, host_name="other.test"), time.time() + 4000 * DAY)
    assert [words for words in warned if not words.startswith("certificates.default: ")] == []
    expired, name, key = warned
    assert "has expired on" in expired
    assert "does not name this host: it is for mail.test" in name
    assert f"run: chmod o-rwx {instance / 'a.key'}" in key


@pytest.mark.parametrize("in_use", [False, True])
def test_a_static_route_for_a_domain_of_ours_is_never_used(instance: Path, in_use: bool) -> None:
    routes = [StaticRoute(domain=name, host="127.0.0.1:26") for name in ("mail.test", "partner.example")]
    lock = SpoolLock(instance / "spool")
    if in_use:
        lock.acquire(0.0)
    try:
        [warning] = preflight.warnings(settings(instance, routes=routes), time.time())
    finally:
        lock.release()
    assert warning.startswith('routes."mail.test": mail.test is a domain of this server')


def test_a_look_at_accounts_that_are_none(instance: Path) -> None:
    (instance / "accounts.db").write_bytes(os.urandom(8192))
    assert hosted_domains(instance / "accounts.db", in_use=False) == frozenset()
    assert hosted_domains(instance / "none.db", in_use=False) == frozenset()
    assert not (instance / "none.db").exists()


def test_a_descriptor_for_every_connection(instance: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 4096))
    one = Listener(role="mx", listen=["127.0.0.1:0"], max_connections=1000)
    listeners = [replace(one, name=name) for name in ("a", "b", "c")]
    assert preflight.problems_of(settings(instance, listeners=listeners)) == []
    listeners.append(replace(one, name="d"))
    [problem] = preflight.problems_of(settings(instance, listeners=listeners))
    assert "4000 connections at once need 4200 file descriptors, and this process may have 4096; raise" in problem
    assert preflight.check(settings(instance, listeners=listeners)) == []
    listeners[3] = replace(one, name="d", enabled=False)
    assert preflight.problems_of(settings(instance, listeners=listeners)) == []


def test_a_warning_about_accounts_that_others_can_read(instance: Path) -> None:
    (instance / "accounts.db").touch(mode=0o640)
    (instance / "accounts.db").chmod(0o640)
    (warning,) = [one for one in preflight.warnings(settings(instance), time.time()) if "accounts.db" in one]
    assert "chmod go-rwx" in warning
