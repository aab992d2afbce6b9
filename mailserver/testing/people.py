"""Who exists in a kit: accounts with passwords, aliases, and where their mail arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from mailserver.accounts.directory import StaticDirectory
from mailserver.interfaces import IDirectory, ITransport
from mailserver.message.envelope import Recipient
from mailserver.message.outcome import Outcome, delivered
from mailserver.message.resolution import Found, Resolution
from mailserver.message.route import Attempt
from mailserver.smtp.address import Mailbox
from mailserver.testing.received import ReceivedMessage


class KitMailbox:
    """What arrived for one account; ``outcome`` is what a delivery answers from now on, None: delivered."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.messages: list[ReceivedMessage] = []
        self.outcome: Outcome | None = None

    def answers(self, outcome: Outcome | None) -> KitMailbox:
        """Answer `outcome` (``transient("over quota")``) to each delivery; None: delivered again."""
        self.outcome = outcome
        return self


@implementer(IDirectory, ICredentialsChecker, ITransport)
class People:
    """Directory, credentials checker and local transport in one, because all three ask the same list."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, wall: Callable[[], float]) -> None:
        self.mailboxes: dict[str, KitMailbox] = {}
        self._wall = wall
        self._passwords: dict[str, str] = {}
        self._aliases: dict[str, tuple[Mailbox, ...]] = {}
        self._static = StaticDirectory(())

    def add(self, address: str, password: str) -> KitMailbox:
        """A new account; its domain is local from now on. Raises ValueError for what is no address."""
        key = _key(address)
        self.mailboxes.setdefault(key, KitMailbox(address))
        self._passwords[key] = password
        self._static = StaticDirectory([*self.mailboxes])
        return self.mailboxes[key]

    def alias(self, address: str, targets: Iterable[str]) -> None:
        """`address` stands for `targets`."""
        self._aliases[_key(address)] = tuple(map(Mailbox.parse, targets))

    def password(self, address: str) -> str | None:
        """What `address` logs in with, or None where there is no such account."""
        return self._passwords.get(_key(address))

    def resolve(self, mailbox: Mailbox) -> Resolution:
        """See `IDirectory.resolve`."""
        targets = self._aliases.get(str(mailbox).lower())
        return Resolution(Found.ALIAS, mailbox, targets) if targets else self._static.resolve(mailbox)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Fires with the account's address, as octets."""
        user: str = credentials.username.decode("utf-8", "replace").lower()
        password = self._passwords.get(user)
        if password is None or not credentials.checkPassword(password.encode()):
            return fail(UnauthorizedLogin())
        return succeed(user.encode())

    def deliver(self, attempt: Attempt) -> Mapping[Recipient, Outcome]:
        """See `ITransport.deliver`."""
        return {recipient: self._deliver(attempt, recipient) for recipient in attempt.recipients}

    def _deliver(self, attempt: Attempt, recipient: Recipient) -> Outcome:
        mailbox = self.mailboxes[str(recipient.mailbox).lower()]
        if mailbox.outcome is not None:
            return mailbox.outcome
        path = attempt.envelope.reverse_path
        raw = b"".join(attempt.content.chunks(crlf=True))
        sender = "" if path.is_null else str(path)
        mailbox.messages.append(
            ReceivedMessage(sender, [str(recipient.mailbox)], raw, self._wall(), mailbox.address)
        )
        return delivered()


def _key(address: str) -> str:
    return str(Mailbox.parse(address)).lower()
