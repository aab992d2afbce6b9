"""SCRAM-SHA-256, the client's side, without I/O (RFC 5802, RFC 7677).

The password never leaves, and the host has to prove that it knows the account: a host that only says so (a 235
without its signature, or with a wrong one) is not logged in to.

What the host names as salt and iterations costs us work, so both are bounded: fewer than 4,096 iterations would
give the password away to whoever listens (RFC 7677 §4), more than a million would burn our time. That work is not
done here: :meth:`ScramClient.challenge` answers a :class:`~mailserver.smtp.plan.Derive` for a thread.

Raises :class:`ScramFailure`, whose text is for people and holds nothing of the host's but a code word.
"""

from __future__ import annotations

import hmac
import re
from functools import partial

from mailserver.smtp.plan import Derive
from mailserver.smtp.saslprep import prepare
from mailserver.smtp.scram import (
    client_key,
    coded,
    decoded,
    escaped,
    matched,
    proof,
    salted,
    server_key,
    signature,
)

MIN_ITERATIONS, MAX_ITERATIONS = 4_096, 1_000_000
# No channel binding, and nobody to act as.
_HEADER = "n,,"
_FIRST = re.compile(
    r"r=([!-+\--~]+),s=([A-Za-z0-9+/=]+),i=([1-9][0-9]{0,8})(?:,(?![aceimnprsv]=)[A-Za-z]=[^\0,]+)*"
)
_FINAL = re.compile(r"v=([A-Za-z0-9+/=]+)(?:,[A-Za-z]=[^\0,]+)*")
_ERROR = re.compile(r"e=([a-z-]{1,40})")


class ScramFailure(ValueError):
    """The host does not keep to the mechanism, or does not know the account."""


class ScramClient:
    """One exchange. `nonce` is printable ASCII without commas, never used before. Raises
    :class:`~mailserver.smtp.saslprep.Unprepared` where name or password cannot be used with SCRAM."""

    def __init__(self, user: str, password: str, nonce: str) -> None:
        self._nonce = nonce
        self._password = prepare(password).encode()
        self._bare = f"n={escaped(prepare(user, stored=False))},r={nonce}"
        self._message = b""
        self._without_proof = ""
        self._signature = b""

    @property
    def first(self) -> bytes:
        """The message that begins."""
        return f"{_HEADER}{self._bare}".encode()

    def challenge(self, data: bytes) -> Derive:
        """Take the host's first message; what it asks for is work."""
        text = _text(data)
        try:
            nonce, salt, iterations = matched(_FIRST, text)
            octets = decoded(salt)
        except ValueError:
            raise ScramFailure("the host's challenge is not one of SCRAM-SHA-256") from None
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise ScramFailure("the host answered another login than this one")
        count = int(iterations)
        if not MIN_ITERATIONS <= count <= MAX_ITERATIONS:
            bounds = f"{MIN_ITERATIONS} to {MAX_ITERATIONS}"
            raise ScramFailure(f"the host wants {count} iterations of SCRAM-SHA-256; {bounds} are done")
        self._without_proof = f"c={coded(_HEADER.encode())},r={nonce}"
        self._message = f"{self._bare},{text},{self._without_proof}".encode()
        return Derive(partial(salted, self._password, octets, count))

    def final(self, root: bytes) -> bytes:
        """The message with the proof, once the work is done."""
        self._signature = signature(server_key(root), self._message)
        return f"{self._without_proof},p={coded(proof(client_key(root), self._message))}".encode()

    def verify(self, data: bytes) -> None:
        """Take the host's last message: does it know the account?"""
        text = _text(data)
        if refused := _ERROR.fullmatch(text):
            raise ScramFailure(f"the host refused the login ({refused.group(1)})")
        try:
            right = hmac.compare_digest(decoded(*matched(_FINAL, text)), self._signature)
        except ValueError:
            right = False
        if not right:
            raise ScramFailure("the host does not know this account: its signature is wrong")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ScramFailure("the host's challenge is not text") from None
