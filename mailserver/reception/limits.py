"""How many connections there may be, in all and per address, and what one address may do in a minute.

An IPv6 client is counted by its /64, which is what one customer is given at least (RFC 6177): all 2**64 addresses
of it are one client's.

Everything here is bounded: addresses are forgotten when their minute is over, and over a fixed number of
addresses the oldest is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from socket import AF_INET6, inet_ntop, inet_pton

ADDRESSES = 100_000
_MAPPED = b"\0" * 10 + b"\xff\xff"


def counted_as(address: str) -> str:
    """The name under which a client is counted: an IPv6 address by its /64, anything else as it is."""
    if ":" not in address:
        return address
    try:
        octets = inet_pton(AF_INET6, address.partition("%")[0])
    except (OSError, ValueError):
        return address
    return address if octets.startswith(_MAPPED) else inet_ntop(AF_INET6, octets[:8] + bytes(8)) + "/64"


class Connections:
    """Counts open connections of one listener. A bound of 0 for one address is no bound."""

    def __init__(self, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._count = 0
        self._by_address: dict[str, int] = {}

    def accept(self) -> bool:
        """Take a place, of a client that need not be known yet; False when there is none. Whoever got True calls
        :meth:`leave` once."""
        if self._count >= self._total:
            return False
        self._count += 1
        return True

    def leave(self) -> None:
        """Give a place back."""
        self._count -= 1

    def claim(self, address: str) -> bool:
        """Take one of the places of a client; False when it has them all. Whoever got True calls :meth:`release`
        once."""
        address = counted_as(address)
        there = self._by_address.get(address, 0)
        if self._each and there >= self._each:
            return False
        self._by_address[address] = there + 1
        return True

    def release(self, address: str) -> None:
        """Give that back."""
        address = counted_as(address)
        there = self._by_address[address] - 1
        if there:
            self._by_address[address] = there
        else:
            del self._by_address[address]

    @property
    def count(self) -> int:
        """Connections now."""
        return self._count


class PerMinute:
    """Counts events of each address in the current minute of a monotonic clock. A bound of 0 is no bound."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._minute = -1
        self._counts: OrderedDict[str, int] = OrderedDict()

    def count(self, address: str, now: float) -> bool:
        """Count one event; False when it is one too many."""
        if not self._bound:
            return True
        address = counted_as(address)
        there = self._current(address, now) + 1
        self._counts[address] = there
        if len(self._counts) > ADDRESSES:
            self._counts.popitem(last=False)
        return there <= self._bound

    def forgive(self, address: str, now: float) -> None:
        """Take one event back: it was none."""
        address = counted_as(address)
        if self._bound and self._current(address, now):
            self._counts[address] -= 1

    def _current(self, address: str, now: float) -> int:
        minute = int(now // 60)
        if minute != self._minute:
            self._minute = minute
            self._counts.clear()
        return self._counts.get(address, 0)
