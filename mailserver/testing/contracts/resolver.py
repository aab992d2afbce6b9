"""The contract of :class:`~mailserver.interfaces.IResolver`::

class TestTable(ResolverContract):
    with_mx, with_address, missing = "example.org", "mx.example.org", "nowhere.example"

    def make(self):
        return Table(Options(), services())
"""

from __future__ import annotations

import ipaddress
from typing import Any

from zope.interface.verify import verifyObject

from mailserver.interfaces import IResolver
from mailserver.net.resolver import NameNotFound
from mailserver.testing.contracts.answers import Waiting


class ResolverContract(Waiting):
    """Override :meth:`make`, and name a name with MX records, one with addresses, and one that does not exist."""

    with_mx = "example.org"
    with_address = "mx.example.org"
    missing = "nowhere.example"

    def make(self) -> Any:
        """A resolver that knows these names."""
        raise NotImplementedError

    def test_it_says_what_it_is(self) -> None:
        assert verifyObject(IResolver, self.make())

    def test_mx_records_are_pairs(self) -> None:
        records = self.wait(self.make().query(self.with_mx, "MX"))
        assert len(records) > 0
        for preference, host in records:
            assert 0 <= preference <= 65_535
            assert isinstance(host, str)
            assert not host.endswith(".") or host == "."

    def test_addresses_are_addresses(self) -> None:
        resolver = self.make()
        records = [
            *self.wait(resolver.query(self.with_address, "A")),
            *self.wait(resolver.query(self.with_address, "AAAA")),
        ]
        assert records
        for address in records:
            assert ipaddress.ip_address(str(address))

    def test_a_name_that_does_not_exist_says_so(self) -> None:
        for kind in ("MX", "A", "AAAA"):
            try:
                found = self.wait(self.make().query(self.missing, kind))
            except NameNotFound:
                continue
            raise AssertionError(f"{kind} of a missing name answered {found!r}")
