"""Deliberate defects, each of which must turn a named test red: the guards that matter are really guarded.

``old`` stands exactly once in ``file`` and becomes ``new``. A defect whose text is not found any more is a failure
too: the code has changed, and the defect has to follow it.
"""

from __future__ import annotations

from typing import NamedTuple


class Defect(NamedTuple):
    """One line of the list."""

    name: str
    file: str
    old: str
    new: str
    test: str


_SERVER, _CLIENT = "tests/smtp/test_server.py", "tests/smtp/test_client.py"

DEFECTS = (
    Defect(
        "bare LF is taken in a content",
        "mailserver/smtp/framing.py",
        'if text.replace(b"\\n", b"\\r\\n") != raw:',
        'if text.count(b"\\0") > len(raw):',
        "tests/smtp/test_smuggling.py",
    ),
    Defect(
        "LF alone ends a command",
        "mailserver/smtp/framing.py",
        "if end == start or self._data[end - 1] != 13:",
        "if end == start:",
        "tests/smtp/test_framing.py",
    ),
    Defect(
        "what came in clear behind STARTTLS is kept",
        "mailserver/smtp/server.py",
        "        self.input.clear()\n        self.tls,",
        "        self.tls,",
        _SERVER,
    ),
    Defect(
        "the login survives STARTTLS",
        "mailserver/smtp/server.py",
        "self.tls, self.authenticated, self.understood = True, False, NOTHING",
        "self.tls, self.understood = True, NOTHING",
        _SERVER,
    ),
    Defect(
        "the transaction is kept after a refused content",
        "mailserver/smtp/states.py",
        "events.ContentEnds: (After(READY), After(READY)),",
        "events.ContentEnds: (After(READY), After(RCPT)),",
        _SERVER,
    ),
    Defect(
        "a 552 inside the content leaves the transaction open",
        "mailserver/smtp/receiving.py",
        "    core.state = states.READY\n    owed, ",
        "    core.state = states.RCPT\n    owed, ",
        _SERVER,
    ),
    Defect(
        "AUTH is offered in clear",
        "mailserver/smtp/limits.py",
        "if tls or self.auth_in_clear:",
        "if tls or self.mechanisms:",
        _SERVER,
    ),
    Defect(
        "dots are not stuffed at the border of two slices",
        "mailserver/smtp/framing.py",
        'dot = b"." if self._line_start and piece[0] == 46 else b""',
        'dot = b""',
        "tests/smtp/test_framing.py",
    ),
    Defect(
        "the client keeps what was injected behind the reply to STARTTLS",
        "mailserver/smtp/clientopening.py",
        'if not core.parser.empty:\n            raise ProtocolFailure("the host sent text in clear',
        'if core.out:\n            raise ProtocolFailure("the host sent text in clear',
        _CLIENT,
    ),
    Defect(
        "the client keeps the EHLO list over STARTTLS",
        "mailserver/smtp/clientopening.py",
        "    core.offers, core.limits = {}, NO_LIMITS\n",
        "    core.limits = NO_LIMITS\n",
        _CLIENT,
    ),
    Defect(
        "a password leaves over TLS that was not verified",
        "mailserver/smtp/clientopening.py",
        "if not (core.tls_verified or login.unprotected):",
        "if core.tls_verified is None and not login.unprotected:",
        _CLIENT,
    ),
    Defect(
        "a login is remembered without its password",
        "mailserver/accounts/passwords.py",
        "    def _digest(self, *parts: bytes) -> bytes:\n",
        "    def _digest(self, *parts: bytes) -> bytes:\n        parts = parts[:2]\n",
        "tests/accounts/test_passwords.py",
    ),
    Defect(
        "a chunk that was refused leaves its octets to be read as commands",
        "mailserver/smtp/chunking.py",
        "    core.state = states.SKIP\n    chunk, discard",
        "    core.state = states.READY\n    chunk, discard",
        "tests/smtp/test_chunking.py",
    ),
    Defect(
        "a SCRAM login is one without its proof",
        "mailserver/smtp/scram.py",
        "if not hmac.compare_digest(_hash(key), self._keys.stored_key):",
        "if not self._keys.stored_key:",
        "tests/smtp/test_scram.py",
    ),
    Defect(
        "the client believes a host that does not know its password",
        "mailserver/smtp/scramclient.py",
        "right = hmac.compare_digest(decoded(*matched(_FINAL, text)), self._signature)",
        "right = bool(decoded(*matched(_FINAL, text)))",
        "tests/smtp/test_scramclient.py",
    ),
    Defect(
        "a stranger may relay",
        "mailserver/reception/policy.py",
        "return None if client is not None and self._trusts(client) else refusals.NO_RELAY",
        "return None if client is not None else refusals.NO_RELAY",
        "tests/reception/test_policy.py",
    ),
)
