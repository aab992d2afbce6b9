"""The disk is full for a while: 452, nothing half-written, nothing twice, and afterwards everything by itself.

On a small ext4 file system in a loop file, so as root. That a settlement finds no room at all is brought about by
strace, because the reserve of the spool is there to prevent it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.daemon import DOMAIN, Daemon, until
from tests.harness.nexthop import NextHop
from tests.harness.ondisk import contents, queued, unfinished
from tests.harness.sender import Client, Said, body_of, message
from tests.harness.smalldisk import SmallDisk
from tests.harness.strace import Trace

pytestmark = pytest.mark.daemon

ALICE, BOB, AWAY = f"alice@{DOMAIN}", f"bob@{DOMAIN}", "someone@hop.test"
RETRY = "[queue]\nretry = [1]\n"
on_a_small_disk = pytest.mark.peer("mkfs.ext4")


@pytest.fixture
def disk(tmp_path: Path, peer: Callable[[str], str]) -> Iterator[SmallDisk]:
    """A small file system."""
    disk = SmallDisk(tmp_path, peer("mkfs.ext4"))
    try:
        yield disk.mount()
    finally:
        disk.close()


@pytest.fixture
def make_there(disk: SmallDisk) -> Iterator[Callable[[str], Daemon]]:
    """A server whose whole instance is on the small file system."""
    made: list[Daemon] = []

    def one(more: str) -> Daemon:
        made.append(Daemon(disk.path, more))
        return made[-1]

    yield one
    for daemon in made:
        daemon.kill()


def no_room(said: Said) -> bool:
    return (said.code, said.text[:6]) == (452, "4.3.1 ")


def accepted_again(daemon: Daemon, octets: bytes, recipient: str) -> None:
    """New mail is taken by itself: one message, offered until it is accepted. The same process is still there."""
    client = Client(daemon.address)
    until(lambda: client.send(octets, recipient), lambda said: said.code == 250)
    assert daemon.process is not None
    assert daemon.process.poll() is None


def send_until_full(client: Client, recipient: str) -> list[str]:
    """Offer messages until one finds no room; the tokens of those before."""
    accepted: list[str] = []
    while (said := client.send(message(f"filling{len(accepted)}", 200_000), recipient)).code == 250:
        accepted.append(f"filling{len(accepted)}")
        assert len(accepted) < 500, "the disk is never full"
    assert no_room(said)
    return accepted


@on_a_small_disk
def test_nobody_is_sent_twice_while_the_disk_is_full(
    disk: SmallDisk, make_there: Callable[[str], Daemon], next_hop: NextHop
) -> None:
    daemon = make_there(next_hop.settings + RETRY).start()
    next_hop.hold()
    client = Client(daemon.address)
    early = [f"early{number}" for number in range(3)]
    for token in early:
        assert client.send(message(token), AWAY).code == 250
    next_hop.wait(3)
    disk.fill()
    assert disk.left == 0
    accepted = early + send_until_full(client, AWAY)
    assert no_room(client.send(message("refused"), AWAY))
    # What was accepted is relayed and settled although the disk is full, and is not sent again.
    next_hop.open()
    next_hop.wait(len(accepted))
    until(lambda: queued(daemon), lambda left: left == 0)
    disk.free()
    accepted_again(daemon, message("late"), AWAY)
    next_hop.wait(len(accepted) + 1)
    until(lambda: queued(daemon), lambda left: left == 0)
    assert dict(next_hop.copies) == dict.fromkeys([*accepted, "late"], 1)


@on_a_small_disk
def test_a_content_that_does_not_fit_leaves_nothing(disk: SmallDisk, make_there: Callable[[str], Daemon]) -> None:
    daemon = make_there("").start()
    disk.fill(spare=1_000_000)
    left = disk.left
    assert left > 500_000
    client = Client(daemon.address)
    assert no_room(client.send(message("large", 3_000_000), ALICE))
    # The session goes on, the file is gone, and its room is there for others.
    until(lambda: contents(daemon), lambda found: found == [])
    until(lambda: disk.left, lambda found: found >= left)
    assert client.send(message("small"), ALICE).code == 250
    disk.free()
    assert client.send(message("large", 3_000_000), ALICE).code == 250
    daemon.wait_letters(2)


@on_a_small_disk
def test_local_mail_waits_until_there_is_room(disk: SmallDisk, make_there: Callable[[str], Daemon]) -> None:
    daemon = make_there(RETRY).start()
    client = Client(daemon.address)
    assert client.send(message("before"), ALICE).code == 250
    daemon.wait_letters(1)
    disk.fill()
    # The log of the spool has room that it took at the start, and so this is accepted; bob has no Maildir yet.
    octets = message("during", 9_000)
    assert client.send(octets, ALICE, BOB).code == 250
    for name in (ALICE, BOB):
        daemon.wait_log(f"message.deferred .*to={name} .*status=4.3.1", count=2)
    assert len(daemon.letters()) == 1
    assert daemon.letters("bob") == []
    assert unfinished(daemon) == []
    disk.free()
    whole = body_of(octets.replace(b"\r\n", b"\n"))
    assert body_of(daemon.wait_letters(2)[1].read_bytes()) == whole
    assert body_of(daemon.wait_letters(1, "bob")[0].read_bytes()) == whole
    until(lambda: queued(daemon), lambda left: left == 0)
    assert (len(daemon.letters()), len(daemon.letters("bob")), unfinished(daemon)) == (2, 1, [])
    accepted_again(daemon, message("after"), ALICE)


@on_a_small_disk
@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_start_on_a_full_disk_drains_the_queue(
    disk: SmallDisk, make_there: Callable[[str], Daemon], next_hop: NextHop, how: str, names: bool
) -> None:
    daemon = make_there(next_hop.settings + RETRY).start()
    next_hop.hold()
    client = Client(daemon.address)
    for token in ("one", "two", "three"):
        assert client.send(message(token), AWAY).code == 250
    client.close()
    next_hop.wait(3)
    daemon.stop() if how == "stop" else daemon.kill()
    tried = dict(next_hop.copies)
    next_hop.open()
    (disk.fill_names if names else disk.fill)()
    assert (disk.names_left if names else disk.left) == 0
    daemon.start()
    # What was there goes out, and nothing new comes in.
    until(lambda: queued(daemon), lambda left: left == 0)
    assert set(next_hop.copies) == set(tried)
    assert no_room(Client(daemon.address).send(message("refused"), ALICE))
    disk.free()
    accepted_again(daemon, message("late"), ALICE)
    daemon.wait_letters(1)


@pytest.mark.peer("strace")
def test_an_outcome_that_cannot_be_committed_is_kept_and_nothing_new_begins(
    make: Callable[..., Daemon], attach: Callable[..., Trace], next_hop: NextHop
) -> None:
    daemon = make(next_hop.settings.replace("[relay]", "[relay]\nconcurrency = 1") + RETRY).start()
    next_hop.hold()
    client = Client(daemon.address)
    for token in ("one", "two", "three"):
        assert client.send(message(token), AWAY).code == 250
    next_hop.wait(1)
    # From now on no write to the spool finds room.
    trace = attach(daemon, "pwrite64:error=ENOSPC:when=1+")
    next_hop.release()
    daemon.wait_log(r"queue\.blocked")
    assert no_room(client.send(message("refused"), AWAY))
    # The second may have begun before that was known; it ends, and the third does not follow.
    next_hop.open()
    until(lambda: next_hop.answered, lambda answered: answered == next_hop.copies)
    # It is tried again and again, and meanwhile nobody is sent anything.
    refused = trace.text().count("(INJECTED)")
    until(trace.text, lambda text: text.count("(INJECTED)") >= refused + 3)
    assert next_hop.copies["three"] == 0
    assert queued(daemon) == 3
    trace.close()
    daemon.wait_log(r"queue\.unblocked")
    until(lambda: queued(daemon), lambda left: left == 0)
    accepted_again(daemon, message("four"), AWAY)
    next_hop.wait(4)
    assert dict(next_hop.copies) == {"one": 1, "two": 1, "three": 1, "four": 1}
