"""A credentials checker over the account store.

The user name is the full address of an account, case aside; the avatar id is that address, as octets. An
unknown account, a wrong password and a user name that is no address are the same refusal, after the same work:
one bcrypt call for a password, none for SCRAM, whose exchange is the same for a name that nobody has.
:class:`~mailserver.interfaces.PoolFull` passes through: the session answers 454 4.7.0.

With the right password in hand, what is kept of it is brought to the present form: an account without keys for
SCRAM gets them, a hash of another ``accounts.bcrypt_cost`` is made anew. Once per account, before the answer, on
the password pool; where that fails the login is good all the same, and the next one tries again.

Strangers need no checker of ours: `twisted.cred.checkers.AllowAnonymousAccess` is the one.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from mailserver.accounts.names import Account, folded
from mailserver.accounts.passwords import PasswordVerifier, prepared_form
from mailserver.accounts.store import AccountStore
from mailserver.interfaces import IScramCredentials, IScramKeys, MailServerError
from mailserver.smtp.address import Mailbox
from mailserver.smtp.saslprep import Unprepared, prepare
from mailserver.smtp.scram import MAX_NAME, ScramKeys


@implementer(ICredentialsChecker, IScramKeys)
class AccountChecker:
    """Checks user name and password (both octets), or a SCRAM exchange, against the accounts. Without `scram` that
    mechanism is not taken, and so not offered."""

    credentialInterfaces: tuple[Any, ...] = (IUsernamePassword, IScramCredentials)

    def __init__(self, store: AccountStore, verifier: PasswordVerifier, scram: bool = True) -> None:
        self._store = store
        self._verifier = verifier
        self._renewing: set[Mailbox] = set()
        if not scram:
            self.credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Fires with the account's address, or fails with UnauthorizedLogin or PoolFull."""
        if IScramCredentials.providedBy(credentials):
            return self._proved(credentials)
        return Deferred.fromCoroutine(self._avatar_id(credentials.username, credentials.password))

    def scramKeys(self, username: bytes) -> ScramKeys:
        """The keys of an account; for an account without any, and for anybody else, made-up ones."""
        mailbox = _mailbox(username)
        # Made for everybody, so that it costs the same.
        made_up = self._store.keys_of_nobody(username.decode("utf-8", "replace") if mailbox is None else mailbox)
        account = self._account(username)
        return made_up if account is None or account.keys is None else account.keys

    def _proved(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        account = self._account(credentials.username)
        # Made-up keys are nobody's, and keys of before a change of the password are not the account's any more.
        if account is None or account.keys is None or account.keys != credentials.keys or not credentials.proved:
            return fail(UnauthorizedLogin())
        return succeed(account.mailbox.wire())

    async def _avatar_id(self, username: bytes, password: bytes) -> bytes | tuple[()]:
        account, form = self._account(username), prepared_form(password)
        stored_hash = account.password_hash if account else None
        # Where there are no keys, the hash is of the password as it was typed.
        checked = form if form is not None and account is not None and account.keys is not None else password
        right = await self._verifier.verify(stored_hash, checked, username.lower())
        if account is None or not right:
            raise UnauthorizedLogin
        if (account.keys is None and form is not None) or self._verifier.outdated(account.password_hash):
            await self._renew(account, password, username.lower())
        return account.mailbox.wire()

    async def _renew(self, account: Account, password: bytes, key: bytes) -> None:
        mailbox = account.mailbox
        # A client that logs in often over many connections pays for it once.
        if mailbox in self._renewing:
            return
        self._renewing.add(mailbox)
        try:
            kept = await self._verifier.keep(password.decode(), self._store.salt(mailbox))
            await self._store.renew_password(account, kept)
            form = prepared_form(password) if kept.keys is not None else None
            self._verifier.remember(kept.password_hash, form or password, key)
        except (MailServerError, UnicodeDecodeError):
            # Too much to do, no room on the disk, a hash from elsewhere of what is no text: later, or as it is.
            return
        finally:
            self._renewing.discard(mailbox)

    def _account(self, username: bytes) -> Account | None:
        """The account of that name as it was sent, else in its prepared form (RFC 4616 §2)."""
        mailbox = _mailbox(username)
        found = None if mailbox is None else self._store.account(mailbox)
        if found is None and not username.isascii():
            mailbox = _mailbox(_prepared_name(username))
            found = None if mailbox is None else self._store.account(mailbox)
        return found


def _mailbox(username: bytes) -> Mailbox | None:
    try:
        return folded(Mailbox.parse(username.decode()))
    except ValueError:
        return None


def _prepared_name(username: bytes) -> bytes:
    if len(username) > MAX_NAME:
        return b""
    try:
        return prepare(username.decode(), stored=False).encode()
    except (Unprepared, UnicodeDecodeError):
        return b""
