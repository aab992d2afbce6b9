"""``kill -9`` under load, three times on one instance: a 250 is a letter, and a queue id is one letter."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable

import pytest

from tests.harness.daemon import DOMAIN, Daemon, until
from tests.harness.ondisk import contents, id_in_name, queued, unfinished
from tests.harness.sender import Client, Crowd, body_of, message, token_of

pytestmark = pytest.mark.daemon

ALICE = f"alice@{DOMAIN}"
MESSAGES, CONNECTIONS, KILLS = 2_000, 20, 3
RECEIVED_ID = re.compile(rb"\tby mx\.mail\.test with ESMTP id (\w+)\n")
Make = Callable[..., Daemon]


def content(token: str) -> bytes:
    """Mostly small; every hundredth is over the cap and goes to a file."""
    return message(token, 300_000 if token.endswith("00") else 2_000)


def test_every_250_is_a_letter_and_no_queue_id_is_there_twice(make: Make) -> None:
    daemon = make()
    tokens = [f"t{number}" for number in range(MESSAGES)]
    crowd = Crowd(daemon.address, ALICE, content)
    for kill in range(1, KILLS + 1):
        daemon.start()
        threads = crowd.run(tokens, CONNECTIONS)
        crowd.wait(MESSAGES * kill // (KILLS + 1))
        daemon.kill()
        for thread in threads:
            thread.join()
        assert len(crowd.accepted) < MESSAGES, "the kill came too late to prove anything"
    daemon.start()
    for thread in crowd.run(tokens, CONNECTIONS):
        thread.join()
    assert crowd.surprises == []
    assert len(crowd.accepted) == MESSAGES
    until(lambda: queued(daemon), lambda count: count == 0, 30)
    daemon.stop()
    check(daemon, crowd)


def check(daemon: Daemon, crowd: Crowd) -> None:
    """Compare what is in the Maildir with what the clients were told."""
    ids: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for letter in daemon.letters():
        octets = letter.read_bytes()
        token = token_of(octets)
        assert body_of(octets) == body_of(content(token).replace(b"\r\n", b"\n"))
        assert RECEIVED_ID.findall(octets) == [id_in_name(letter).encode()]
        ids[id_in_name(letter)] += 1
        tokens[token] += 1
    assert set(crowd.accepted.values()) - set(ids) == set(), "accepted and lost"
    assert [queue_id for queue_id, count in ids.items() if count > 1] == []
    twice = {token for token, count in tokens.items() if count > 1}
    assert twice - crowd.uncertain == set(), "there twice, although the first time was answered"
    assert unfinished(daemon) == []
    assert contents(daemon) == []


def test_a_new_spool_leaves_the_old_letters_alone(make: Make) -> None:
    daemon = make().start()
    send(daemon, 20)
    daemon.wait_letters(20)
    daemon.kill()
    before = {letter: (letter.stat(), letter.read_bytes()) for letter in daemon.letters()}
    shutil.rmtree(daemon.instance / "spool")
    daemon.start()
    send(daemon, 20)
    daemon.wait_letters(40)
    until(lambda: queued(daemon), lambda count: count == 0)
    after = {letter: (letter.stat(), letter.read_bytes()) for letter in daemon.letters()}
    assert len(after) == 40
    for letter, (stat, octets) in before.items():
        assert after[letter][1] == octets
        assert (after[letter][0].st_ino, after[letter][0].st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns)


def send(daemon: Daemon, count: int) -> None:
    client = Client(daemon.address)
    for number in range(count):
        assert client.send(message(f"t{number}"), ALICE).code == 250
    client.close()
