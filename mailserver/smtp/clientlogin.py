"""The client side of AUTH, without I/O: PLAIN, LOGIN, CRAM-MD5, XOAUTH2 (RFC 4954, RFC 4616, RFC 2195).

:func:`begin` picks a mechanism and answers the command to send and what to say to each challenge after it.
XOAUTH2 is not registered anywhere: Google and Microsoft describe it. Where its token is refused, the reason
comes as a challenge, which is answered by an empty line, and then the refusal itself.

What a peer may do wrong here leaves as :class:`LoginFailure`. CRAM-MD5 keeps the password off the wire, but asks
for one that the server has in clear: it is for old hosts, and nobody gets it without asking.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from mailserver.smtp.plan import Login

# From the text of a challenge (base64) to the octets of the response (not yet base64).
Response = Callable[[str], bytes]


class LoginFailure(ValueError):
    """The peer does not speak the mechanism that it offered; ``str()`` is one sentence for a person."""


class _Mechanism(NamedTuple):
    """``initial`` goes with the command; None where the peer speaks first."""

    initial: Callable[[Login], bytes] | None
    responses: Callable[[Login], tuple[Response, ...]]


def begin(login: Login, offered: str) -> tuple[bytes, deque[Response]] | None:
    """The AUTH command and the responses; None when `offered` (the parameters of EHLO's AUTH) has no mechanism
    of the login's."""
    known = offered.upper().split()
    name = next((name for name in login.mechanisms if name in known), None)
    if name is None:
        return None
    mechanism = _MECHANISMS[name]
    command = b"AUTH " + name.encode()
    first = command + b"\r\n" if mechanism.initial is None else command + b" " + coded(mechanism.initial(login))
    return first, deque(mechanism.responses(login))


def coded(octets: bytes) -> bytes:
    """A line of an exchange."""
    return b64encode(octets) + b"\r\n"


def _plain(login: Login) -> bytes:
    return f"\0{login.user}\0{login.password}".encode()


def _login(login: Login) -> tuple[Response, ...]:
    return (lambda _: login.user.encode(), lambda _: login.password.encode())


def _cram_md5(login: Login) -> tuple[Response, ...]:
    def respond(challenge: str) -> bytes:
        try:
            octets = binascii.a2b_base64(challenge, strict_mode=True)
        except ValueError:
            raise LoginFailure("the challenge of AUTH CRAM-MD5 is not base64") from None
        return f"{login.user} {hmac.new(login.password.encode(), octets, 'md5').hexdigest()}".encode()

    return (respond,)


def _xoauth2(login: Login) -> bytes:
    return f"user={login.user}\1auth=Bearer {login.password}\1\1".encode()


_MECHANISMS: Mapping[str, _Mechanism] = MappingProxyType(
    {
        "PLAIN": _Mechanism(_plain, lambda _: ()),
        "LOGIN": _Mechanism(None, _login),
        "CRAM-MD5": _Mechanism(None, _cram_md5),
        "XOAUTH2": _Mechanism(_xoauth2, lambda _: (lambda _: b"",)),
    }
)
