"""The Maildir transport: the states on disk, the rounds of syncs, and whose trouble is whose."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mailserver.interfaces import PoolFull, SpoolFailed
from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import Klass, Outcome, Scope
from mailserver.message.prepared import new_queue_id
from mailserver.message.route import Attempt, Route
from mailserver.message.state import State
from mailserver.smtp.address import NULL, Mailbox
from mailserver.threads import inline
from mailserver.transport import maildir_letter, maildir_sync
from mailserver.transport.maildir import JOB_LETTERS, REST_SECONDS, MaildirTransport
from mailserver.transport.maildir_box import OPEN_AT_ONCE
from mailserver.transport.maildir_sync import World

WALL = 1_790_000_000.25
BODY = b"Subject: hi\n\nhello\n"


class Later:
    """A disk pool whose calls wait until the test lets them run."""

    def __init__(self) -> None:
        self.calls: list[tuple[Deferred[Any], Any, tuple[Any, ...]]] = []

    def __call__(self, kind: str, function: Any, *args: Any) -> Deferred[Any]:
        assert kind == "disk"
        done: Deferred[Any] = Deferred()
        self.calls.append((done, function, args))
        return done

    def run(self) -> None:
        done, function, args = self.calls.pop(0)
        try:
            done.callback(function(*args))
        except Exception:
            done.errback()


class Kit:
    """A transport over a temporary instance, with a clock to turn and a sync that is recorded."""

    def __init__(self, instance: Path, threads: Any = inline) -> None:
        self.instance = instance
        self.clock = Clock()
        self.fatal: list[str] = []
        self.syncs: list[int] = []
        self.sync_error = 0
        world = World(threads, self.clock.callLater, self.fatal.append, self._sync)
        self.transport = MaildirTransport("maildirs/{domain}/{user}", instance, world)

    def _sync(self, fd: int) -> None:
        self.syncs.append(os.fstat(fd).st_dev)
        if self.sync_error:
            raise OSError(self.sync_error, os.strerror(self.sync_error))

    def maildir(self, user: str) -> Path:
        return self.instance / "maildirs" / "example.test" / user

    def letters(self, user: str, folder: str = "new") -> list[Path]:
        return sorted((self.maildir(user) / folder).iterdir())


@pytest.fixture
def kit(tmp_path: Path) -> Any:
    kit = Kit(tmp_path)
    yield kit
    kit.transport.close()


def attempt(*users: str, again: bool = False, content: Content | None = None, queue_id: str = "") -> Attempt:
    recipients = []
    for number, user in enumerate(users):
        mailbox = Mailbox.parse(f"{user}@example.test")
        recipients.append(Recipient(number, mailbox, (Original(mailbox),)))
    envelope = Envelope(Mailbox.parse("sender@remote.test"))
    return Attempt(
        queue_id or new_queue_id(WALL),
        envelope,
        tuple(recipients),
        content or Content.of(BODY),
        Route("local", "local"),
        WALL,
        again,
    )


def expected(user: str, body: bytes = BODY) -> bytes:
    return b"Return-Path: <sender@remote.test>\nDelivered-To: %s@example.test\n" % user.encode() + body


def deliver(kit: Kit, *attempts: Attempt) -> list[Outcome]:
    """The outcomes in order, after the half second."""
    got: list[Any] = []
    kit.transport.deliver_many(attempts).addCallback(got.append)
    kit.clock.advance(0.5)
    assert got, "not answered"
    return [got[0][each][recipient] for each in attempts for recipient in each.recipients]


def test_a_letter_stands_in_new_with_its_exact_octets(kit: Kit) -> None:
    content = Content.of(BODY)
    content.head = b"Received: from x\n by y\n"
    one = attempt("alice", content=content)
    (outcome,) = deliver(kit, one)
    assert outcome.state is State.DELIVERED
    (letter,) = kit.letters("alice")
    octets = expected("alice", content.head + BODY)
    assert letter.read_bytes() == octets
    assert letter.name == f"1790000000.{one.queue_id}R0.mail,S={len(octets)}"
    assert kit.letters("alice", "tmp") == kit.letters("alice", "cur") == []


def test_a_missing_maildir_is_made_for_its_owner_alone(kit: Kit) -> None:
    deliver(kit, attempt("alice"))
    for directory in (kit.maildir("alice"), kit.maildir("alice") / "cur", kit.instance / "maildirs"):
        assert directory.stat().st_mode & 0o777 == 0o700
    assert kit.letters("alice")[0].stat().st_mode & 0o777 == 0o600


def test_the_null_reverse_path_and_a_forwarders_own(kit: Kit) -> None:
    one = attempt("alice")
    null = Attempt(one.queue_id, Envelope(NULL), one.recipients, one.content, one.route, WALL)
    route = Route("local", "local", reverse_path=Mailbox.parse("list@example.test"))
    forwarded = Attempt(new_queue_id(WALL + 1), Envelope(NULL), one.recipients, one.content, route, WALL)
    deliver(kit, null, forwarded)
    first, second = (letter.read_bytes().partition(b"\n")[0] for letter in kit.letters("alice"))
    assert first == b"Return-Path: <>"
    assert second == b"Return-Path: <list@example.test>"


def test_nothing_is_answered_before_the_sync_and_one_sync_serves_all(kit: Kit) -> None:
    answers: list[Any] = []
    kit.transport.deliver_many([attempt("alice", "bob")]).addCallback(answers.append)
    kit.clock.advance(0.3)
    kit.transport.deliver(attempt("carol")).addCallback(answers.append)
    assert len(kit.letters("alice") + kit.letters("bob") + kit.letters("carol")) == 3
    assert (answers, kit.syncs) == ([], [])
    kit.clock.advance(0.2)
    assert len(answers) == 2
    assert len(kit.syncs) == 1


def test_a_thousand_letters_do_not_wait_for_the_half_second(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maildir_sync, "ROUND_LETTERS", 10)
    answers: list[Any] = []
    for _ in range(10):
        kit.transport.deliver(attempt("alice")).addCallback(answers.append)
    kit.clock.advance(REST_SECONDS)
    assert len(answers) == 10
    assert len(kit.syncs) == 1


def test_a_round_is_exactly_what_was_renamed_before_it(tmp_path: Path) -> None:
    threads = Later()
    kit = Kit(tmp_path, threads)
    answers: list[str] = []
    kit.transport.deliver(attempt("alice")).addCallback(lambda _: answers.append("first"))
    threads.run()
    kit.clock.advance(0.5)
    kit.transport.deliver(attempt("alice")).addCallback(lambda _: answers.append("second"))
    sync, write = threads.calls
    threads.calls = [write, sync]
    threads.run()  # the second letter is renamed while the sync of the first is under way
    threads.run()
    assert answers == ["first"]
    kit.clock.advance(0.5)
    threads.run()
    assert answers == ["first", "second"]
    assert len(kit.syncs) == 2
    kit.transport.close()


def test_large_contents_have_a_lane_of_their_own(tmp_path: Path) -> None:
    threads = Later()
    kit = Kit(tmp_path, threads)
    large = Content.of(BODY)
    large.file = "content/large"
    kit.transport.deliver_many([attempt("alice", content=large), attempt("bob")])
    kit.transport.deliver_many([attempt("bob"), attempt("bob")])
    assert [len(args[0]) for _, _, args in threads.calls] == [1, 1]
    threads.run()
    threads.run()
    assert threads.calls == []
    kit.transport.deliver(attempt("bob"))
    kit.clock.advance(REST_SECONDS)
    assert [len(args[0]) for _, _, args in threads.calls] == [3]  # what came during a job, and a little after it
    threads.run()
    assert len(kit.letters("bob")) == 4
    assert kit.letters("alice")[0].read_bytes() == expected("alice")
    kit.transport.close()


def test_as_many_as_a_job_has_do_not_wait_for_the_end_of_a_rest(tmp_path: Path) -> None:
    threads = Later()
    kit = Kit(tmp_path, threads)
    kit.transport.deliver(attempt("alice"))
    threads.run()
    kit.transport.deliver_many([attempt("alice") for _ in range(JOB_LETTERS)])
    assert [len(args[0]) for _, _, args in threads.calls] == [JOB_LETTERS]
    kit.clock.advance(REST_SECONDS)  # a lane has one job at a time
    assert len(threads.calls) == 1
    kit.transport.close()


def test_flush_does_not_wait(kit: Kit) -> None:
    answers: list[Any] = []
    kit.transport.deliver(attempt("alice")).addCallback(answers.append)
    kit.transport.deliver(attempt("alice")).addCallback(answers.append)  # comes while the lane rests
    kit.transport.flush()
    assert len(kit.letters("alice")) == 2
    assert len(answers) == 2


def test_close_does_not_take_the_descriptors_from_a_sync(tmp_path: Path) -> None:
    threads = Later()
    kit = Kit(tmp_path, threads)
    answers: list[Any] = []
    before = len(os.listdir("/proc/self/fd"))
    kit.transport.deliver(attempt("alice")).addCallback(answers.append)
    threads.run()
    kit.clock.advance(0.5)
    kit.transport.close()
    threads.run()
    assert (len(answers), len(kit.syncs), kit.fatal) == (1, 1, [])
    assert len(os.listdir("/proc/self/fd")) == before


def test_close_waits_for_no_letter(kit: Kit) -> None:
    kit.transport.deliver(attempt("alice"))
    kit.transport.close()
    assert kit.clock.getDelayedCalls() == []


def test_nothing_begins_after_the_close(tmp_path: Path) -> None:
    threads = Later()
    kit = Kit(tmp_path, threads)
    for _ in range(2):
        kit.transport.deliver(attempt("alice"))
    kit.transport.close()
    threads.run()
    assert threads.calls == []
    assert kit.clock.getDelayedCalls() == []


def test_no_attempts_no_wait(kit: Kit) -> None:
    assert deliver(kit) == []


# What a crash leaves.


def crash_and_again(kit: Kit, one: Attempt) -> Outcome:
    again = attempt(*(str(r.mailbox.local_part) for r in one.recipients), again=True, queue_id=one.queue_id)
    (outcome,) = deliver(kit, again)
    return outcome


def test_a_leftover_in_tmp_is_replaced(kit: Kit) -> None:
    one = attempt("alice")
    deliver(kit, one)
    (letter,) = kit.letters("alice")
    name = letter.name.partition(",")[0]
    letter.unlink()
    (kit.maildir("alice") / "tmp" / name).write_bytes(b"half a let")
    assert crash_and_again(kit, one).state is State.DELIVERED
    assert kit.letters("alice", "tmp") == []
    assert kit.letters("alice")[0].read_bytes() == expected("alice")


@pytest.mark.parametrize("flags", [None, ":2,", ":2,S"])
def test_a_whole_letter_is_recognised_wherever_its_owner_put_it(kit: Kit, flags: str | None) -> None:
    one = attempt("alice")
    deliver(kit, one)
    (letter,) = kit.letters("alice")
    if flags is not None:
        letter = letter.rename(kit.maildir("alice") / "cur" / (letter.name + flags))
    inode = letter.stat().st_ino
    assert crash_and_again(kit, one).state is State.DELIVERED
    assert len(kit.syncs) == 2  # recognised is not yet durable
    (found,) = kit.letters("alice") + kit.letters("alice", "cur")
    assert found == letter
    assert found.stat().st_ino == inode


@pytest.mark.parametrize("torn", [b"", b"Return-Path", bytes(len(expected("alice")))])
@pytest.mark.parametrize("folder", ["new", "cur"])
def test_a_torn_letter_is_written_again_over_itself(kit: Kit, torn: bytes, folder: str) -> None:
    one = attempt("alice")
    deliver(kit, one)
    (letter,) = kit.letters("alice")
    place = kit.maildir("alice") / folder / (letter.name + (":2,S" if folder == "cur" else ""))
    letter.rename(place)
    place.write_bytes(torn)
    assert crash_and_again(kit, one).state is State.DELIVERED
    assert kit.letters("alice") + kit.letters("alice", "cur") == [place]
    assert place.read_bytes() == expected("alice")


def test_a_letter_moved_between_the_names_and_the_look(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    one = attempt("alice")
    deliver(kit, one)
    (letter,) = kit.letters("alice")
    read_names = maildir_letter._names

    def names_then_the_owner_moves_it(box: Any) -> Any:
        names = read_names(box)
        if letter.exists():
            letter.rename(kit.maildir("alice") / "cur" / (letter.name + ":2,S"))
        return names

    monkeypatch.setattr(maildir_letter, "_names", names_then_the_owner_moves_it)
    assert crash_and_again(kit, one).state is State.DELIVERED
    assert kit.letters("alice") == []
    assert len(kit.letters("alice", "cur")) == 1


def test_a_letter_moved_again_and_again_while_we_look(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    one = attempt("alice")
    deliver(kit, one)
    read_names, flags = maildir_letter._names, iter(("", "S", "FS", "RS", "F"))

    def names_then_the_owner_flags_it(box: Any) -> Any:
        names = read_names(box)
        (letter,) = kit.letters("alice") or kit.letters("alice", "cur")
        if (flag := next(flags, None)) is not None:
            letter.rename(kit.maildir("alice") / "cur" / (letter.name.partition(":")[0] + ":2," + flag))
        return names

    monkeypatch.setattr(maildir_letter, "_names", names_then_the_owner_flags_it)
    assert crash_and_again(kit, one).state is State.DELIVERED
    assert kit.letters("alice") == []
    assert len(kit.letters("alice", "cur")) == 1


def test_old_letters_are_not_touched(kit: Kit) -> None:
    deliver(kit, attempt("alice"), attempt("alice"))
    before = [(letter, letter.stat().st_ino, letter.read_bytes()) for letter in kit.letters("alice")]
    deliver(kit, attempt("alice"), attempt("alice", again=True))
    after = [(letter, letter.stat().st_ino, letter.read_bytes()) for letter in kit.letters("alice")]
    assert len(after) == 4
    assert [each for each in after if each in before] == before


# One mailbox fails, or all of them.


def test_one_mailboxs_trouble_is_nobody_elses(kit: Kit) -> None:
    kit.maildir("bob").parent.mkdir(parents=True)
    kit.maildir("bob").write_bytes(b"not a directory")
    alice, bob, carol = deliver(kit, attempt("alice", "bob", "carol"))
    assert alice.state is carol.state is State.DELIVERED
    assert (bob.klass, bob.scope, str(bob.status)) == (Klass.TRANSIENT, Scope.RECIPIENT, "4.2.0")


def fail_once(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    write_all, calls = maildir_letter._write_all, []

    def fails(fd: int, piece: bytes) -> None:
        calls.append(piece)
        if len(calls) == 1:
            raise OSError(number, os.strerror(number))
        write_all(fd, piece)

    monkeypatch.setattr(maildir_letter, "_write_all", fails)


def test_a_quota_is_the_recipients_own(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_once(monkeypatch, errno.EDQUOT)
    alice, bob = deliver(kit, attempt("alice", "bob"))
    assert (alice.klass, alice.scope, str(alice.status)) == (Klass.TRANSIENT, Scope.RECIPIENT, "4.2.2")
    assert bob.state is State.DELIVERED
    assert kit.letters("alice", "tmp") == kit.letters("alice") == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_file_system_defers_the_batch(kit: Kit, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fail_once(monkeypatch, number)
    outcomes = deliver(kit, attempt("alice", "bob"), attempt("carol"))
    assert {(each.klass, each.scope, str(each.status)) for each in outcomes} == {
        (Klass.TRANSIENT, Scope.HOST, "4.3.1")
    }
    assert not kit.maildir("bob").exists()


def test_a_mailbox_without_a_place_is_transient(kit: Kit) -> None:
    mailbox = Mailbox("postmaster", None)
    one = attempt("alice")
    nowhere = Attempt(
        one.queue_id, one.envelope, (Recipient(0, mailbox, (Original(mailbox),)),), one.content, one.route, WALL
    )
    bare, alice = deliver(kit, nowhere, attempt("alice"))
    assert bare.klass is Klass.TRANSIENT
    assert alice.state is State.DELIVERED


def test_a_full_disk_at_the_sync_means_single_fsyncs(kit: Kit) -> None:
    kit.sync_error = errno.ENOSPC
    alice, bob = deliver(kit, attempt("alice", "bob"))
    assert alice.state is bob.state is State.DELIVERED
    assert kit.fatal == []


def test_a_letter_that_cannot_be_synced_is_gone_and_deferred(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync
    alice_is = f"{kit.maildir('alice')}/"

    def full_for_alice(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").startswith(alice_is):
            raise OSError(errno.EDQUOT, "quota")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", full_for_alice)
    kit.sync_error = errno.EDQUOT
    alice, bob = deliver(kit, attempt("alice", "bob"))
    assert str(alice.status) == "4.2.2"
    assert kit.letters("alice") == []
    assert bob.state is State.DELIVERED


def test_a_failed_sync_is_fatal_for_this_and_all_that_follows(kit: Kit) -> None:
    kit.sync_error = errno.EIO
    failures: list[Any] = []
    kit.transport.deliver(attempt("alice")).addErrback(failures.append)
    kit.clock.advance(0.5)
    kit.sync_error = 0
    kit.transport.deliver(attempt("bob")).addErrback(failures.append)
    assert [failure.check(SpoolFailed) for failure in failures] == [SpoolFailed, SpoolFailed]
    (reason,) = kit.fatal
    assert "Input/output error" in reason
    assert len(kit.syncs) == 1


def test_a_pool_that_stopped_is_not_fatal(tmp_path: Path) -> None:
    def refuses(kind: str, function: Any, *args: Any) -> Any:
        raise PoolFull("the server has stopped")

    kit = Kit(tmp_path, refuses)
    (outcome,) = deliver(kit, attempt("alice"))
    assert outcome.klass is Klass.TRANSIENT
    assert kit.fatal == []


# Other readers of the Maildir, and bounds.


def test_maildirsize_gets_a_line_where_it_exists(kit: Kit) -> None:
    kit.maildir("alice").mkdir(parents=True)
    counted = kit.maildir("alice") / "maildirsize"
    counted.write_bytes(b"1000000S\n")
    deliver(kit, attempt("alice", "bob"))
    assert counted.read_bytes() == b"1000000S\n%d 1\n" % len(expected("alice"))
    assert not (kit.maildir("bob") / "maildirsize").exists()


def test_descriptors_are_bounded_and_given_back(kit: Kit) -> None:
    before = len(os.listdir("/proc/self/fd"))
    users = [f"user{number}" for number in range(OPEN_AT_ONCE + 20)]
    kit.transport.deliver_many([attempt(user) for user in users])
    assert len(os.listdir("/proc/self/fd")) <= before + 3 * OPEN_AT_ONCE + 1
    kit.clock.advance(0.5)
    assert len(os.listdir("/proc/self/fd")) == before + 1  # the file system's own
    assert all(len(kit.letters(user)) == 1 for user in users)


def test_no_descriptor_for_the_file_system_is_one_rounds_trouble(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(os.listdir("/proc/self/fd"))

    def none_left(fd: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "dup", none_left)
        (outcome,) = deliver(kit, attempt("alice"))
    assert (outcome.klass, outcome.scope, str(outcome.status)) == (Klass.TRANSIENT, Scope.HOST, "4.3.0")
    assert len(os.listdir("/proc/self/fd")) == before
    assert deliver(kit, attempt("alice"))[0].state is State.DELIVERED
    assert kit.fatal == []


def test_a_maildir_made_anew_is_noticed_in_the_next_round(kit: Kit) -> None:
    deliver(kit, attempt("alice"))
    kit.maildir("alice").rename(kit.instance / "old")
    deliver(kit, attempt("alice"))
    assert len(kit.letters("alice")) == 1


def test_the_real_sync(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    maildir_sync.syncfs(fd)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        maildir_sync.syncfs(fd)
