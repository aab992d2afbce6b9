"""One side only: a host that takes mail and delivers none, and one that drains its queue and takes none."""

from __future__ import annotations

import smtplib
from collections.abc import Callable

import pytest

from tests.harness.daemon import DOMAIN, Daemon, until
from tests.harness.peer import Peer

pytestmark = pytest.mark.daemon

ALICE = f"alice@{DOMAIN}"
ONLY_RECEPTION = "[queue]\nenabled = false\n"
ONLY_QUEUE = "[reception]\nenabled = false\n"
BOTH = "[queue]\nretry = [1]\n"


def take(daemon: Daemon, recipient: str, subject: str) -> None:
    with daemon.submission() as client:
        client.sendmail(ALICE, [recipient], f"From: {ALICE}\r\nSubject: {subject}\r\n\r\nx\r\n")


def shut(daemon: Daemon) -> bool:
    for port in (2525, 2587, 2465):
        try:
            smtplib.SMTP(daemon.address, port, timeout=5).close()
        except ConnectionRefusedError:
            continue
        return False
    return True


def test_what_one_process_took_the_next_one_delivers(
    daemons: Callable[..., Daemon], hops: Callable[..., Peer]
) -> None:
    hop = hops().up()
    route = f'[routes."far.test"]\nhost = "{hop.place}"\ntls = "off"\n'
    daemon = daemons(ONLY_RECEPTION + route).start()
    take(daemon, ALICE, "here")
    take(daemon, "zoe@far.test", "there")
    assert [row["state"] for row in daemon.queue()] == ["queued", "queued"]
    daemon.stop()

    daemon.write_settings(ONLY_QUEUE + route)
    daemon.start()
    assert shut(daemon)
    daemon.wait_letters(1)
    hop.wait(1)
    until(daemon.queue, lambda rows: not rows)
    assert daemon.control("status")["listeners"]
    daemon.stop()

    daemon.write_settings(BOTH + route)
    daemon.start()
    take(daemon, "zoe@far.test", "again")
    hop.wait(2)
    assert len(daemon.letters()) == 1


def test_reception_restarts_while_accepted_mail_waits(
    daemons: Callable[..., Daemon], hops: Callable[..., Peer]
) -> None:
    hop = hops()
    route = f'[routes."far.test"]\nhost = "{hop.place}"\ntls = "off"\n'
    daemon = daemons(BOTH + route).start()
    take(daemon, "zoe@far.test", "waits")
    daemon.wait_queue(lambda states: states == {"zoe@far.test": "deferred"})
    for settings in (ONLY_QUEUE, ONLY_RECEPTION, ONLY_RECEPTION, BOTH):
        daemon.stop()
        daemon.write_settings(settings + route)
        daemon.start()
        assert shut(daemon) is (settings == ONLY_QUEUE)
        assert [row["recipient"] for row in daemon.queue()] == ["zoe@far.test"]
    hop.up()
    (received,) = hop.wait(1)
    assert received.recipients == ("zoe@far.test",)
