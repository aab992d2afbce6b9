"""The table of disk states: the server dies between two steps of one message, and the next one finds its way.

strace kills it at the entry of a chosen call, which is then not made. The numbers count the calls of one thread
since strace was attached. One instance for all, so that each case also starts from what the others left.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.daemon import DOMAIN, Daemon, free_address, until
from tests.harness.nexthop import NextHop
from tests.harness.ondisk import contents, id_in_name, queued, unfinished
from tests.harness.sender import Client, message, token_of
from tests.harness.strace import Trace

pytestmark = [pytest.mark.daemon, pytest.mark.peer("strace")]

NAMES = ("alice", "bob")
BOTH = tuple(f"{name}@{DOMAIN}" for name in NAMES)
AWAY = "someone@hop.test"
SMALL, LARGE = 0, 400_000
TOLD, NOT_TOLD, EITHER = {True}, {False}, {True, False}


class Left(NamedTuple):
    """What is on disk when the server is dead: content files, files in ``tmp/``, letters to both recipients."""

    contents: int
    unfinished: int
    letters: int


NOTHING = Left(0, 0, 0)


class Case(NamedTuple):
    """Where the server dies (``CALL:when=N``) while it takes a message of `size`; what is ``left`` (None: it
    depends); whether the client was ``told`` 250; how many letters each recipient may have in the end."""

    call: str
    size: int
    left: Left | None
    told: set[bool]
    letters: set[int]


_numbers = count()
Die = Callable[[str], Trace]


@pytest.fixture(scope="module")
def hop() -> Iterator[NextHop]:
    hop = NextHop(free_address())
    yield hop
    hop.close()


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory, hop: NextHop) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("states"), hop.settings + "[queue]\nretry = [1]\n")
    yield daemon
    daemon.kill()


@pytest.fixture
def daemon(instance: Daemon) -> Daemon:
    """The server, running."""
    if instance.process is None or instance.process.poll() is not None:
        instance.start()
    return instance


@pytest.fixture
def token() -> str:
    return f"case{next(_numbers)}"


@pytest.fixture
def die(daemon: Daemon, tmp_path: Path, peer: Callable[[str], str]) -> Iterator[Die]:
    """Call it with ``CALL:when=N``: the server will be killed there."""
    traces: list[Trace] = []

    def at(call: str) -> Trace:
        assert daemon.process is not None
        inject = call.replace(":when", ":signal=KILL:when")
        traces.append(Trace(peer("strace"), daemon.process.pid, tmp_path / "trace", inject))
        return traces[-1]

    yield at
    for trace in traces:
        trace.close()


def dead(daemon: Daemon) -> None:
    assert daemon.process is not None
    assert daemon.process.wait(10) == -signal.SIGKILL


def restart(daemon: Daemon, token: str) -> None:
    """The next server is well: it takes mail, and ends what the one before left."""
    daemon.start()
    assert Client(daemon.address).send(message(f"{token}-next"), *BOTH).code == 250
    until(lambda: queued(daemon), lambda left: left == 0)
    until(lambda: contents(daemon), lambda files: files == [])
    assert unfinished(daemon) == []
    for name in NAMES:
        ids = Counter(map(id_in_name, daemon.letters(name)))
        assert [one for one, times in ids.items() if times > 1] == []
        assert copies(daemon, name, f"{token}-next") == 1


def copies(daemon: Daemon, name: str, token: str) -> int:
    return sum(token_of(letter.read_bytes()) == token for letter in daemon.letters(name))


@pytest.mark.parametrize(
    "case",
    [
        # Before COMMIT returns: no row; or one that was written and not synced, which a mere kill leaves.
        pytest.param(Case("pwrite64:when=1", SMALL, NOTHING, NOT_TOLD, {0}), id="nothing of the commit written"),
        pytest.param(Case("pwrite64:when=3", SMALL, NOTHING, NOT_TOLD, {0}), id="half of the commit written"),
        pytest.param(Case("fdatasync:when=1", SMALL, NOTHING, NOT_TOLD, {0, 1}), id="commit written, not synced"),
        pytest.param(Case("fsync:when=1", LARGE, Left(1, 0, 0), NOT_TOLD, {0}), id="content file not synced"),
        pytest.param(Case("fsync:when=2", LARGE, Left(1, 0, 0), NOT_TOLD, {0}), id="its directory not synced"),
        pytest.param(Case("pwrite64:when=3", LARGE, Left(1, 0, 0), NOT_TOLD, {0}), id="stray content file"),
        # COMMIT durable, 250 not sent: the commit thread's first write wakes the reactor, the fifth reply is it.
        pytest.param(Case("write:when=1", SMALL, NOTHING, NOT_TOLD, {1}), id="durable, the reactor does not know"),
        pytest.param(Case("sendto:when=5", SMALL, None, NOT_TOLD, {1}), id="durable, 250 not sent"),
        # In step 4, which does not wait for the 250.
        pytest.param(Case("renameat:when=1", SMALL, Left(0, 1, 0), EITHER, {1}), id="a letter in tmp"),
        pytest.param(
            Case("renameat:when=2", LARGE, Left(1, 1, 1), EITHER, {1}), id="one letter in new, one in tmp"
        ),
        pytest.param(Case("syncfs:when=1", SMALL, Left(0, 0, 2), TOLD, {1}), id="letters renamed, not synced"),
        pytest.param(
            Case("syncfs:when=1", LARGE, Left(1, 0, 2), TOLD, {1}), id="large letters renamed, not synced"
        ),
        # After syncfs.
        pytest.param(
            Case("fdatasync:when=2", SMALL, Left(0, 0, 2), TOLD, {1}), id="letters durable, their removal not"
        ),
        pytest.param(
            Case("unlink:when=1", LARGE, Left(1, 0, 2), TOLD, {1}), id="removed, the content file still there"
        ),
    ],
)
def test_a_250_is_one_letter_wherever_the_server_dies(daemon: Daemon, die: Die, token: str, case: Case) -> None:
    client = Client(daemon.address)
    die(case.call)
    said = client.offer(message(token, case.size), *BOTH)
    assert said is None or said.code == 250
    assert (said is not None) in case.told
    dead(daemon)
    delivered = sum(copies(daemon, name, token) for name in NAMES)
    found = Left(len(contents(daemon)), len(unfinished(daemon)), delivered)
    assert found == (case.left or found)
    restart(daemon, token)
    assert {copies(daemon, name, token) for name in NAMES} <= case.letters


def test_a_relayed_message_whose_settlement_is_not_durable_is_sent_once_more_at_most(
    daemon: Daemon, die: Die, token: str, hop: NextHop
) -> None:
    client = Client(daemon.address)
    die("fdatasync:when=2")
    assert client.send(message(token), AWAY).code == 250
    dead(daemon)
    restart(daemon, token)
    assert hop.copies[token] in (1, 2)


def test_a_message_that_the_next_hop_did_not_answer_is_sent_again(
    daemon: Daemon, token: str, hop: NextHop
) -> None:
    hop.hold()
    assert Client(daemon.address).send(message(token), AWAY).code == 250
    until(lambda: hop.copies[token], lambda times: times == 1)
    daemon.kill()
    hop.open()
    restart(daemon, token)
    assert hop.copies[token] == 2
