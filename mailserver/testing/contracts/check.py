"""The contract of :class:`~mailserver.interfaces.ICheck`::

    class TestBlockedSenders(CheckContract):
        def make(self):
            return BlockedSenders(Options(), services())

It looks for what goes wrong with strangers: whatever they send, the check answers a verdict, and leaves the
content as it was. What the check is for, only its author can test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from zope.interface.verify import verifyObject

from mailserver.interfaces import ICheck
from mailserver.message.content import Content
from mailserver.message.context import CheckContext
from mailserver.message.identity import Identity
from mailserver.message.verdict import Stage, Verdict
from mailserver.smtp.address import Mailbox
from mailserver.testing.contracts.answers import Waiting

CONTENTS = (
    b"From: anna@example.org\nSubject: hello\n\nhello\n",
    b"",
    b"\nno header\n",
    b"no header field at all",
    b"Subject: =?utf-8?B?////?=\n\xff\xfe: folded\n\t\n\n\x80\n",
)


class CheckContract(Waiting):
    """Override :meth:`make`."""

    def make(self) -> Any:
        """A new check."""
        raise NotImplementedError

    def contexts(self, stage: Stage) -> Iterator[CheckContext]:
        """What the check is asked with at `stage`; add what matters for yours."""
        known = CheckContext("s1", "mx", client_address="192.0.2.1")
        if stage is not Stage.CONNECT:
            known = replace(known, helo="client.example.org")
        yield from self._further(stage, known)
        yield from self._further(stage, replace(known, client_address="2001:db8::1", tls=True))
        if stage in (Stage.CONNECT, Stage.HELLO):
            return
        for text in ("anna@example.org", "anna@[192.0.2.1]", "dörte@bücher.example", '"a b"@example.org'):
            sent = replace(known, reverse_path=Mailbox.parse(text), identity=Identity(text))
            yield from self._further(stage, sent)

    @staticmethod
    def _further(stage: Stage, context: CheckContext) -> Iterator[CheckContext]:
        recipient = Mailbox.parse("bob@example.net")
        if stage is Stage.RCPT:
            yield replace(context, forward_path=recipient)
            yield replace(context, forward_path=Mailbox("postmaster", None), forward_paths=(recipient,))
        elif stage is Stage.CONTENT:
            for octets in CONTENTS:
                yield replace(context, forward_paths=(recipient,), content=Content.of(octets))
        else:
            yield context

    def test_it_says_what_it_is(self) -> None:
        check = self.make()
        assert verifyObject(ICheck, check)
        assert isinstance(check.name, str)
        assert check.stages
        assert all(isinstance(stage, Stage) for stage in check.stages)

    def test_every_answer_is_a_verdict(self) -> None:
        check = self.make()
        for stage in check.stages:
            for context in self.contexts(stage):
                verdict = self.wait(check.check(stage, context))
                assert isinstance(verdict, Verdict), (stage, context, verdict)
                assert verdict.status is None or verdict.status.klass in (4, 5), (stage, verdict)
                assert isinstance(verdict.text, str)

    def test_the_content_is_left_as_it_was(self) -> None:
        check = self.make()
        for context in self.contexts(Stage.CONTENT) if Stage.CONTENT in check.stages else ():
            assert context.content is not None
            before = b"".join(context.content.chunks())
            self.wait(check.check(Stage.CONTENT, context))
            assert b"".join(context.content.chunks()) == before
