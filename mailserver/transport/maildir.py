"""Delivery into Maildirs: written at once and without sync, durable in bulk, then reported.

The message is safe in the spool meanwhile, so nothing here is in a hurry to sync. Per recipient: open in
``tmp/``, write, close, rename into ``new/``. Every half second or 1,000 letters one ``syncfs`` makes them
durable (`maildir_sync`), and only then does an attempt answer ``delivered``: its removal from the spool must
not be on disk before the letter is. Two lanes write on the disk pool, one for contents in memory and one for
contents in files, each one job at a time: 25 MiB never waits in front of 4 KiB, and what arrives during a job,
or within 20 ms after it, joins the next.

One mailbox's trouble (quota, permissions, a directory in its way) is that recipient's transient outcome. A
full or read-only file system has scope host: what is left of the job is deferred with it. A failed sync calls
``on_fatal`` and raises SpoolFailed. What a crash leaves on disk, and how it is recognised, is the table in
`maildir_letter`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from mailserver.interfaces import ITransport, SpoolFailed
from mailserver.message.envelope import Recipient
from mailserver.message.outcome import Outcome, Scope, delivered, surprise, transient
from mailserver.message.route import Attempt
from mailserver.smtp.status import Status
from mailserver.transport.maildir_box import Shelf
from mailserver.transport.maildir_letter import Letter, Listing, failure, write
from mailserver.transport.maildir_path import Template
from mailserver.transport.maildir_sync import Rounds, World

# A job ends after so many letters, that the first of them join a round of syncs in time.
JOB_LETTERS = 250
# A lane rests after a job, so that under load a job has many letters: each costs two turns between threads.
REST_SECONDS = 0.02
_DELIVERED = delivered()


class _Call:
    """One call of deliver_many: its letters come home one by one, in any order."""

    __slots__ = ("done", "left", "outcomes")

    def __init__(self, left: int) -> None:
        self.left = left
        self.outcomes: dict[Attempt, dict[Recipient, Outcome]] = {}
        self.done: Deferred[dict[Attempt, dict[Recipient, Outcome]]] = Deferred()

    def home(self, letter: Letter, outcome: Outcome) -> None:
        attempt = letter.attempt
        self.outcomes[attempt][attempt.recipients[letter.index]] = outcome
        self.left -= 1
        if self.left == 0:
            self.done.callback(self.outcomes)

    def fail(self, reason: str) -> None:
        if not self.done.called:
            self.done.errback(SpoolFailed(reason))


_Job = list[tuple[_Call, Letter]]


@implementer(ITransport)
class MaildirTransport:
    """Delivers to the Maildir that `template` names for each recipient, below `instance` unless absolute."""

    def __init__(self, template: str, instance: Path, world: World) -> None:
        self._template = Template(template, instance)
        self._shelf = Shelf()
        self._rounds = Rounds(self._shelf, world)
        self._lanes = tuple(_Lane(self._shelf, self._rounds, world) for _ in range(2))

    def deliver(self, attempt: Attempt) -> Deferred[Mapping[Recipient, Outcome]]:
        """One outcome per recipient, once durable. Raises SpoolFailed."""
        return self.deliver_many((attempt,)).addCallback(lambda outcomes: outcomes[attempt])

    def deliver_many(self, attempts: Sequence[Attempt]) -> Deferred[Any]:
        """The outcomes of all these attempts, once all are durable or failed. Raises SpoolFailed."""
        call = _Call(sum(len(attempt.recipients) for attempt in attempts))
        jobs: tuple[_Job, _Job] = ([], [])
        for attempt in attempts:
            call.outcomes[attempt] = {}
            job = jobs[attempt.content.file is not None]
            for index in range(len(attempt.recipients)):
                self._address(attempt, index, call, job)
        for lane, job in zip(self._lanes, jobs, strict=True):
            if job:
                lane.add(job)
        if not attempts:
            call.done.callback(call.outcomes)
        return call.done

    def _address(self, attempt: Attempt, index: int, call: _Call, job: _Job) -> None:
        mailbox = attempt.recipients[index].mailbox
        try:
            job.append((call, Letter(attempt, index, self._template.path(mailbox))))
        except ValueError as error:
            outcome = transient(f"{mailbox} has no Maildir: {error}", Status(4, 2, 0))
            call.home(Letter(attempt, index, Path()), outcome)

    def flush(self) -> None:
        """Sync what is written now, without waiting for the half second: the server is stopping."""
        for lane in self._lanes:
            lane.hurry()
        self._rounds.now()

    def close(self) -> None:
        """Give the descriptors back. An attempt still under way is never answered; its message stays queued."""
        for lane in self._lanes:
            lane.close()
        self._rounds.close()


class _Lane:
    """Writes letters, one job at a time, on the disk pool."""

    def __init__(self, shelf: Shelf, rounds: Rounds, world: World) -> None:
        self._shelf = shelf
        self._rounds = rounds
        self._threads = world.threads
        self._later = world.later
        self._waiting: _Job = []
        self._busy = False
        self._closed = False
        self._rest: Any = None

    def add(self, job: _Job) -> None:
        self._waiting += job
        if not self._busy and (self._rest is None or len(self._waiting) >= JOB_LETTERS):
            self._next()

    def hurry(self) -> None:
        """Do not rest: the server is stopping."""
        if self._rest is not None:
            self._rest.cancel()
            self._rested()

    def close(self) -> None:
        """Begin nothing more."""
        self._closed = True
        self._waiting.clear()
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _rested(self) -> None:
        self._rest = None
        if not self._busy:
            self._next()

    def _next(self) -> None:
        job = self._waiting[:JOB_LETTERS]
        if not job:
            return
        self._waiting = self._waiting[JOB_LETTERS:]
        self._busy = True
        letters = [letter for _, letter in job]
        maybeDeferred(self._threads, "disk", self._write, letters).addBoth(self._written, job)

    def _written(self, result: Any, job: _Job) -> None:
        self._busy = False
        if result is not None:
            for _, letter in job:
                letter.outcome = surprise(result.getErrorMessage())
        good: _Job = []
        for call, letter in job:
            if letter.outcome is None:
                good.append((call, letter))
            else:
                call.home(letter, letter.outcome)
        if good:
            self._rounds.join([letter for _, letter in good], lambda failed: _report(good, failed))
        if self._busy:
            return
        if len(self._waiting) >= JOB_LETTERS:
            self._next()
        elif self._rest is None and not self._closed:
            self._rest = self._later(REST_SECONDS, self._rested)

    def _write(self, letters: Sequence[Letter]) -> None:
        """On a disk thread: every letter gets its place, or its outcome."""
        listings: dict[Path, Listing] = {}
        for position, letter in enumerate(letters):
            try:
                self._write_one(letter, listings)
            except OSError as error:
                letter.outcome = failure(error)
                if letter.outcome.scope is Scope.HOST:
                    for rest in letters[position + 1 :]:
                        rest.outcome = letter.outcome
                    return

    def _write_one(self, letter: Letter, listings: dict[Path, Listing]) -> None:
        box = self._shelf.take(letter.path)
        try:
            listing = listings.get(letter.path)
            if listing is None:
                listing = listings[letter.path] = Listing()
            write(letter, box, listing)
        finally:
            self._shelf.give(box)


def _report(job: _Job, failed: str) -> None:
    for call, letter in job:
        if failed:
            call.fail(failed)
        else:
            call.home(letter, letter.outcome or _DELIVERED)
