"""The queue side as it is composed: what the settings reach, and a store that fails under an outbox."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailserver.accounts import StaticDirectory
from mailserver.interfaces import SpoolFailed
from mailserver.message import Content, Envelope, Facts, Original, Prepared
from mailserver.relay import RelayQueue, build_queue
from mailserver.settings import Queue, Settings
from mailserver.smtp.address import NULL, Mailbox


def build(directory: str, on_fatal: Any = None, **queue: Any) -> RelayQueue:
    settings = Settings(instance=directory, host_name="mx.here.example", queue=Queue(**queue))
    directory_of = StaticDirectory(["anna@here.example"])
    return build_queue(settings, reactor=reactor, directory=directory_of, on_fatal=on_fatal)


def prepared(relay: RelayQueue, submitted: bool) -> Prepared:
    facts = Facts("q", (Original(Mailbox.parse("anna@here.example")),), 0.0, submitted)
    answer = relay.intake.prepare(Envelope(NULL), Content.of(b"\nx\n"), facts)
    assert isinstance(answer, Prepared)
    return answer


class Composed(TestCase):
    timeout = 30

    def test_fates_are_kept_of_submissions_where_the_settings_say_so(self) -> None:
        relay = build(self.mktemp(), fates_of_submissions=True)
        assert prepared(relay, submitted=True).fates
        assert not prepared(relay, submitted=False).fates
        assert not prepared(build(self.mktemp()), submitted=True).fates

    def test_fates_are_kept_for_as_long_as_the_settings_say(self) -> None:
        assert build(self.mktemp(), fates_kept=77).spool._options.fates_kept == 77

    async def test_a_store_that_failed_says_so(self) -> None:
        failed: Deferred[str] = Deferred()
        relay = build(self.mktemp(), failed.callback)
        relay.startService()
        self.addCleanup(relay.stopService)
        relay.spool._committer.fail("the disk is broken")
        await failed
        for key in (None, "k"):
            with pytest.raises(SpoolFailed, match="the disk is broken"):
                await relay.outbox.send(b"\nx\n", sender="", recipients=["anna@here.example"], key=key)
