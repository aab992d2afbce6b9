"""Some seeds of the simulation (``make simulate`` plays many), and that it is red where the queue has a defect."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import succeed

from mailserver.message.claim import Change, Settlement
from mailserver.message.outcome import Klass, Outcome, Scope
from mailserver.message.state import State
from mailserver.queue import reports
from mailserver.queue.destination import Windows
from mailserver.queue.manager import QueueManager
from mailserver.queue.reports import Reporter
from mailserver.queue.schedule import Schedule
from mailserver.queue.settling import Settling
from mailserver.spool.flight import Flights
from mailserver.spool.memory import MemorySpool
from mailserver.spool.memoryrows import DueIndex
from tests.simulation.run import simulate

ROOT = Path(__file__).parent.parent.parent
_TOGETHER = 50


@pytest.mark.parametrize("first", range(0, 300, _TOGETHER))
def test_seeds(first: int) -> None:
    for seed in range(first, first + _TOGETHER):
        ran = simulate(seed)
        assert not ran.wrongs, f"{ran.told()}\npython -m tests.simulation --seed {seed}"


def test_a_seed_tells_the_same_story_again() -> None:
    assert simulate(7).told() == simulate(7).told()


def test_the_command_tells_the_story_of_a_seed() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seed", "1"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert said == simulate(1).told() + "\n" + said.splitlines()[-1] + "\n"
    assert said.endswith("all is well\n")


# Defects: each must be seen, and for what it is. The seeds before the first that shows one are not many.

DEFECTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {}
_ENOUGH = 150


def defect(seen: str) -> Callable[[Any], Any]:
    """The function under it breaks something; what is seen of that contains `seen`."""

    def note(function: Callable[[pytest.MonkeyPatch], None]) -> Callable[[pytest.MonkeyPatch], None]:
        DEFECTS[function.__name__] = (function, seen)
        return function

    return note


@defect("stuck")
def settlements_are_dropped_at_a_full_disk(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Settling, "_no_room", lambda self, reason, batch: None)


@defect("a second copy")
def mail_is_sent_again_after_a_full_disk(patch: pytest.MonkeyPatch) -> None:
    def no_room(self: Any, reason: str, batch: Sequence[Settlement]) -> None:
        self.blocked = reason
        for one in batch:
            put_off = (Change(change.number, State.QUEUED) for change in one.changes)
            self._refused.append(Settlement(one.queue_id, tuple(put_off)))

    patch.setattr(Settling, "_no_room", no_room)


@defect("while nothing can be settled")
def work_goes_on_while_the_disk_is_full(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(QueueManager, "blocked", property(lambda self: None))


@defect("still in flight")
def what_is_claimed_is_claimed_again(patch: pytest.MonkeyPatch) -> None:
    begin = Flights.begin

    def forgetful(self: Any, queue_id: str, content: Any, numbers: Any, total: int, fates: bool = False) -> None:
        begin(self, queue_id, content, [*numbers][1:], total, fates)

    patch.setattr(Flights, "begin", forgetful)


@defect("is told once more")
def the_sender_is_told_twice(patch: pytest.MonkeyPatch) -> None:
    made = Reporter._reports

    async def twice(self: Any, owing: Any) -> Any:
        return await made(self, owing) + await made(self, owing)

    patch.setattr(Reporter, "_reports", twice)


@defect("0 reports of failed")
def a_report_is_lost(patch: pytest.MonkeyPatch) -> None:
    settlement = reports._settlement
    patch.setattr(reports, "_settlement", lambda claim, judged, stored=(): settlement(claim, judged))


@defect("two copies by one attempt")
def another_host_is_tried_after_a_lost_reply(patch: pytest.MonkeyPatch) -> None:
    about_host = property(lambda self: self.klass is not Klass.SUCCESS and self.scope is Scope.HOST)
    patch.setattr(Outcome, "about_host", about_host)


@defect("an attempt more than the windows allow")
def windows_have_no_bound(patch: pytest.MonkeyPatch) -> None:
    make = Windows.__init__
    patch.setattr(Windows, "__init__", lambda self, each, total: make(self, each + 1, total + 1))


@defect("before it is due")
def mail_is_tried_before_it_is_due(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DueIndex, "is_due", lambda self, row, now: row.state in (State.QUEUED, State.DEFERRED))


@defect("claimed, and held")
def what_is_held_is_tried(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("mailserver.spool.memoryrows._WAITING", (State.QUEUED, State.DEFERRED, State.HELD))


@defect("expired, which is not what happened")
def mail_is_given_up_too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Schedule, "expired", lambda self, arrived, attempted: attempted >= arrived + self.expire / 2)


@defect("stuck, it is deferred")
def mail_is_never_given_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Schedule, "expired", lambda self, arrived, attempted: False)


@defect("written twice")
def a_second_attempt_is_taken_for_a_first(patch: pytest.MonkeyPatch) -> None:
    job = QueueManager._job

    def first(self: Any, claim: Any, recipients: Any, route: Any) -> Any:
        made = job(self, claim, recipients, route)
        return replace(made, attempt=replace(made.attempt, again=False))

    patch.setattr(QueueManager, "_job", first)


@defect("removed, then")
def what_is_removed_comes_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("mailserver.spool.memoryrows.accepted", lambda current, wanted, claimed, active: wanted)


@defect("an orderly stop forgot it")
def a_stop_does_not_settle(patch: pytest.MonkeyPatch) -> None:
    stop = MemorySpool.stop

    def dropped(self: Any) -> Any:
        self._works.clear()
        return stop(self)

    patch.setattr(Settling, "drained", lambda self: succeed(None))
    patch.setattr(MemorySpool, "stop", dropped)


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, seen = DEFECTS[name]
    function(monkeypatch)
    found = (wrong for seed in range(_ENOUGH) for wrong in simulate(seed).wrongs)
    first = next((wrong for wrong in found if seen in wrong), None)
    assert first is not None
