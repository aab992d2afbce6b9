"""A small mail server as tutorials of Twisted show it: it writes every message to a list.

The classes are made for either factory class: nothing in them knows which one it is.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import succeed
from twisted.mail.imap4 import LOGINCredentials, PLAINCredentials
from twisted.mail.interfaces import IMessageDelivery, IMessageSMTP
from twisted.mail.smtp import ESMTP, SMTPBadRcpt
from zope.interface import implementer


@implementer(IMessageSMTP)
class ListMessage:
    def __init__(self, shelf: list[str]) -> None:
        self.shelf = shelf
        self.lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)

    def eomReceived(self) -> Any:
        self.shelf.append(b"\n".join(self.lines).decode())
        self.lines = []
        return succeed(None)

    def connectionLost(self) -> None:
        self.lines = []


@implementer(IMessageDelivery)
class ListDelivery:
    def __init__(self, shelf: list[str]) -> None:
        self.shelf = shelf

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        names = b", ".join(bytes(user) for user in recipients)
        return b"Received: from %s ([%s])\n\tfor %s; %s" % (*helo, names, formatdate(0).encode())

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> Any:
        if user.dest.local == b"console":
            return lambda: ListMessage(self.shelf)
        raise SMTPBadRcpt(user)


@implementer(IRealm)
class ListRealm:
    def __init__(self, shelf: list[str]) -> None:
        self.shelf = shelf

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        if IMessageDelivery in interfaces:
            return IMessageDelivery, ListDelivery(self.shelf), lambda: None
        raise NotImplementedError


def portal(shelf: list[str]) -> Portal:
    checker = InMemoryUsernamePasswordDatabaseDontUse()
    checker.addUser(b"guest", b"password")
    return Portal(ListRealm(shelf), [checker, AllowAnonymousAccess()])


def factory_class(base: Any) -> Any:
    """The example's factory over `base`, which takes a portal."""

    class ListFactory(base):  # type: ignore[misc]
        protocol = ESMTP

        def __init__(self, shelf: list[str], *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.delivery = ListDelivery(shelf)

        def buildProtocol(self, addr: Any) -> Any:
            protocol = super().buildProtocol(addr)
            protocol.delivery = self.delivery
            protocol.challengers = {b"LOGIN": LOGINCredentials, b"PLAIN": PLAINCredentials}
            protocol.timeout = None
            return protocol

    return ListFactory
