"""Content in memory, in a file, and on the way between them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from mailserver.interfaces import PoolFull, SpoolFailed, SpoolFull
from mailserver.message import Change, State
from mailserver.spool import writer

HEADER = b"Subject: x\nTo: y\n"


def whole(content: Any) -> bytes:
    return b"".join(content.pieces())


class Later:
    """A disk pool whose jobs run when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def __call__(self, kind: str, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.jobs.append((done, function, args))
        return done

    def run(self) -> None:
        done, function, args = self.jobs.pop(0)
        try:
            result = function(*args)
        except OSError:
            done.errback()
        else:
            done.callback(result)


# Memory and file.


def test_small_content_stays_in_memory(harness: Any) -> None:
    spool = harness.open()
    content = spool.new_content()
    assert content.write(HEADER + b"\nbody\n") is None
    assert content.finish() is None
    assert (content.file, content.header(), whole(content)) == (None, HEADER, HEADER + b"\nbody\n")
    assert harness.files() == set()


@pytest.mark.parametrize("pieces", [1, 7, 40])
def test_over_the_cap_it_moves_to_a_file(harness: Any, pieces: int) -> None:
    octets = HEADER + b"\n" + b"line\n" * 2000
    content = harness.open().new_content()
    step = len(octets) // pieces + 1
    for start in range(0, len(octets), step):
        content.write(octets[start : start + step])
    assert content.file is not None
    harness.wait(content.finish())
    path = harness.directory / "content" / content.file
    assert path.read_bytes() == octets == whole(content)
    assert path.stat().st_mode & 0o777 == 0o600
    assert content.header() == HEADER
    assert (content.size, content.stored) == (len(octets) + octets.count(b"\n"), len(octets))


@pytest.mark.parametrize("octets", [b"\n" + b"x" * 3000, b"A: " + b"b" * 3000 + b"\n", b"A: b" * 40_000])
def test_odd_headers(harness: Any, octets: bytes) -> None:
    from mailserver.message import Content

    content = harness.open().new_content()
    for start in range(0, len(octets), 999):
        content.write(octets[start : start + 999])
    harness.wait(content.finish())
    queue_id = harness.store(1, content)
    plain = Content.of(octets)
    assert content.header() == plain.header() == harness.spool.content(queue_id).header()


def test_once_the_budget_is_spent_content_goes_to_files_at_once(harness: Any) -> None:
    spool = harness.open(memory_budget=1500)
    first, second = spool.new_content(), spool.new_content()
    first.write(b"x" * 900)
    second.write(b"y" * 900)
    assert (first.file, second.file is None) == (None, False)
    first.discard()
    third = spool.new_content()
    third.write(b"z" * 900)
    assert third.file is None


def test_the_budget_comes_back(harness: Any) -> None:
    spool = harness.open()
    full = harness.options.memory_budget
    queue_id = harness.store(2, b"x" * 900)
    assert spool._budget.left == full - 900
    harness.settle(queue_id, Change(0, State.DEFERRED, due=harness.clock.now), Change(1, State.DELIVERED))
    assert spool._budget.left == full
    harness.claim()
    assert spool._budget.left == full - 900
    harness.settle(queue_id, Change(0, State.DELIVERED))
    assert spool._budget.left == full
    content = harness.content(b"y" * 50_000)
    assert spool._budget.left == full
    content.discard()
    content.discard()
    assert (spool._budget.left, harness.files()) == (full, set())


def test_a_file_belongs_to_its_message(harness: Any) -> None:
    harness.open()
    content = harness.content(HEADER + b"\n" + b"x" * 5000)
    content.head = b"Received: here\n"
    queue_id = harness.store(1, content)
    content.discard()
    assert harness.files() == {content.file}
    with pytest.raises(AssertionError, match="one message"):
        harness.spool.store(harness.message(1, content))
    harness.reopen()
    (claim,) = harness.claim()
    back = claim.content
    assert (back.file, back.head, back.header()) == (content.file, content.head, HEADER)
    assert (back.size, back.stored, whole(back)) == (content.size, content.stored, whole(content))
    harness.settle(queue_id, Change(0, State.DELIVERED))
    assert harness.files() == set()


def test_an_unfinished_content_is_not_stored(harness: Any) -> None:
    content = harness.open().new_content()
    content.write(b"x" * 5000)
    with pytest.raises(AssertionError, match="finished"):
        harness.spool.store(harness.message(1, content))


# The order of things on disk.


def test_the_file_is_synced_before_its_directory_and_both_before_finish_answers(
    harness: Any, monkeypatch: Any
) -> None:
    calls: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        calls.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        real(descriptor)

    content = harness.open().new_content()
    monkeypatch.setattr(os, "fsync", fsync)
    content.write(b"x" * 5000)
    content.finish().addCallback(lambda _none: calls.append("answered"))
    assert calls == [content.file, "content", "answered"]


def test_the_file_goes_after_its_row(harness: Any) -> None:
    later = Later()
    harness.open()
    queue_id = harness.store(1, b"x" * 5000)
    harness.threads = later
    harness.settle(queue_id, Change(0, State.DELIVERED))
    assert len(harness.files()) == 1
    image = harness.crash()
    image.open()
    assert image.logged == [("spool.opened", {"unclean": True, "strays": 1})]
    assert image.files() == set()
    image.close()
    later.run()
    assert harness.files() == set()


def test_the_sweep_touches_only_what_no_row_names(harness: Any) -> None:
    harness.open()
    harness.store(1, b"x" * 5000)
    kept = harness.files()
    harness.close()
    (harness.directory / "content" / "stray").write_bytes(b"x")
    (harness.directory / "content" / "folder").mkdir()
    harness.open()
    assert harness.files() == kept | {"folder"}
    assert harness.logged == [("spool.opened", {"unclean": False, "strays": 1})]


# A slow disk.


def test_a_writer_is_asked_to_wait_when_the_disk_is_behind(harness: Any) -> None:
    later = Later()
    content = harness.open(memory_budget=1 << 24).new_content()
    harness.threads = later
    piece = b"x" * 65_536
    asked = [content.write(piece) for _ in range(16)]
    assert asked == [None] * 16
    assert len(later.jobs) == 1
    waiting = content.write(piece)
    assert not waiting.called
    later.run()
    assert waiting.called
    harness.spool.stop()
    content.discard()
    while later.jobs:
        later.run()


def test_short_memory_asks_to_wait_at_once(harness: Any) -> None:
    later = Later()
    spool = harness.open(memory_budget=100)
    harness.threads = later
    content = spool.new_content()
    waiting = content.write(b"x" * 5000)
    assert not waiting.called
    later.run()
    assert waiting.called
    finished = content.finish()
    later.run()
    assert finished.called
    assert whole(content) == b"x" * 5000


def test_discarded_while_a_job_runs(harness: Any) -> None:
    later = Later()
    content = harness.open().new_content()
    harness.threads = later
    content.write(b"x" * 300_000)
    content.discard()
    while later.jobs:
        later.run()
    assert harness.files() == set()


@pytest.mark.parametrize("most", [1, 777, 65_537])
def test_a_write_may_be_short(harness: Any, monkeypatch: Any, most: int) -> None:
    def short(descriptor: int, pieces: Any) -> int:
        return os.write(descriptor, b"".join(pieces)[:most])

    monkeypatch.setattr(os, "writev", short)
    content = harness.open().new_content()
    octets = b"".join(b"%06d\n" % number for number in range(20_000))
    for start in range(0, len(octets), 10_000):
        content.write(octets[start : start + 10_000])
    harness.wait(content.finish())
    assert whole(content) == octets
    content.discard()


def test_more_pieces_than_one_call_takes(harness: Any) -> None:
    later = Later()
    content = harness.open(memory_budget=1 << 24).new_content()
    harness.threads = later
    content.write(b"x" * 300_000)  # a job begins, and what follows waits for it
    pieces = [b"%05d" % number * 205 for number in range(700)]
    for piece in pieces:
        content.write(piece)
    content.finish()
    while later.jobs:
        later.run()
    assert whole(content) == b"x" * 300_000 + b"".join(pieces)
    content.discard()
    while later.jobs:
        later.run()


# A disk with no room, and one that fails.


def failing(monkeypatch: Any, number: int) -> None:
    def fsync(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_for_a_file_passes(harness: Any, monkeypatch: Any, number: int) -> None:
    content = harness.open().new_content()
    content.write(b"x" * 5000)
    failing(monkeypatch, number)
    with pytest.raises(SpoolFull):
        harness.wait(content.finish())
    content.discard()
    monkeypatch.undo()
    assert harness.files() == set()
    assert harness.store(1, b"x" * 5000)
    assert harness.fatal == []


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
@pytest.mark.parametrize("flag", [os.O_EXCL, os.O_DIRECTORY])
def test_too_few_descriptors_pass_as_a_full_disk_does(
    harness: Any, monkeypatch: Any, number: int, flag: int
) -> None:
    spool = harness.open()
    opening = os.open

    def refused(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & flag:
            raise OSError(number, os.strerror(number))
        return opening(path, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused)
        content = spool.new_content()
        content.write(HEADER + b"\n" + bytes(2000))
        with pytest.raises(SpoolFull):
            harness.wait(content.finish())
        content.discard()
    assert (harness.fatal, spool.failed, harness.files()) == ([], None, set())
    assert harness.store(octets=HEADER + b"\n" + bytes(2000))


def test_no_room_in_the_middle_is_told_by_every_later_call(harness: Any, monkeypatch: Any) -> None:
    def append(_self: Any, _pieces: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(writer.ContentWriter, "_append", append)
    content = harness.open().new_content()
    with pytest.raises(SpoolFull):
        harness.wait(content.write(b"x" * 300_000))
    with pytest.raises(SpoolFull):
        harness.wait(content.write(b"x"))
    with pytest.raises(SpoolFull):
        harness.wait(content.finish())
    content.discard()
    assert harness.spool._budget.left == harness.options.memory_budget


def test_a_failed_sync_of_a_file_ends_all_commits(harness: Any, monkeypatch: Any) -> None:
    content = harness.open().new_content()
    content.write(b"x" * 5000)
    failing(monkeypatch, errno.EIO)
    with pytest.raises(SpoolFailed):
        harness.wait(content.finish())
    monkeypatch.undo()
    while not harness.fatal:
        harness.reactor.turn()
    with pytest.raises(SpoolFailed):
        harness.wait(harness.spool.store(harness.message()))


def test_a_pool_that_has_stopped_harms_nothing(harness: Any) -> None:
    def stopped(_kind: str, _function: Any, *_args: Any) -> Any:
        raise PoolFull("the server has stopped")

    harness.open()
    queue_id = harness.store(1, b"x" * 5000)
    harness.threads = stopped
    harness.settle(queue_id, Change(0, State.DELIVERED))
    assert len(harness.files()) == 1
    harness.close()
    harness.open()
    assert harness.files() == set()
