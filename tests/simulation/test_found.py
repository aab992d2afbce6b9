"""What the simulation has found, each as the smallest plan that shows it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mailserver.message.envelope import Envelope, Original
from mailserver.smtp.address import Mailbox
from tests.simulation.hosts import Moods
from tests.simulation.plan import DOMAINS, SENDERS_DOMAIN, Message, Plan, Trouble
from tests.simulation.run import simulate

GOOD = Moods([(0.0, "good")])


def plan(messages: list[Message], troubles: list[Trouble]) -> Plan:
    """Everybody else is well."""
    hosts = {domain: [f"mx0.{domain}"] for domain in (*DOMAINS, SENDERS_DOMAIN)}
    moods = dict.fromkeys(["local", *hosts, *(name for names in hosts.values() for name in names)], GOOD)
    return Plan((60, 3600), 2, 4, "on", messages, hosts, moods, troubles, 0.0)


@pytest.mark.parametrize(
    ("names", "report"),
    [
        # Local mail is collected before the list is expanded, and goes out as a batch behind it.
        (("ben@here.test", "team@here.test"), "expanded"),
        # An unknown name fails while it is routed, and others are routed after it.
        (("nobody@here.test", "u0@d2.test", "u1@d3.test"), "failed"),
    ],
)
def test_no_attempt_begins_in_the_turn_in_which_a_report_had_no_room(names: Sequence[str], report: str) -> None:
    envelope = Envelope(Mailbox.parse("s@home.test"))
    originals = tuple(Original(Mailbox.parse(name), frozenset({"SUCCESS", "FAILURE"})) for name in names)
    # It is on disk and untried when the disk is full.
    troubles = [Trouble(9.9, "crash", 1), Trouble(10.0, "disk", 3), Trouble(4_000.0, "disk fine")]
    ran = simulate(1, plan([Message(10.0, envelope, originals)], troubles))
    assert not ran.wrongs, ran.told()
    assert "CRASH: committed, and nobody told" in ran.told()
    assert "a report could not be made" in ran.told()
    assert f"action={report}" in ran.told()
