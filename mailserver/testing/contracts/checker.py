"""The contract of a credentials checker (`twisted.cred.checkers.ICredentialsChecker`) that knows passwords::

class TestLdap(CheckerContract):
    username, password = b"anna@example.org", b"secret"

    def make(self):
        return Ldap(Options(), services())
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import LoginFailed

from mailserver.testing.contracts.answers import Waiting

# Not UTF-8, a NUL, nothing, and more than any hash takes (bcrypt: 72 octets).
STRANGE = (b"\xff\xfe", b"a\x00b", b"", b"x" * 5000)


class CheckerContract(Waiting):
    """Override :meth:`make`, and name somebody who may log in."""

    username = b"anna@example.org"
    password = b"secret"

    def make(self) -> Any:
        """A checker that knows ``username`` with ``password``."""
        raise NotImplementedError

    def _refused(self, username: bytes, password: bytes) -> None:
        try:
            avatar_id = self.wait(self.make().requestAvatarId(UsernamePassword(username, password)))
        except LoginFailed:
            return
        raise AssertionError(f"a wrong login was answered {avatar_id!r}; raise UnauthorizedLogin")

    def test_it_says_what_it_is(self) -> None:
        checker = self.make()
        assert ICredentialsChecker.providedBy(checker)
        assert tuple(checker.credentialInterfaces)

    def test_the_right_password_gives_an_avatar_id(self) -> None:
        avatar_id = self.wait(self.make().requestAvatarId(UsernamePassword(self.username, self.password)))
        assert isinstance(avatar_id, (bytes, str, tuple)), f"no avatar id: {avatar_id!r}"
        assert avatar_id != ()

    def test_wrong_ones_are_refused_and_nothing_else(self) -> None:
        self._refused(self.username, self.password + b"x")
        self._refused(b"somebody@else.example", self.password)
        for octets in STRANGE:
            self._refused(self.username, octets)
            self._refused(octets, self.password)
