"""A sync that fails: nobody is told 250, the process leaves with 1, and the next one is well.

The error is injected by strace into one call of the running server; after it every call works again, which is
what makes a server that goes on (SQLite would) so dangerous.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.harness.daemon import DOMAIN, Daemon, until
from tests.harness.ondisk import contents, id_in_name, queued, unfinished
from tests.harness.sender import Client, message, token_of
from tests.harness.strace import Trace

pytestmark = [pytest.mark.daemon, pytest.mark.peer("strace")]

ALICE = f"alice@{DOMAIN}"
SMALL, LARGE = 0, 400_000
Make = Callable[..., Daemon]
Attach = Callable[..., Trace]


def status(daemon: Daemon) -> int:
    """The exit status, which must come within seconds."""
    assert daemon.process is not None
    return daemon.process.wait(5)


def check_restart(daemon: Daemon, client_was_told: bool) -> None:
    """The next process takes mail and delivers; the message of before is there once, or not at all if nobody
    was told that it is."""
    daemon.start()
    assert Client(daemon.address).send(message("next"), ALICE).code == 250
    until(lambda: queued(daemon), lambda left: left == 0)
    letters = daemon.letters()
    ids = Counter(map(id_in_name, letters))
    tokens = Counter(token_of(letter.read_bytes()) for letter in letters)
    assert max(ids.values()) == 1
    assert tokens["next"] == 1
    assert tokens["first"] == 1 if client_was_told else tokens["first"] <= 1
    assert (unfinished(daemon), contents(daemon)) == ([], [])
    daemon.stop()


@pytest.mark.parametrize(
    ("call", "size"),
    [
        pytest.param("fdatasync:error=EIO:when=1", SMALL, id="log"),
        pytest.param("fsync:error=EIO:when=1", LARGE, id="content file"),
        pytest.param("fsync:error=EIO:when=2", LARGE, id="directory of the content file"),
        pytest.param("fdatasync:error=EIO:when=1", LARGE, id="log, with a content file"),
    ],
)
def test_no_250_after_a_failed_sync(make: Make, attach: Attach, call: str, size: int) -> None:
    daemon = make().start()
    client, other = Client(daemon.address), Client(daemon.address)
    trace = attach(daemon, call)
    said = client.offer(message("first", size), ALICE)
    assert said is None or (said.code, said.text[:5]) == (421, "4.3.0")
    # Whoever else is connected is not told 250 either.
    second = other.offer(message("second"), ALICE)
    assert second is None or 400 <= second.code < 500
    assert status(daemon) == 1
    trace.close()
    assert "(INJECTED)" in trace.text()
    check_restart(daemon, client_was_told=False)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param("syncfs:error=EIO:when=1", id="Maildirs"),
        pytest.param("fdatasync:error=EIO:when=2", id="log, at the removal"),
    ],
)
def test_a_failed_sync_after_the_250_loses_nothing_and_repeats_nothing(
    make: Make, attach: Attach, call: str
) -> None:
    daemon = make().start()
    trace = attach(daemon, call)
    assert Client(daemon.address).send(message("first"), ALICE).code == 250
    assert status(daemon) == 1
    trace.close()
    assert "(INJECTED)" in trace.text()
    check_restart(daemon, client_was_told=True)
