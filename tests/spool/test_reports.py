"""A report on a large message: through a file of its own, durable before the commit that owes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred

from mailserver.accounts.directory import StaticDirectory
from mailserver.message import Change, Original, Recipient, State
from mailserver.message.dsn import Told
from mailserver.message.outcome import permanent
from mailserver.message.prepared import Prepared
from mailserver.queue.bounce import Bounces
from mailserver.queue.intake import Intake

LARGE = b"Subject: large\n\n" + b"0123456789\n" * 500


def report(harness: Any, claim: Any, *told: Told) -> Prepared:
    spool = harness.spool
    intake = Intake(spool, StaticDirectory(["x@here.example"]), "mx.here.example")
    bounces = Bounces("mx.here.example", intake, spool.new_content, harness.threads, harness.clock)
    prepared: Prepared = harness.wait(Deferred.fromCoroutine(bounces.report(claim, told)))
    return prepared


def test_the_file_of_a_report_is_durable_before_the_settlement(harness: Any) -> None:
    harness.open()
    message = harness.message(octets=LARGE)
    harness.wait(harness.spool.store(replace(message, envelope=replace(message.envelope, ret="FULL"))))
    (claim,) = harness.fresh
    assert claim.content.file is not None
    failed = permanent("no")
    prepared = report(harness, claim, Told(claim.recipients[0].originals[0], failed))
    assert prepared.content.file in harness.files()
    assert prepared.content.ready
    ids = harness.settle(claim.queue_id, Change(0, State.FAILED, failed), stored=[prepared])
    assert ids == [prepared.queue_id]
    # What it was about is gone, and what is left after a power loss has all of it.
    image = harness.crash()
    image.open()
    assert image.files() == {prepared.content.file}
    (again,) = image.claim()
    assert again.queue_id == prepared.queue_id
    octets = b"".join(again.content.chunks())
    assert b"Content-Type: message/rfc822\n\n" + LARGE + b"\n--report-" in octets
    image.close()


def test_an_expansion_that_is_still_to_be_told_survives(harness: Any) -> None:
    harness.open(subscribed=False)
    message = harness.message()
    whole = Original(message.recipients[0].mailbox, frozenset({"SUCCESS"}), None, expanded=True)
    recipients = (*message.recipients, Recipient(1, whole.mailbox, (whole,)))
    harness.wait(harness.spool.store(replace(message, recipients=recipients)))
    harness.reopen()
    (claim,) = harness.claim()
    assert [one.expanded for one in claim.recipients] == [False, True]
    # Unpacked, too.
    harness.settle(claim.queue_id, Change(0, State.DELIVERED), Change(1, State.QUEUED, due=harness.clock.now))
    harness.reopen()
    (claim,) = harness.claim()
    assert [(one.number, one.expanded) for one in claim.recipients] == [(1, True)]
