"""Who may send what to whom: never an open relay.

Strangers reach local recipients only. An account that logged in may send anywhere, under senders that belong
to it (unless the account says otherwise); so may the networks named in ``relay.networks``, which is empty by
default: loopback is not trusted. The null reverse-path is everybody's: RFC 8098 §3 asks it of read receipts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mailserver.interfaces import IDirectory
from mailserver.message.identity import Identity
from mailserver.message.resolution import Found, Resolution
from mailserver.reception import refusals
from mailserver.smtp.address import Mailbox
from mailserver.smtp.reply import Reply

Answer = Reply | None | Awaitable[Reply | None]


class Policy:
    """``trusts`` says whether a client address may relay without a login; ``owns`` whether a sender belongs to
    an identity that logged in. Every method answers the refusal, or None."""

    def __init__(
        self,
        directory: IDirectory,
        trusts: Callable[[str], bool],
        owns: Callable[[Identity, Mailbox], bool],
    ) -> None:
        self._directory = directory
        self._trusts = trusts
        self._owns = owns

    def sender(self, mailbox: Mailbox, identity: Identity) -> Reply | None:
        """May this identity use this reverse-path? A stranger may use any: what it reaches is local."""
        if identity.account is None or self._owns(identity, mailbox):
            return None
        return refusals.NOT_YOUR_SENDER

    def recipient(self, mailbox: Mailbox, identity: Identity, client: str | None) -> Answer:
        """May this identity, from this client address, send to this forward-path? A client None is nobody's:
        no network that is trusted has it."""
        found: Any = self._directory.resolve(mailbox)
        if isinstance(found, Resolution):
            return self._decide(found, identity, client)
        return self._later(found, identity, client)

    async def _later(self, found: Awaitable[Resolution], identity: Identity, client: str | None) -> Reply | None:
        return self._decide(await found, identity, client)

    def _decide(self, resolution: Resolution, identity: Identity, client: str | None) -> Reply | None:
        if resolution.found is Found.UNKNOWN:
            return refusals.NO_SUCH_USER
        if resolution.found is Found.ELSEWHERE and identity.account is None:
            return None if client is not None and self._trusts(client) else refusals.NO_RELAY
        return None
