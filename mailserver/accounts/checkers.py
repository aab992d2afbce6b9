"""A credentials checker over the account store.

The user name is the full address of an account, case aside; the avatar id is that address, as octets. An
unknown account, a wrong password and a user name that is no address are the same refusal, after the same work.
:class:`~mailserver.interfaces.PoolFull` passes through: the session answers 454 4.7.0.

Strangers need no checker of ours: `twisted.cred.checkers.AllowAnonymousAccess` is the one.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailserver.accounts.names import Account
from mailserver.accounts.passwords import PasswordVerifier
from mailserver.accounts.store import AccountStore
from mailserver.smtp.address import Mailbox


@implementer(ICredentialsChecker)
class AccountChecker:
    """Checks user name and password (both octets) against the accounts."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, store: AccountStore, verifier: PasswordVerifier) -> None:
        self._store = store
        self._verifier = verifier

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Fires with the account's address, or fails with UnauthorizedLogin or PoolFull."""
        return Deferred.fromCoroutine(self._avatar_id(credentials.username, credentials.password))

    async def _avatar_id(self, username: bytes, password: bytes) -> bytes | tuple[()]:
        account = self._account(username)
        stored_hash = account.password_hash if account else None
        right = await self._verifier.verify(stored_hash, password, username.lower())
        if account is None or not right:
            raise UnauthorizedLogin
        return account.mailbox.wire()

    def _account(self, username: bytes) -> Account | None:
        try:
            return self._store.account(Mailbox.parse(username.decode()))
        except ValueError:
            return None
