"""A login by SCRAM is worked out in a thread, while nobody else waits."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import replace
from typing import Any

import pytest
from scramp import ScramMechanism
from scramp.core import ScramServer
from twisted.internet.defer import CancelledError, Deferred

from mailserver.interfaces import PoolFull
from mailserver.message.outcome import Klass
from mailserver.net.client import ClientSession, Connector
from mailserver.net.tls import ClientContexts
from mailserver.smtp.plan import Login
from tests.net.test_client import CLEAR, PEER, Net, Result

PLAN = replace(CLEAR, login=Login("anna", "pencil", unprotected=True))


class Threads:
    """Work waits until the test lets it run."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, Any, Deferred[Any]]] = []

    def __call__(self, kind: str, function: Any, *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((kind, lambda: function(*args), done))
        return done

    def run(self) -> None:
        _, work, done = self.waiting.pop()
        done.callback(work())


class Host(Net):
    """A host with somebody else's SCRAM, which knows anna."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = Threads()
        self.connector = Connector(self.reactor, self.threads, ClientContexts())
        mechanism = ScramMechanism()
        keys = mechanism.make_auth_info("pencil", iteration_count=4096)
        self.scram: ScramServer = mechanism.make_server(lambda _: keys)
        self.nonces: list[str] = []

    def challenged(self) -> Result:
        """A session that is being set up, as far as to the host's challenge."""
        result = Result(self.connector.connect(PEER, PLAN))
        self.accept()
        self.says(b"220 hi\r\n", b"250-b\r\n250 AUTH PLAIN SCRAM-SHA-256\r\n")
        first = b64decode(self.heard().rpartition(b" ")[2]).decode()
        self.nonces.append(first.rpartition("r=")[2])
        self.scram.set_client_first(first)
        self.says(b"334 " + b64encode(self.scram.get_server_first().encode()) + b"\r\n")
        return result


def test_a_login() -> None:
    host = Host()
    result = host.challenged()
    assert [kind for kind, _, _ in host.threads.waiting] == ["plugin"]
    assert host.heard() == b""
    host.threads.run()
    host.scram.set_client_final(b64decode(host.heard()).decode())
    host.says(b"334 " + b64encode(host.scram.get_server_final().encode()) + b"\r\n")
    assert host.heard() == b"\r\n"
    host.says(b"235 2.7.0 Ok\r\n")
    assert isinstance(result.value, ClientSession)
    assert result.value.usable


def test_each_session_has_a_nonce_of_its_own() -> None:
    nonces = set()
    for _ in range(20):
        host = Host()
        host.challenged()
        nonces.add(host.nonces[0])
    assert len(nonces) == 20
    assert all(len(nonce) == 24 and "," not in nonce for nonce in nonces)


def test_the_host_goes_away_meanwhile() -> None:
    host = Host()
    result = host.challenged()
    host.loses()
    host.threads.run()
    assert (result.value.klass, host.heard()) == (Klass.TRANSIENT, b"")


def test_whoever_waits_goes_away_meanwhile() -> None:
    host = Host()
    waiting = Deferred.fromCoroutine(host.connector.connect(PEER, PLAN))
    host.accept()
    host.says(b"220 hi\r\n", b"250-b\r\n250 AUTH SCRAM-SHA-256\r\n")
    first = b64decode(host.heard().rpartition(b" ")[2]).decode()
    host.scram.set_client_first(first)
    host.says(b"334 " + b64encode(host.scram.get_server_first().encode()) + b"\r\n")
    assert len(host.threads.waiting) == 1
    waiting.cancel()
    failures: list[Any] = []
    waiting.addErrback(failures.append)
    assert failures[0].check(CancelledError)
    assert host.transport.aborted


@pytest.mark.parametrize("error", [PoolFull("the server has stopped"), ValueError("odd")])
def test_no_thread_for_it(error: Exception) -> None:
    host = Host()
    result = host.challenged()
    host.threads.waiting[0][2].errback(error)
    host.reactor.advance(1)
    assert result.value.klass is Klass.TRANSIENT
    assert "worked out" in result.value.text
