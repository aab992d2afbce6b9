"""One message under strace: the sync of the right file stands before the 250, each removal after its reason."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.harness.daemon import DOMAIN, Daemon, until
from tests.harness.nexthop import NextHop
from tests.harness.ondisk import contents, queued
from tests.harness.sender import Client, message
from tests.harness.strace import Call, Trace, every, only

pytestmark = [pytest.mark.daemon, pytest.mark.peer("strace")]

ALICE = f"alice@{DOMAIN}"
CONTENT_CAP = 262_144
SYNCS = {"fsync", "fdatasync", "syncfs"}
Make = Callable[..., Daemon]
Attach = Callable[..., Trace]


def local(daemon: Daemon, attach: Attach, octets: bytes) -> list[Call]:
    """The calls of one message from its envelope to its removal from the spool."""
    client = Client(daemon.address)
    trace = attach(daemon)
    assert client.send(octets, ALICE).code == 250
    daemon.wait_letters(1)
    until(lambda: (queued(daemon), contents(daemon)), lambda left: left == (0, []))
    if len(octets) > CONTENT_CAP:
        # The file is gone before strace has written down that the call returned.
        until(trace.text, re.compile(r"unlink(\(| resumed).* = 0\n").search)
    return trace.detach()


def syncs(calls: list[Call]) -> list[Call]:
    found = [call for call in calls if call.name in SYNCS]
    assert [call for call in found if call.result != "0"] == []
    return found


def accepted(calls: list[Call]) -> Call:
    return only(calls, "sendto", '"250 2.0.0 Accepted as ')


def log_of(daemon: Daemon) -> str:
    return str(daemon.instance / "spool/spool.db-wal")


def commits(calls: list[Call], daemon: Daemon) -> list[tuple[list[Call], Call]]:
    """Each sync of the write-ahead log, with the writes to it since the one before."""
    found, writes = [], list[Call]()
    for call in calls:
        if call.path == log_of(daemon) and call.name == "pwrite64":
            writes.append(call)
        elif call.path == log_of(daemon) and call.name == "fdatasync":
            found.append((writes, call))
            writes = []
    assert writes == [], "written and not synced"
    return found


def test_a_small_message_is_in_the_synced_log_before_the_250(make: Make, attach: Attach) -> None:
    daemon = make().start()
    calls = local(daemon, attach, message("small"))
    answer = accepted(calls)
    before = [call for call in syncs(calls) if call.began < answer.began]
    # One sync of one file: nothing else makes the client wait.
    assert [(call.name, call.path) for call in before] == [("fdatasync", log_of(daemon))]
    assert before[0].ended < answer.began
    came = only(calls, "recvfrom", "X-Token: small")
    writes, sync = commits(calls, daemon)[0]
    assert sync is before[0]
    assert writes
    assert all(came.ended < write.began and write.ended < sync.began for write in writes)


def test_a_large_message_is_synced_in_its_file_then_its_directory_then_the_log(make: Make, attach: Attach) -> None:
    daemon = make().start()
    calls = local(daemon, attach, message("large", 700_000))
    answer = accepted(calls)
    before = [call for call in syncs(calls) if call.began < answer.began]
    directory = str(daemon.instance / "spool/content")
    created = only(calls, "openat", f'"{directory}/', "O_CREAT")
    name = created.arguments.split('"')[1]
    assert [(call.name, call.path) for call in before] == [
        ("fsync", name),
        ("fsync", directory),
        ("fdatasync", log_of(daemon)),
    ]
    assert all(first.ended < then.began for first, then in zip(before, [*before[1:], answer], strict=True))
    writes = [call for call in calls if call.name in ("write", "writev") and call.path == name]
    assert len(writes) > 1
    assert all(write.ended < before[0].began for write in writes)
    # The row that names the file follows its sync, and the file goes after the row.
    stored, removed = commits(calls, daemon)
    assert all(before[1].ended < write.began for write in stored[0])
    assert removed[1].ended < only(calls, "unlink", name).began


def test_a_letter_is_synced_after_its_rename_and_before_its_removal(make: Make, attach: Attach) -> None:
    daemon = make().start()
    calls = local(daemon, attach, message("local"))
    box = str(daemon.instance / "maildirs" / DOMAIN / "alice")
    (letter,) = daemon.letters()
    # In the Maildir nothing but this one is synced, and the client does not wait for it.
    synced = only(calls, "syncfs")
    assert [call for call in syncs(calls) if call.path.startswith(box)] == [synced]
    assert accepted(calls).ended < synced.began
    written = next(call for call in calls if call.name == "write" and call.path.startswith(f"{box}/tmp/"))
    renamed = only(calls, "renameat", f"{box}/tmp", f"{box}/new", letter.name)
    assert written.ended < renamed.began
    assert renamed.ended < synced.began
    assert synced.result == "0"
    stored, removed = commits(calls, daemon)
    assert stored[1].ended < accepted(calls).began
    assert all(synced.ended < write.began for write in removed[0])


def test_a_relayed_message_is_removed_after_the_250_of_the_next_hop(
    make: Make, attach: Attach, next_hop: NextHop
) -> None:
    daemon = make(next_hop.settings).start()
    next_hop.hold()
    client = Client(daemon.address)
    trace = attach(daemon)
    assert client.send(message("relayed"), "someone@hop.test").code == 250
    next_hop.wait(1)
    assert queued(daemon) == 1
    next_hop.release()
    until(lambda: queued(daemon), lambda left: left == 0)
    calls = trace.detach()
    taken = only(calls, "recvfrom", "250 2.0.0 the next hop has it")
    stored, removed = commits(calls, daemon)
    assert stored[1].ended < accepted(calls).began
    assert removed[0]
    assert all(taken.ended < write.began and write.ended < removed[1].began for write in removed[0])
    assert every(calls, "syncfs") == []
