"""The contract of :class:`~mailserver.interfaces.ITransport`::

    class TestArchive(TransportContract):
        recipients = ("anna@example.org", "bob@example.org")

        def make(self):
            return Archive(Options(), services())

Every recipient gets one outcome, of an attempt that is new and of one that may have happened before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from zope.interface.verify import verifyObject

from mailserver.interfaces import ITransport
from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import Outcome
from mailserver.message.prepared import new_queue_id
from mailserver.message.route import Attempt, Route
from mailserver.smtp.address import NULL, Mailbox
from mailserver.testing.contracts.answers import Waiting

ARRIVED = 1_790_000_000.0
CONTENTS = (b"Subject: hello\n\nhello\n", b"", b"no header", b"\n.\n..\nFrom x\n", "Subject: ü\n\n\n".encode())


class TransportContract(Waiting):
    """Override :meth:`make`, and what the attempts of the tests are made of."""

    recipients: Sequence[str] = ("anna@example.org", "bob@example.org")
    route = Route("transport", "example.org")

    def make(self) -> Any:
        """A new transport."""
        raise NotImplementedError

    def attempt(self, octets: bytes, sender: Mailbox = NULL) -> Attempt:
        """An attempt for all recipients."""
        mailboxes = [Mailbox.parse(text) for text in self.recipients]
        recipients = tuple(Recipient(n, one, (Original(one),)) for n, one in enumerate(mailboxes))
        content = Content.of(octets)
        return Attempt(new_queue_id(ARRIVED), Envelope(sender), recipients, content, self.route, ARRIVED)

    def _holds(self, attempt: Attempt, outcomes: object) -> None:
        assert isinstance(outcomes, Mapping)
        assert set(outcomes) == set(attempt.recipients)
        assert all(isinstance(outcome, Outcome) for outcome in outcomes.values())

    def test_it_says_what_it_is(self) -> None:
        assert verifyObject(ITransport, self.make())

    def test_every_recipient_has_an_outcome(self) -> None:
        transport = self.make()
        for octets in CONTENTS:
            for sender in (NULL, Mailbox.parse("carl@example.net")):
                attempt = self.attempt(octets, sender)
                self._holds(attempt, self.wait(transport.deliver(attempt)))

    def test_an_attempt_may_come_again(self) -> None:
        transport = self.make()
        attempt = self.attempt(CONTENTS[0])
        self.wait(transport.deliver(attempt))
        again = replace(attempt, again=True)
        self._holds(again, self.wait(transport.deliver(again)))

    def test_one_recipient_of_several_may_be_left(self) -> None:
        transport = self.make()
        whole = self.attempt(CONTENTS[0])
        for one in whole.recipients:
            part = replace(whole, recipients=(one,))
            self._holds(part, self.wait(transport.deliver(part)))

    def test_a_batch_has_the_outcomes_of_each_attempt(self) -> None:
        transport = self.make()
        if hasattr(transport, "deliver_many"):
            attempts = [self.attempt(octets) for octets in CONTENTS]
            outcomes = self.wait(transport.deliver_many(attempts))
            assert set(outcomes) == set(attempts)
            for attempt in attempts:
                self._holds(attempt, outcomes[attempt])

    def test_the_content_is_left_as_it_was(self) -> None:
        transport = self.make()
        for octets in CONTENTS:
            attempt = self.attempt(octets)
            self.wait(transport.deliver(attempt))
            assert b"".join(attempt.content.chunks()) == octets
