"""SASL mechanisms of AUTH, without I/O and without knowing who may log in (RFC 4422, RFC 4954, RFC 4616).

A mechanism is made for one AUTH command. ``start(initial)`` gets the initial response or None, ``respond``
what the client answered to a challenge; both are decoded from base64 by the core. Each answers a
:class:`Challenge`, :class:`Finished` with credentials, or :class:`Malformed`; a mechanism that has ``found``, too,
may answer :class:`KeysNeeded`. Others bring their own by putting a callable that makes one into the mapping that
the core is given.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from mailserver.smtp import replies
from mailserver.smtp.command import Refused


@dataclass(frozen=True, slots=True)
class Challenge:
    """Ask the client for more."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """The client has said all; ``credentials`` are checked by somebody else."""

    credentials: object


@dataclass(frozen=True, slots=True)
class Malformed:
    """The client does not speak this mechanism (501 5.5.2)."""


@dataclass(frozen=True, slots=True)
class KeysNeeded:
    """Before the next challenge, what is kept of a user must be found; it is given to ``found``."""

    username: bytes


Step = Challenge | Finished | Malformed | KeysNeeded
GoodStep = Challenge | Finished | KeysNeeded


class Mechanism(Protocol):
    """One exchange."""

    def start(self, initial: bytes | None) -> Step:
        """Begin; `initial` is None where the client gave no initial response."""

    def respond(self, data: bytes) -> Step:
        """Go on with the client's answer to the last challenge."""


@dataclass(frozen=True, slots=True)
class PasswordCredentials:
    """``authzid`` is empty unless the client wants to act as another. The password never shows in ``repr``."""

    authzid: bytes
    username: bytes
    password: bytes = field(repr=False)


class Plain:
    """RFC 4616: ``authzid NUL authcid NUL passwd`` in one response."""

    __slots__ = ()

    def start(self, initial: bytes | None) -> Step:
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, data: bytes) -> Step:
        parts = data.split(b"\0")
        if len(parts) != 3 or not parts[1]:
            return Malformed()
        return Finished(PasswordCredentials(*parts))


class Login:
    """The mechanism that was never standardized: name, then password."""

    __slots__ = ("_username",)

    def __init__(self) -> None:
        self._username: bytes | None = None

    def start(self, initial: bytes | None) -> Step:
        return Challenge(b"Username:") if initial is None else self.respond(initial)

    def respond(self, data: bytes) -> Step:
        if self._username is not None:
            return Finished(PasswordCredentials(b"", self._username, data))
        if not data:
            return Malformed()
        self._username = data
        return Challenge(b"Password:")


PASSWORD_MECHANISMS: Mapping[str, Callable[[], Mechanism]] = MappingProxyType({"PLAIN": Plain, "LOGIN": Login})


def encode_challenge(data: bytes) -> bytes:
    """The 334 line."""
    return b"334 " + binascii.b2a_base64(data, newline=False) + b"\r\n"


class Exchange:
    """One AUTH command under way."""

    __slots__ = ("_mechanism", "name")

    def __init__(self, name: str, mechanism: Mechanism) -> None:
        self.name = name
        self._mechanism = mechanism

    def start(self, initial: str) -> GoodStep:
        """Take the initial response as sent: ``=`` is an empty one, nothing is none. Raises Refused."""
        if not initial:
            return _well_formed(self._mechanism.start(None))
        return _well_formed(self._mechanism.start(_decode("" if initial == "=" else initial)))

    def respond(self, line: bytes) -> GoodStep:
        """Take a line of the client; ``*`` cancels (RFC 4954 §4). Raises Refused."""
        if line == b"*":
            raise Refused(replies.AUTH_CANCELLED)
        return _well_formed(self._mechanism.respond(_decode(line.decode("latin-1"))))

    def found(self, keys: object) -> GoodStep:
        """Go on with what the mechanism needed."""
        asked: Any = self._mechanism
        return _well_formed(asked.found(keys))


def begin(
    argument: str, offered: tuple[str, ...], known: Mapping[str, Callable[[], Mechanism]]
) -> tuple[Exchange, GoodStep]:
    """Start what ``AUTH mechanism [initial-response]`` asks for. Raises Refused."""
    name, _, initial = argument.partition(" ")
    if not name:
        raise Refused(replies.BAD_ARGUMENT)
    name = name.upper()
    if name not in offered or name not in known:
        raise Refused(replies.UNKNOWN_MECHANISM)
    exchange = Exchange(name, known[name]())
    return exchange, exchange.start(initial)


def _well_formed(step: Step) -> GoodStep:
    if isinstance(step, Malformed):
        raise Refused(replies.BAD_BASE64)
    return step


def _decode(text: str) -> bytes:
    """Strict base64: no other octets, padding required (RFC 4954 §4)."""
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError:
        raise Refused(replies.BAD_BASE64) from None
