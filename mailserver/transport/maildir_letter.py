"""One letter for one Maildir: its name, its octets, writing it without sync, knowing it again after a crash.

The name is a function of queue id and recipient number, the octets are a function of the stored row (no time
of the attempt), so a repeated attempt recognises its own file and never touches another's::

    on disk when an attempt is repeated               what happens
    nothing, or a file in tmp/                        tmp/NAME is unlinked, the letter written
    NAME in new/ or cur/, empty, short or different   written in tmp/, renamed over it
    NAME in new/ or cur/, the right octets            nothing is written; it only waits for the next sync

A letter passes from the reactor to a disk thread and back; one thread at a time holds it. Errors leave
:func:`write` as OSError; :func:`failure` says what such an error means for the recipient.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mailserver.message.outcome import Outcome, Scope, transient
from mailserver.message.prepared import milliseconds_of
from mailserver.message.route import Attempt
from mailserver.smtp.status import Status
from mailserver.transport.maildir_box import Box

HOST_ERRORS = frozenset({errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.ENFILE})
# A letter that its owner moves or flags while we look is looked for so many times: a second copy is worse.
LOOKS = 10
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_MAILBOX_FULL = Status(4, 2, 2)
_MAILBOX_TROUBLE = Status(4, 2, 0)
_SYSTEM_FULL = Status(4, 3, 1)
_SYSTEM_TROUBLE = Status(4, 3, 0)
_FULL_ERRORS = frozenset({errno.ENOSPC, errno.EROFS})


@dataclass(slots=True, eq=False)
class Letter:
    """Recipient `index` of an attempt, on its way into the Maildir at `path`.

    ``device`` and ``where`` (``new/NAME,S=…``) are set once the letter stands there; ``outcome`` once it failed.
    """

    attempt: Attempt
    index: int
    path: Path
    device: int = -1
    where: str = ""
    outcome: Outcome | None = None

    @property
    def name(self) -> str:
        """The letter's name without size and flags."""
        queue_id = self.attempt.queue_id
        number = self.attempt.recipients[self.index].number
        return f"{milliseconds_of(queue_id) // 1000}.{queue_id}R{number}.mail"

    def head(self) -> bytes:
        """The lines that come before the stored octets (RFC 5321 §4.4), and the content's own trace."""
        attempt = self.attempt
        sender = attempt.route.reverse_path or attempt.envelope.reverse_path
        mailbox = attempt.recipients[self.index].mailbox
        lines = f"Return-Path: <{sender}>\nDelivered-To: {mailbox}\n"
        return lines.encode("utf-8", "surrogateescape") + attempt.content.head

    def octets(self, head: bytes) -> Iterator[bytes]:
        """What the file has, in pieces. In one piece where the content is in memory: one write, then."""
        content = self.attempt.content
        if content.file is None:
            yield b"".join((head, *content.pieces()))
        else:
            yield head
            yield from content.pieces()

    def size(self, head: bytes) -> int:
        """How many octets that is."""
        content = self.attempt.content
        return content.stored - len(content.head) + len(head)


class Listing:
    """The names in ``new/`` and ``cur/`` of a Maildir, read once for a batch of repeated attempts."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] | None = None

    def find(self, name: str, box: Box) -> list[str]:
        """Every ``new/NAME`` and ``cur/NAME`` with or without size and flags after it."""
        if self._names is None:
            self._names = _names(box)
        return self._names.get(name, [])

    def forget(self) -> None:
        """Read the directories again: what they said is not true any more."""
        self._names = None


def _names(box: Box) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    # new/ first: a letter that its reader moves meanwhile is then seen in at least one of them.
    for folder, fd in (("new", box.new), ("cur", box.cur)):
        for entry in os.listdir(fd):
            base = entry.partition(":")[0].partition(",")[0]
            names.setdefault(base, []).append(f"{folder}/{entry}")
    return names


def write(letter: Letter, box: Box, listing: Listing) -> None:
    """Bring the letter into the Maildir, without any sync. Raises OSError; no half letter remains then."""
    name, head = letter.name, letter.head()
    size = letter.size(head)
    where = f"new/{name},S={size}"
    if letter.attempt.again:
        _unlink(name, box.tmp)
        found = _look(name, letter, box, listing)
        if found.whole:
            letter.where, letter.device = found.place, box.device
            return
        where = found.place or where
    _write_new(name, where, letter.octets(head), box)
    letter.where, letter.device = where, box.device
    if box.counted:
        box.count(size)


@dataclass(frozen=True, slots=True)
class _Found:
    """What an earlier attempt left: where ("" for nothing), and whether it is the letter."""

    place: str = ""
    whole: bool = False


def _look(name: str, letter: Letter, box: Box, listing: Listing) -> _Found:
    for _ in range(LOOKS):
        try:
            return _compare(listing.find(name, box), letter, box)
        except FileNotFoundError:
            listing.forget()  # its owner moved it after we read the names
    return _Found()


def _compare(places: list[str], letter: Letter, box: Box) -> _Found:
    head = letter.head()
    for place in places:
        if _whole(place, letter, head, box):
            return _Found(place, True)
    return _Found(places[0]) if places else _Found()


def _write_new(name: str, where: str, octets: Iterator[bytes], box: Box) -> None:
    folder, _, entry = where.partition("/")
    fd = _create(name, box.tmp)
    try:
        try:
            for piece in octets:
                _write_all(fd, piece)
        finally:
            os.close(fd)
        os.rename(name, entry, src_dir_fd=box.tmp, dst_dir_fd=box.new if folder == "new" else box.cur)
    except BaseException:
        _unlink(name, box.tmp)
        raise


def _create(name: str, tmp: int) -> int:
    try:
        return os.open(name, _CREATE, 0o600, dir_fd=tmp)
    except FileExistsError:
        # Ours from an attempt that nobody remembers: the name belongs to this letter alone.
        _unlink(name, tmp)
        return os.open(name, _CREATE, 0o600, dir_fd=tmp)


def _write_all(fd: int, piece: bytes) -> None:
    written = os.write(fd, piece)
    while written < len(piece):
        written += os.write(fd, memoryview(piece)[written:])


def _unlink(name: str, fd: int) -> None:
    try:
        os.unlink(name, dir_fd=fd)
    except FileNotFoundError:
        return


def _whole(place: str, letter: Letter, head: bytes, box: Box) -> bool:
    """Whether the file at `place` has exactly the letter's octets, on disk."""
    folder, _, entry = place.partition("/")
    fd = os.open(entry, os.O_RDONLY | os.O_CLOEXEC, dir_fd=box.new if folder == "new" else box.cur)
    try:
        if os.fstat(fd).st_size != letter.size(head):
            return False
        # After a failed write-back the cache may hold what the disk does not: drop what is clean, read again.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return all(_read(fd, len(piece)) == piece for piece in letter.octets(head))
    finally:
        os.close(fd)


def _read(fd: int, count: int) -> bytes:
    octets = os.read(fd, count)
    while len(octets) < count:
        more = os.read(fd, count - len(octets))
        if not more:
            break
        octets += more
    return octets


def failure(error: OSError) -> Outcome:
    """What an error of the system means: one mailbox's trouble, unless the whole file system has it."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in HOST_ERRORS:
        status = _SYSTEM_FULL if error.errno in _FULL_ERRORS else _SYSTEM_TROUBLE
        return transient(f"the mail store cannot be written: {reason}", status, Scope.HOST)
    if error.errno == errno.EDQUOT:
        return transient("the mailbox is over its quota", _MAILBOX_FULL)
    return transient(f"the mailbox cannot be written: {reason}", _MAILBOX_TROUBLE)
