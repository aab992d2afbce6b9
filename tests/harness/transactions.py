"""Transactions with every parameter, into the server of a test kit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mailserver.message.content import Content
from mailserver.smtp.address import NULL, Mailbox
from mailserver.smtp.transaction import ForwardPath, Transaction
from mailserver.testing import MailKit
from mailserver.testing.client import Submitted, Way, send
from mailserver.testing.composition import ADDRESSES

MESSAGE = b"Subject: hi\nFrom: x@far.test\n\nhello\n"


@dataclass(frozen=True)
class Whole:
    """A `mailserver.testing.client.Letter` whose transaction is given."""

    given: Transaction
    content: Content

    @property
    def recipients(self) -> list[str]:
        return [str(path.mailbox) for path in self.given.recipients]

    def transaction(self) -> Transaction:
        return self.given


def path(address: str, notify: str | None = None, orcpt: str | None = None) -> ForwardPath:
    """A recipient; `notify` as on the wire."""
    return ForwardPath(Mailbox.parse(address), frozenset(notify.split(",")) if notify else None, orcpt)


def transact(
    kit: MailKit, sender: str, paths: list[ForwardPath], content: bytes = MESSAGE, login: bool = False, **more: Any
) -> Submitted:
    """Send from `sender` ("" is nobody) by port 25, or with the `login` of its account by submission."""
    body = Content.of(content)
    given = Transaction(Mailbox.parse(sender) if sender else NULL, tuple(paths), body.size)
    composed = kit._running()
    user = (sender, kit._people.password(sender) or "") if login else None
    plan, creator = composed.plan(user, kit.certificates)
    way = Way(ADDRESSES["submission" if login else "mx"], "192.0.2.7", plan, creator)
    letter: Any = Whole(replace(given, **more), body)
    submitted: Submitted = kit.wait(send(kit.reactor, way, letter))
    return submitted
