"""The client side of AUTH, without I/O: SCRAM-SHA-256, PLAIN, LOGIN, CRAM-MD5, XOAUTH2 (RFC 4954, RFC 7677, RFC
4616, RFC 2195).

:func:`exchanges` answers one :class:`Exchange` for each mechanism that can be used, the best first. XOAUTH2 is not
registered anywhere: Google and Microsoft describe it. Where its token is refused, the reason comes as a challenge,
which is answered by an empty line, and then the refusal itself.

What a peer may do wrong here leaves as :class:`LoginFailure`. CRAM-MD5 keeps the password off the wire, but asks
for one that the server has in clear: it is for old hosts, and nobody gets it without asking.

A host may offer SCRAM and have no keys for this account, because its password was set before it could: where it
refuses SCRAM, the next of the login's mechanisms is tried. That gives nothing away that the login did not allow
anyway: with a verified certificate nobody else can refuse, and without one AUTH itself could be forged.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType

from mailserver.smtp.plan import Derive, Login
from mailserver.smtp.saslprep import Unprepared
from mailserver.smtp.scram import NAME as SCRAM
from mailserver.smtp.scramclient import ScramClient, ScramFailure

# From the text of a challenge (base64) to the octets of the response (not yet base64); a Derive is work to be done
# before there is one.
Response = Callable[[str], bytes | Derive]


class LoginFailure(ValueError):
    """The peer does not speak the mechanism that it offered; ``str()`` is one sentence for a person."""


class Exchange:
    """One AUTH command: ``initial`` goes with it (None where the peer speaks first), ``responses`` answer its
    challenges."""

    def __init__(self, name: str, initial: bytes | None, *responses: Response) -> None:
        self.name = name
        self._initial = initial
        self._responses = deque(responses)

    @property
    def command(self) -> bytes:
        """What begins it."""
        command = b"AUTH " + self.name.encode()
        return command + b"\r\n" if self._initial is None else command + b" " + _coded(self._initial)

    @property
    def more(self) -> bool:
        """Whether a challenge would be answered."""
        return bool(self._responses)

    def respond(self, challenge: str) -> bytes | Derive:
        """The line that answers a challenge, or what must be done first. Raises LoginFailure."""
        try:
            answer = self._responses.popleft()(challenge)
        except ScramFailure as failure:
            raise LoginFailure(str(failure)) from None
        return answer if isinstance(answer, Derive) else _coded(answer)

    def derived(self, root: bytes) -> bytes:
        """The line that follows, once a :class:`Derive` is done."""
        raise NotImplementedError(f"AUTH {self.name} has nothing to derive")

    def accepted(self) -> None:
        """The peer says that we are logged in. Raises LoginFailure where that cannot be."""


class ScramExchange(Exchange):
    """SCRAM-SHA-256. Raises Unprepared where it cannot be used with this name or password."""

    def __init__(self, login: Login, nonce: str) -> None:
        self._scram = ScramClient(login.user, login.password, nonce)
        super().__init__(SCRAM, self._scram.first, self._challenged, self._verified)

    def derived(self, root: bytes) -> bytes:
        return _coded(self._scram.final(root))

    def _challenged(self, challenge: str) -> Derive:
        return self._scram.challenge(_decoded(self.name, challenge))

    def _verified(self, challenge: str) -> bytes:
        self._scram.verify(_decoded(self.name, challenge))
        return b""

    def accepted(self) -> None:
        if self.more:
            raise LoginFailure("the host accepted the login without showing that it knows the account")


def exchanges(login: Login, offered: str, nonce: str) -> deque[Exchange]:
    """What can be tried, in this order; `offered` are the parameters of EHLO's AUTH. Without a `nonce` (printable
    ASCII without commas, never used before) there is no SCRAM."""
    known = offered.upper().split()
    names = [name for name in login.mechanisms if name in known]
    found: deque[Exchange] = deque()
    if nonce and names[:1] == [SCRAM]:
        # Unprepared: no host can have keys of that password (RFC 5802 §5.1).
        with suppress(Unprepared):
            found.append(ScramExchange(login, nonce))
    # Whatever comes after one that shows the password would show it no less: only SCRAM has a second after it.
    others = [name for name in names if name != SCRAM]
    found.extend(_MECHANISMS[name](login) for name in others[:1])
    return found


def _coded(octets: bytes) -> bytes:
    """A line of an exchange."""
    return b64encode(octets) + b"\r\n"


def _decoded(name: str, challenge: str) -> bytes:
    try:
        return binascii.a2b_base64(challenge, strict_mode=True)
    except ValueError:
        raise LoginFailure(f"the challenge of AUTH {name} is not base64") from None


def _plain(login: Login) -> Exchange:
    return Exchange("PLAIN", f"\0{login.user}\0{login.password}".encode())


def _login(login: Login) -> Exchange:
    return Exchange("LOGIN", None, lambda _: login.user.encode(), lambda _: login.password.encode())


def _cram_md5(login: Login) -> Exchange:
    def respond(challenge: str) -> bytes:
        octets = _decoded("CRAM-MD5", challenge)
        return f"{login.user} {hmac.new(login.password.encode(), octets, 'md5').hexdigest()}".encode()

    return Exchange("CRAM-MD5", None, respond)


def _xoauth2(login: Login) -> Exchange:
    return Exchange("XOAUTH2", f"user={login.user}\1auth=Bearer {login.password}\1\1".encode(), lambda _: b"")


_MECHANISMS: Mapping[str, Callable[[Login], Exchange]] = MappingProxyType(
    {"PLAIN": _plain, "LOGIN": _login, "CRAM-MD5": _cram_md5, "XOAUTH2": _xoauth2}
)
