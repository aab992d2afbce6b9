"""The contract of :class:`~mailserver.interfaces.IRouter`::

class TestByDepartment(RouterContract):
    recipients = ("anna@sales.example.org", "bob@example.net")

    def make(self):
        return ByDepartment(Options(), services())
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zope.interface.verify import verifyObject

from mailserver.interfaces import IRouter
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import Klass, Outcome
from mailserver.message.route import Route
from mailserver.smtp.address import NULL, Mailbox
from mailserver.testing.contracts.answers import Waiting


class RouterContract(Waiting):
    """Override :meth:`make`, and name recipients of all sorts that your router knows."""

    recipients: Sequence[str] = ("anna@example.org", "bob@example.net")

    def make(self) -> Any:
        """A new router."""
        raise NotImplementedError

    def _routed(self, router: Any, text: str) -> Any:
        mailbox = Mailbox.parse(text)
        return self.wait(router.route(Recipient(0, mailbox, (Original(mailbox),)), Envelope(NULL)))

    def test_it_says_what_it_is(self) -> None:
        assert verifyObject(IRouter, self.make())

    def test_every_answer_is_a_route_an_outcome_or_nothing(self) -> None:
        router = self.make()
        for text in (*self.recipients, "x@[192.0.2.1]", "dörte@bücher.example"):
            found = self._routed(router, text)
            assert found is None or isinstance(found, (Route, Outcome)), (text, found)
            if isinstance(found, Route):
                assert found.transport, text
                assert found.destination, text
            elif found is not None:
                assert found.klass is not Klass.SUCCESS, text

    def test_equal_recipients_have_equal_routes(self) -> None:
        """Recipients of one message are grouped by them."""
        router = self.make()
        for text in self.recipients:
            first, second = self._routed(router, text), self._routed(router, text)
            assert first == second
            assert hash(first) == hash(second)
