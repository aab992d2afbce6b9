"""DNS as a test wants it: an `IResolver` that knows what it was told, and says NXDOMAIN to the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zope.interface import implementer

from mailserver.interfaces import IResolver
from mailserver.net.resolver import LookupTransient, NameNotFound

KINDS = ("A", "AAAA", "MX")


@implementer(IResolver)
class ScriptedNames:
    """``queries`` are the (name, kind) pairs that were asked, in order. Names are compared without case."""

    def __init__(self) -> None:
        self.queries: list[tuple[str, str]] = []
        self._records: dict[str, dict[str, list[Any]]] = {}
        self._failing: dict[str, str] = {}

    def mx(self, domain: str, host: str, preference: int = 10) -> ScriptedNames:
        """One more mail host of `domain`; the host "" is the null MX (RFC 7505)."""
        self._known(domain)["MX"].append((preference, host))
        return self

    def address(self, name: str, *addresses: str) -> ScriptedNames:
        """IPv4 and IPv6 addresses of `name`."""
        for address in addresses:
            self._known(name)["AAAA" if ":" in address else "A"].append(address)
        return self

    def exists(self, name: str) -> ScriptedNames:
        """`name` exists, perhaps without any record."""
        self._known(name)
        return self

    def forget(self, name: str) -> ScriptedNames:
        """`name` does not exist, and does not fail either."""
        self._records.pop(_folded(name), None)
        self._failing.pop(_folded(name), None)
        return self

    def fails(self, name: str, reason: str = "no answer") -> ScriptedNames:
        """No answer is to be had for `name`, until :meth:`works`."""
        self._failing[_folded(name)] = reason
        return self

    def works(self, name: str) -> ScriptedNames:
        """Answers are to be had again."""
        self._failing.pop(_folded(name), None)
        return self

    def _known(self, name: str) -> dict[str, list[Any]]:
        return self._records.setdefault(_folded(name), {kind: [] for kind in KINDS})

    async def query(self, name: str, kind: str) -> Sequence[Any]:
        """See `IResolver.query`."""
        self.queries.append((name, kind))
        folded = _folded(name)
        if folded in self._failing:
            raise LookupTransient(f"{name}: {self._failing[folded]}")
        if folded not in self._records:
            raise NameNotFound(f"{name} does not exist")
        return list(self._records[folded][kind])


def _folded(name: str) -> str:
    return name.rstrip(".").lower()
