"""Passwords: what is kept of them, and how they are checked.

Kept are a bcrypt hash and the keys of SCRAM-SHA-256, both of the prepared form of the password (SASLprep, RFC
4013), so that it is one password on every keyboard. One that has no prepared form (an emoji, a tab) is hashed as
it was typed, and has no keys: SCRAM is not possible with it (RFC 5802 §5.1), PLAIN and LOGIN are. Older hashes
are of passwords as they were typed, too; that there are no keys beside a hash is how both are known.

bcrypt runs on its own pool, the same number of times for everyone.

Every refusal (a known account with a wrong password, an unknown account, a password longer than bcrypt takes)
and a first success cost exactly one bcrypt call, so that the time of an answer tells nobody which accounts
exist. A success is remembered in memory for some minutes under a keyed hash of all that was checked (user
name, stored hash, password), so that a client that sends many messages does not pay for each login; a failure
is never remembered. A changed password has another stored hash, so the memory of the old one is worth nothing.

:class:`~mailserver.interfaces.PoolFull` leaves :meth:`PasswordVerifier.verify` when too many logins wait.
"""

from __future__ import annotations

import hmac
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import bcrypt
from twisted.internet.defer import Deferred

from mailserver.accounts.database import AccountError
from mailserver.interfaces import IClock, IThreads
from mailserver.smtp.saslprep import Unprepared, prepare
from mailserver.smtp.scram import ScramKeys, derive

# bcrypt takes no more octets; bcrypt 5 raises ValueError beyond.
MAX_PASSWORD = 72
REMEMBERED = 10_000
# What is longer has no prepared form that bcrypt takes: the reactor's thread must not look for one in 9 KiB.
_PREPARED = 4 * MAX_PASSWORD


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a password. Without ``keys`` the hash is that of the password as it was typed."""

    password_hash: str
    keys: ScramKeys | None = None


def prepared_form(password: bytes) -> bytes | None:
    """The octets of a password in its prepared form; None where it has none."""
    if len(password) > _PREPARED:
        return None
    try:
        form = prepare(password.decode()).encode()
    except (Unprepared, UnicodeDecodeError):
        return None
    return form if len(form) <= MAX_PASSWORD else None


def keep_password(text: str, cost: int, salt: bytes) -> Kept:
    """What to keep of a new password; `salt` is the account's (`AccountStore.salt`). It blocks as
    :func:`hash_password` does, and some 25 ms more. Raises AccountError as that does."""
    form = prepared_form(text.encode())
    if form is None:
        return Kept(hash_password(text, cost))
    return Kept(hash_password(form.decode(), cost), derive(form, salt))


def cost_of(password_hash: str) -> str:
    """The cost with which a bcrypt hash was made, as it is written there."""
    return password_hash[4:6]


def hash_password(text: str, cost: int) -> str:
    """The bcrypt hash of a password as it was typed. It blocks for some 0.2 s at cost 12: run it on the password
    pool.

    Raises AccountError for a password that is empty, over 72 octets in UTF-8, or has a NUL.
    """
    octets = text.encode()
    if not octets:
        raise AccountError("the password is empty; choose one with at least one character")
    if b"\0" in octets:
        raise AccountError("the password has a NUL character, which many mail programs cannot send; leave it out")
    if len(octets) > MAX_PASSWORD:
        raise AccountError(f"the password has {len(octets)} octets in UTF-8, at most {MAX_PASSWORD} are possible")
    return bcrypt.hashpw(octets, bcrypt.gensalt(cost)).decode("ascii")


class PasswordVerifier:
    """Compares passwords with stored hashes. `cost` is that of the hash an unknown account is compared with;
    `remember` is in seconds, 0 for never."""

    def __init__(
        self,
        threads: IThreads,
        clock: IClock,
        cost: int,
        remember: float,
        checkpw: Callable[[bytes, bytes], bool] = bcrypt.checkpw,
    ) -> None:
        self._threads = threads
        self._clock = clock
        self._remember = remember
        self._checkpw = checkpw
        self._cost = cost
        # Well formed, and the hash of nothing known: a check of it costs what any other of this cost does.
        self._nobody = bcrypt.gensalt(cost) + b"." * 31
        self._secret = os.urandom(32)
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def verify(self, stored_hash: str | None, password: bytes, key: bytes) -> Deferred[bool]:
        """Is `password` the one behind `stored_hash` (None: no such account)? `key` is the user name."""
        return Deferred.fromCoroutine(self._verify(stored_hash, password, key))

    async def _verify(self, stored_hash: str | None, password: bytes, key: bytes) -> bool:
        if stored_hash is None or len(password) > MAX_PASSWORD:
            await self._threads("password", self._checkpw, password[:MAX_PASSWORD], self._nobody)
            return False
        if self._remembered(self._digest(key, stored_hash.encode(), password)):
            return True
        right = bool(await self._threads("password", self._checkpw, password, stored_hash.encode()))
        if right:
            self.remember(stored_hash, password, key)
        return right

    def remember(self, stored_hash: str, password: bytes, key: bytes) -> None:
        """`password` was found right, or the hash was made of it."""
        if not self._remember:
            return
        self._until[self._digest(key, stored_hash.encode(), password)] = self._clock.monotonic() + self._remember
        if len(self._until) > REMEMBERED:
            self._until.popitem(last=False)

    def outdated(self, password_hash: str) -> bool:
        """Was the hash made with another cost than new ones are?"""
        return cost_of(password_hash) != f"{self._cost:02}"

    async def keep(self, text: str, salt: bytes) -> Kept:
        """:func:`keep_password` on the password pool."""
        kept: Kept = await self._threads("password", keep_password, text, self._cost, salt)
        return kept

    def _remembered(self, memory: bytes) -> bool:
        until = self._until.get(memory)
        if until is None:
            return False
        if self._clock.monotonic() < until:
            return True
        del self._until[memory]
        return False

    def _digest(self, *parts: bytes) -> bytes:
        text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._secret, text, "sha256")
