"""The contract of :class:`~mailserver.interfaces.IDirectory`::

class TestMembers(DirectoryContract):
    known, unknown, elsewhere = "anna@example.org", "nobody@example.org", "bob@example.net"

    def make(self):
        return Members(Options(), services())
"""

from __future__ import annotations

from typing import Any

from zope.interface.verify import verifyObject

from mailserver.interfaces import IDirectory
from mailserver.message.resolution import Found, Resolution
from mailserver.smtp.address import Mailbox
from mailserver.testing.contracts.answers import Waiting

STRANGE = ("x@[192.0.2.1]", "x@[IPv6:2001:db8::1]", "dörte@bücher.example", '"a @ b"@example.net')


class DirectoryContract(Waiting):
    """Override :meth:`make`, and name a mailbox that exists, one of ours that does not, and one of others."""

    known = "anna@example.org"
    unknown = "nobody@example.org"
    elsewhere = "bob@example.net"

    def make(self) -> Any:
        """A directory that has ``known``."""
        raise NotImplementedError

    def _resolved(self, text: str) -> Resolution:
        resolution = self.wait(self.make().resolve(Mailbox.parse(text)))
        assert isinstance(resolution, Resolution), text
        return resolution

    def test_it_says_what_it_is(self) -> None:
        assert verifyObject(IDirectory, self.make())

    def test_a_known_mailbox_is_an_account_or_an_alias(self) -> None:
        resolution = self._resolved(self.known)
        assert resolution.found in (Found.ACCOUNT, Found.ALIAS)
        assert bool(resolution.targets) is (resolution.found is Found.ALIAS)

    def test_the_canonical_form_resolves_to_itself(self) -> None:
        resolution = self._resolved(self.known)
        if resolution.found is Found.ACCOUNT:
            assert self._resolved(str(resolution.mailbox)) == resolution

    def test_the_domain_has_no_case(self) -> None:
        local, _, domain = self.known.rpartition("@")
        assert self._resolved(f"{local}@{domain.upper()}") == self._resolved(self.known)

    def test_an_unknown_name_of_ours_is_unknown(self) -> None:
        assert self._resolved(self.unknown).found is Found.UNKNOWN

    def test_other_domains_are_elsewhere(self) -> None:
        assert self._resolved(self.elsewhere).found is Found.ELSEWHERE

    def test_no_address_makes_it_raise(self) -> None:
        for text in STRANGE:
            assert self._resolved(text).mailbox is not None
        for mailbox in (Mailbox("", None), Mailbox("postmaster", None)):
            assert isinstance(self.wait(self.make().resolve(mailbox)), Resolution)
