"""SCRAM-SHA-256, the server's side, without I/O (RFC 5802, RFC 7677, RFC 4954 §4).

The client proves that it knows a password, and the server that it knows what was made of it, while neither the
password nor anything as good as one is sent. What a server keeps is :class:`ScramKeys`; who steals these can try
passwords, and can play the server, but cannot log in. :func:`derive` makes them.

:class:`ScramSha256` is one exchange, a :class:`~mailserver.smtp.sasl.Mechanism`. It needs the keys of a user in
its midst: it answers :class:`~mailserver.smtp.sasl.KeysNeeded` and goes on with :meth:`ScramSha256.found`. For a
name that nobody has the holder finds keys all the same, made up and always the same, so that nobody learns from
an exchange who exists. It ends with :class:`ScramLogin`, whether the proof was right or not: a wrong one is
somebody else's to count, to log and to delay.

What is no SCRAM is Malformed: attributes out of order, an extension that must be understood (``m=``), channel
binding (``p=``; we do not offer the mechanism that has it), another nonce or channel than those of this exchange.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from mailserver.smtp.sasl import Challenge, Finished, KeysNeeded, Malformed, Step
from mailserver.smtp.saslprep import Unprepared, prepare

NAME = "SCRAM-SHA-256"
# RFC 7677 §4 has 4096 as the least. What is stolen is worth less with more of them; a client pays for each login,
# some 25 ms at this number (2026), and we only when a password is set. More than this Cyrus SASL refuses to
# compute, and Postfix with it, who then does not log in at all. All accounts have the same number, or it would
# tell those that exist from those that do not.
ITERATIONS = 65_536
_DIGEST = 32
# A stranger's name is prepared on the reactor's thread: no longer than an address (RFC 5321 §4.5.3.1) is worth it.
MAX_NAME = 320

# RFC 5802 §7. A nonce is printable ASCII but a comma, a value any UTF-8 but NUL and comma. An extension is
# ignored, unless it is `m`, which must be understood, or an attribute that has its place elsewhere.
_NONCE = r"[!-+\--~]+"
_VALUE = r"[^\0,]+"
_EXTENSIONS = rf"((?:,(?![aceimnprsv]=)[A-Za-z]={_VALUE})*)"
_FIRST = re.compile(rf"((?:n|y),(?:a=({_VALUE}))?,)(n=({_VALUE}),r=({_NONCE}){_EXTENSIONS})")
_FINAL = re.compile(rf"(c=([A-Za-z0-9+/=]+),r=({_NONCE}){_EXTENSIONS}),p=([A-Za-z0-9+/=]+)")
_ESCAPED = re.compile("=(2C|3D)?")


class Unspeakable(ValueError):
    """A message that is not of this mechanism."""


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What is kept of a password."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ScramLogin:
    """How an exchange ended. ``proved``: the client knows the password of which ``keys`` were made.

    ``authzid`` is empty unless the client wants to act as another.
    """

    authzid: bytes
    username: bytes
    keys: ScramKeys
    proved: bool


def salted(password: bytes, salt: bytes, iterations: int) -> bytes:
    """RFC 5802's Hi(), of a prepared password. It blocks for some 0.4 µs an iteration, without the GIL."""
    return hashlib.pbkdf2_hmac("sha256", password, salt, iterations)


def derive(password: bytes, salt: bytes, iterations: int = ITERATIONS) -> ScramKeys:
    """The keys of a prepared password. It blocks as :func:`salted` does: run it on the password pool."""
    root = salted(password, salt, iterations)
    return ScramKeys(salt, iterations, _hash(client_key(root)), server_key(root))


def client_key(root: bytes) -> bytes:
    """RFC 5802 §3, of what :func:`salted` made."""
    return _mac(root, b"Client Key")


def server_key(root: bytes) -> bytes:
    """RFC 5802 §3, of what :func:`salted` made."""
    return _mac(root, b"Server Key")


def proof(key: bytes, message: bytes) -> bytes:
    """The client's proof, by its key; applied to a proof, the key (RFC 5802 §3)."""
    return xor(key, _mac(_hash(key), message))


def signature(key: bytes, message: bytes) -> bytes:
    """The server's signature, by its key."""
    return _mac(key, message)


class ScramSha256:
    """One exchange. `new_nonce` makes printable ASCII without commas that nobody can guess."""

    __slots__ = (
        "_authzid", "_bare", "_first", "_header", "_keys", "_new_nonce", "_next", "_nonce", "_username",
    )  # fmt: skip

    def __init__(self, new_nonce: Callable[[], str]) -> None:
        self._new_nonce = new_nonce
        self._next: Callable[[str], Step] = self._take_first

    def start(self, initial: bytes | None) -> Step:
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, data: bytes) -> Step:
        try:
            return self._next(data.decode())
        except ValueError:
            # Unspeakable, Unprepared, not UTF-8, not base64: a stranger's octets in each case.
            return Malformed()

    def found(self, keys: ScramKeys) -> Step:
        """Go on with the keys of the user, or with made-up ones."""
        self._keys = keys
        self._first = f"r={self._nonce},s={coded(keys.salt)},i={keys.iterations}"
        self._next = self._take_final
        return Challenge(self._first.encode())

    def _take_first(self, text: str) -> Step:
        header, authzid, bare, username, nonce, _ = matched(_FIRST, text)
        self._header, self._bare = header, bare
        self._authzid = _name(authzid).encode() if authzid else b""
        self._username = _name(username).encode()
        self._nonce = nonce + self._new_nonce()
        return KeysNeeded(self._username)

    def _take_final(self, text: str) -> Step:
        without_proof, channel, nonce, _, proof_sent = matched(_FINAL, text)
        if decoded(channel) != self._header.encode() or nonce != self._nonce:
            raise Unspeakable("this is not the exchange that was begun")
        given = decoded(proof_sent)
        if len(given) != _DIGEST:
            raise Unspeakable("a proof has 32 octets")
        message = f"{self._bare},{self._first},{without_proof}".encode()
        key = xor(given, _mac(self._keys.stored_key, message))
        if not hmac.compare_digest(_hash(key), self._keys.stored_key):
            return self._finished(proved=False)
        self._next = self._take_end
        return Challenge(b"v=" + coded(signature(self._keys.server_key, message)).encode())

    def _take_end(self, text: str) -> Step:
        # RFC 4954 §4: 235 cannot carry what the server has to say, so it was a challenge, and there is no answer.
        return Malformed() if text else self._finished(proved=True)

    def _finished(self, proved: bool) -> Step:
        return Finished(ScramLogin(self._authzid, self._username, self._keys, proved))


# The notation, which both sides share.


def matched(pattern: re.Pattern[str], text: str) -> tuple[str, ...]:
    """The groups of a message that is one. Raises Unspeakable."""
    match = pattern.fullmatch(text)
    if match is None:
        raise Unspeakable("attributes are missing, in another order, or of no use here")
    return match.groups(default="")


def coded(octets: bytes) -> str:
    """Base64, as in an attribute."""
    return binascii.b2a_base64(octets, newline=False).decode("ascii")


def decoded(text: str) -> bytes:
    """The octets of an attribute. Raises ValueError."""
    return binascii.a2b_base64(text, strict_mode=True)


def escaped(name: str) -> str:
    """A name within a message (RFC 5802 §5.1)."""
    return name.replace("=", "=3D").replace(",", "=2C")


def _name(text: str) -> str:
    """A name from within a message, prepared. Raises Unspeakable and Unprepared."""
    for mark in _ESCAPED.finditer(text):
        if mark.group(1) is None:
            raise Unspeakable("an equals sign in a name is =3D")
    plain = text.replace("=2C", ",").replace("=3D", "=")
    if len(plain.encode()) > MAX_NAME:
        raise Unspeakable("the name is longer than any address")
    name = prepare(plain, stored=False)
    if not name:
        raise Unprepared("nothing is left of the name")
    return name


def xor(one: bytes, other: bytes) -> bytes:
    """Of two digests."""
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(_DIGEST, "big")


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


def _hash(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()
