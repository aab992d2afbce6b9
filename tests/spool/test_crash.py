"""kill -9 of a process that stores and settles, and what the next one finds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mailserver.message import Change, Settlement, State
from mailserver.spool.contract import Query

# Says "stored ID" after the commit of a message, "settled ID" after the commit of its settlement, and goes on
# until it is killed. Messages alternate between small (a row) and large (a file); each has three recipients,
# of which one is deferred.
WORKER = """
import os, sys
from pathlib import Path
from tests.spool.conftest import Harness
from mailserver.message import Change, Settlement, State

harness = Harness(Path(sys.argv[1]))
spool = harness.open()

def say(text):
    os.write(1, (text + "\\n").encode())

def fresh(claims):
    for claim in claims:
        say(f"stored {claim.queue_id}")
        changes = (Change(0, State.DELIVERED), Change(1, State.RELAYED), Change(2, State.DEFERRED, due=0.0))
        done = spool.settle([Settlement(claim.queue_id, changes)])
        done.addCallback(lambda _ids, queue_id=claim.queue_id: say(f"settled {queue_id}"))

spool.subscribe(fresh)
number = 0
waiting = []
while True:
    number += 1
    waiting.append(spool.store(harness.message(3, b"Subject: x\\n\\n" + b"x" * (number % 2 * 3000))))
    if len(waiting) > 10:
        harness.wait(waiting.pop(0))
"""


def killed(directory: Path, after: int) -> tuple[set[str], set[str]]:
    """Run the worker until it has said that many lines; the ids it said were stored, and settled."""
    root = Path(__file__).parents[2]
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(directory)],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert worker.stdout is not None
    lines = [worker.stdout.readline() for _ in range(after)]
    worker.send_signal(signal.SIGKILL)
    lines += [line for line in worker.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
    worker.stdout.close()
    assert worker.wait() == -signal.SIGKILL
    said: dict[str, set[str]] = {"stored": set(), "settled": set()}
    for line in lines:
        what, queue_id = line.decode().split()
        said[what].add(queue_id)
    return said["stored"], said["settled"]


@pytest.mark.parametrize("after", [1, 120, 333])
def test_whatever_was_answered_is_there_once(harness: Any, after: int) -> None:
    stored, settled = killed(harness.directory, after)
    assert stored
    assert settled <= stored
    spool = harness.open()
    assert spool.unclean
    listed = {message.queue_id: message for message in spool.find(Query(limit=100_000)).messages}
    assert stored <= listed.keys()
    for queue_id, message in listed.items():
        states = [one.state for one in message.recipients]
        unpacked = [State.DELIVERED, State.RELAYED, State.DEFERRED]
        if queue_id in settled:
            assert states == unpacked
        else:  # what was committed but not said may be either, and never half
            assert states in (unpacked, [State.QUEUED] * 3)
    named = set()
    claims = list(spool.claim(harness.clock.now, 100_000))
    assert {claim.queue_id for claim in claims} == listed.keys()
    for claim in claims:
        octets = b"".join(claim.content.pieces())
        assert (octets[:12], len(octets)) in ((b"Subject: x\n\n", 12), (b"Subject: x\n\n", 3012))
        if claim.content.file:
            named.add(claim.content.file)
    assert harness.files() == named
    rest = [
        Settlement(claim.queue_id, tuple(Change(one.number, State.DELIVERED) for one in claim.recipients))
        for claim in claims
    ]
    harness.wait(spool.settle(rest))
    assert (spool.counts()["messages"], harness.files()) == (0, set())
