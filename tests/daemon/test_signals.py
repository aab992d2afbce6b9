"""How the server ends: by which signal, and when the start fails after the check."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from mailserver.net.tls import self_signed
from tests.harness.daemon import Daemon

pytestmark = pytest.mark.daemon


def half_a_message(daemon: Daemon) -> object:
    client = daemon.mx()
    client.ehlo()
    client.mail("x@far.example")
    client.rcpt("alice@mail.test")
    client.docmd("DATA")
    client.send(b"Subject: half\r\n\r\n")
    return client


def test_a_second_signal_stops_waiting_and_is_no_error(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons().start()
    client = half_a_message(daemon)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGINT)
    daemon.wait_log(r" server\.stopping sessions=1 ")
    daemon.process.send_signal(signal.SIGINT)
    daemon.process.wait(6)
    assert not any("Traceback" in line for line in daemon.lines)
    assert daemon.letters() == []
    client.close()


def test_a_closed_terminal_stops_in_order(daemons: Callable[..., Daemon]) -> None:
    ours, its = os.openpty()
    daemon = daemons().start(stdin=its)
    os.close(its)
    client = daemon.mx()
    client.ehlo()
    assert daemon.process is not None
    os.close(ours)
    daemon.process.send_signal(signal.SIGHUP)
    assert client.getreply()[0] == 421
    assert daemon.process.wait(10) == -signal.SIGTERM
    daemon.wait_log(r" server\.stopped")


def test_without_a_terminal_sighup_takes_new_certificates_and_ends_nothing(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons().start()
    client = daemon.mx()
    chain, key = self_signed("mx.mail.test", time.time())
    certificates = daemon.instance / "certificates"
    (certificates / "default.key").write_bytes(key)
    (certificates / "default.crt").write_bytes(chain)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log(r" certificate\.reloaded name=default expires=20\d\d-")
    assert client.ehlo()[0] == 250
    client.starttls(context=daemon.client_tls())  # its client trusts the new one alone
    assert client.noop()[0] == 250
    client.close()
    assert daemon.stop() == -signal.SIGTERM


def test_a_start_that_fails_after_the_check_is_one_sentence(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons()
    spool = daemon.instance / "spool"
    spool.mkdir()
    # A database from the future passes every look from outside.
    import sqlite3

    with sqlite3.connect(spool / "spool.db") as database:
        database.execute("PRAGMA user_version = 9999")
        database.execute("CREATE TABLE messages (id)")
    database.close()
    said = daemon.refused()
    assert "Traceback" not in said.stdout + said.stderr
    assert "9999" in said.stdout + said.stderr
