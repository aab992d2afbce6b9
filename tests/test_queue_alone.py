"""The relay queue by itself: crashes of programs that send, and an old instance. (tests/docs has the manual.)"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.peer import Peer

ROOT = Path(__file__).parent.parent
OLD = ROOT / "tests/data/version-1"
# Common to the programs below: `queue` for argv[1], a route for remote.example to argv[2], and `go(main)`.
START = """
import json, os, sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from mailserver.relay import build_queue
from mailserver.settings import Queue, Settings, StaticRoute

def say(*words):
    os.write(1, (json.dumps(words) + chr(10)).encode())

routes = [StaticRoute(domain=name, host=sys.argv[2], tls="off") for name in ("remote.example", "far.example")]
settings = Settings(instance=sys.argv[1], host_name="mx.here.example", routes=routes, queue=Queue(retry=[1]))
queue = build_queue(settings, reactor=reactor)

def go(main):
    def ended(result):
        if result is not None:
            result.printTraceback()
        reactor.stop()
    queue.startService()
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()).addBoth(ended))
    reactor.run()
"""


@pytest.fixture
def hop(hops: Callable[..., Peer]) -> Peer:
    return hops().up()


class Program:
    """A Python program in a directory of its own; it says lists of words, a line each, in JSON."""

    def __init__(self, directory: Path, text: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", text, *arguments],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )

    def said(self) -> list[Any]:
        """The next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the program has ended"
        words: list[Any] = json.loads(line)
        return words

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def rest(self) -> list[Any]:
        """What it says until it ends by itself."""
        said, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        return [json.loads(line) for line in said.splitlines()]


def run(directory: Path, text: str, *arguments: str) -> list[Any]:
    return Program(directory, text, *arguments).rest()


# Crashes.

SEND = """
async def main():
    sent = await queue.outbox.send(b"Subject: x\\n\\n" + b"x" * int(sys.argv[3]), sender="",
        recipients=["a@remote.example"], key="order-42")
    say("sent", sent.queue_id)
    fates = await sent.settled(timeout=60)
    say("settled", *(f"{to} {fate.state.value}" for to, fate in fates.items()))
    await queue.stopService()
go(main)
"""


@pytest.mark.parametrize("size", [10, 300_000], ids=["row", "file"])
def test_killed_between_send_and_settlement(size: int, tmp_path: Path, hop: Peer) -> None:
    hop.gate.clear()
    first = Program(tmp_path, START + SEND, "queue", hop.place, str(size))
    _, queue_id = first.said()
    hop.wait_contents(1)  # it is on the wire, and not answered
    first.kill()
    hop.gate.set()
    # The program knows nothing and sends again: the same message, and the queue delivers it.
    said = run(tmp_path, START + SEND, "queue", hop.place, str(size))
    assert said == [["sent", queue_id], ["settled", "a@remote.example relayed"]]
    assert run(tmp_path, START + SEND, "queue", hop.place, str(size)) == said
    assert {received.content[-10:] for received in hop.received} == {b"x" * 9 + b"\n"}


SENDER = """
count = int(sys.argv[3])
async def main():
    while True:
        name = f"k{count}"
        globals()["count"] += 1
        sent = await queue.outbox.send(b"Subject: x\\n\\n" + name.encode() + b"\\n", sender="",
            recipients=["a@remote.example"], key=name)
        say(name, sent.queue_id)
go(main)
"""
CHECK = """
async def main():
    ids = json.loads(sys.argv[3])
    for name, queue_id in ids.items():
        again = await queue.outbox.send(b"other", sender="", recipients=["b@remote.example"], key=name)
        fates = await again.settled(timeout=60)
        say(name, again.queue_id == queue_id, *(f"{to} {fate.state.value}" for to, fate in fates.items()))
    await queue.stopService()
go(main)
"""


def test_whatever_was_sent_before_a_kill_is_there_once_and_gets_its_fate(tmp_path: Path, hop: Peer) -> None:
    ids: dict[str, str] = {}
    for _ in range(3):
        program = Program(tmp_path, START + SENDER, "queue", hop.place, str(len(ids)))
        ids.update(dict(program.said() for _ in range(40)))
        program.kill()
    said = run(tmp_path, START + CHECK, "queue", hop.place, json.dumps(ids))
    assert said == [[name, True, "a@remote.example relayed"] for name in ids]
    assert {received.recipients for received in hop.received} == {("a@remote.example",)}


# Says every call of the handler; the third of each process never ends. Sends argv[3] messages first.
HANDLE = """
calls = []
def handler(settled):
    calls.append(settled)
    say(settled.key, settled.number)
    if len(calls) == 3 and sys.argv[4] == "hang":
        return Deferred()
    if settled.number == int(sys.argv[3]):
        reactor.callLater(0, done.callback, None)

done = Deferred()
queue.outbox.on_settled("billing", handler)
async def main():
    for number in range(int(sys.argv[3])):
        await queue.outbox.send(b"Subject: x\\n\\nx\\n", sender="", recipients=["a@remote.example"],
            key=f"k{number}")
    await done
    await queue.stopService()
go(main)
"""


def test_a_handler_is_called_at_least_once_over_kills_and_not_again_after_that(tmp_path: Path, hop: Peer) -> None:
    calls: list[Any] = []
    for _ in range(3):
        program = Program(tmp_path, START + HANDLE, "queue", hop.place, "9", "hang")
        calls += [program.said() for _ in range(3)]
        program.kill()
    calls += run(tmp_path, START + HANDLE, "queue", hop.place, "9", "")
    numbers = [number for _key, number in calls]
    assert sorted(set(numbers)) == list(range(1, 10))
    # Between two kills in order, and each start no further back than the call that hung and those of one commit.
    assert numbers[:3] == [1, 2, 3]
    for start in (3, 6, 9):
        assert numbers[start] <= numbers[start - 1]
        assert numbers[start] >= numbers[start - 3]
        assert numbers[start : start + 3] == list(range(numbers[start], numbers[start] + 3))
    assert len({key for key, _number in calls}) == 9
    assert run(tmp_path, START + HANDLE, "queue", hop.place, "10", "") == [["k9", 10]]


# An instance of the first schema: three messages wait, of one of which a recipient is delivered.

DRAIN = """
async def main():
    waiting = [message.queue_id for message in queue.spool.find(Query()).messages]
    say("waiting", *waiting)
    while queue.spool.counts()["messages"]:
        await deferLater(reactor, 0.05, lambda: None)
    sent = await queue.outbox.send(b"Subject: new", sender="", recipients=["anna@here.example"], key="new")
    say("fate", (await sent.settled(timeout=60))["anna@here.example"].state.value)
    await queue.stopService()
from twisted.internet.task import deferLater
from mailserver.message.query import Query
go(main)
"""


def test_an_instance_of_schema_version_1_opens_and_its_mail_is_delivered(tmp_path: Path, hop: Peer) -> None:
    instance = tmp_path / "old"
    shutil.copytree(OLD, instance)
    ids = ["06gywnjy00nr0qk3p7a311r", "06gywnk1x1x4rmckstmdd48", "06gywnk5t1anggn7re8epc8"]
    said = run(tmp_path, START + DRAIN, str(instance), hop.place)
    assert said == [["waiting", *ids], ["fate", "delivered"]]
    received = {one.content.partition(b"Subject: ")[2].split(b"\n")[0]: one for one in hop.received}
    assert received[b"packed"].recipients == ("bert@far.example",)
    assert received[b"unpacked"].recipients == ("bert@far.example", "cleo@far.example")
    assert received[b"in a file"].content.count(b"line of a larger content\n") == 60
    assert {one.sender for one in hop.received} == {"carl@else.example"}
    letters = [path.read_bytes() for path in (instance / "maildirs/here.example/anna/new").iterdir()]
    assert sorted(re.findall(rb"Subject: (\w+)", b"".join(letters))) == [b"new", b"packed"]
    assert list((instance / "spool/content").iterdir()) == []
    connection = sqlite3.connect(instance / "spool/spool.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    connection.close()


def test_the_stored_instance_is_what_it_says() -> None:
    connection = sqlite3.connect(f"file:{OLD / 'spool/spool.db'}?mode=ro&immutable=1", uri=True)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    rows = connection.execute("SELECT unpacked, total, file IS NOT NULL FROM messages ORDER BY id").fetchall()
    assert rows == [(0, 2, 0), (1, 3, 0), (0, 1, 1)]
    states = connection.execute("SELECT state FROM recipients ORDER BY number").fetchall()
    assert states == [("delivered",), ("deferred",), ("deferred",)]
    connection.close()
