"""From a destination to the hosts that take its mail (RFC 5321 §5.1, RFC 7505).

``[host]:port`` and ``[192.0.2.1]`` are that host, ``unix:PATH`` is a socket of this machine; any other destination
is a domain, whose MX records are looked up, with the domain itself as its only host where there are none. Hosts
come in order of preference, equal ones shuffled; of their addresses at most :data:`MAX_ADDRESSES` are answered, so
that no domain can keep an attempt busy for long.

================================================  =========================================
what DNS says                                     outcome
================================================  =========================================
no such domain                                    permanent 5.1.2
no MX, and the domain has no address              permanent 5.1.2
null MX                                           permanent 5.1.10 (556)
none of its hosts has an address                  permanent 5.4.4
we are its best host ourselves                    permanent 5.4.6, a loop
no answer                                         transient 4.4.3, scope destination
a host named in our own settings is unknown       transient 4.4.3: a typing error returns no mail
================================================  =========================================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import chain, zip_longest
from random import Random

from mailserver.interfaces import IResolver
from mailserver.message.outcome import Outcome, Scope, permanent, transient
from mailserver.net.client import Peer
from mailserver.net.resolver import LookupTransient, NameNotFound
from mailserver.settings.forms import UNIX
from mailserver.smtp.status import Status

MAX_ADDRESSES = 10
# Each host of a long MX list costs look-ups of its own.
_MAX_HOSTS = 10


@dataclass(frozen=True, slots=True)
class HostRules:
    """``own_name`` is this host in MX records; ``port`` for hosts found there; ``preference`` is ``any``, ``ipv4``
    or ``ipv6``; ``bind_address`` "" or the address that connections come from, which settles the family."""

    own_name: str
    port: int = 25
    preference: str = "any"
    bind_address: str = ""


class HostFinder:
    """Asks `resolver`; `random` shuffles hosts of equal preference."""

    def __init__(self, resolver: IResolver, rules: HostRules, random: Random) -> None:
        self._resolver = resolver
        self._rules = rules
        self._random = random

    async def find(self, destination: str) -> list[Peer] | Outcome:
        """Hosts and addresses in the order in which they are to be tried, at least one; or why there are none."""
        try:
            if destination.startswith(UNIX):
                return [Peer("localhost", destination, 0)]
            if destination.startswith("["):
                return await self._named(destination)
            return await self._by_mx(destination)
        except LookupTransient as problem:
            return transient(str(problem), Status(4, 4, 3), Scope.DESTINATION)

    async def _named(self, destination: str) -> list[Peer] | Outcome:
        host, port = split_destination(destination, self._rules.port)
        if _address(host) is not None:
            return [Peer(host, host, port)]
        try:
            addresses = await self._addresses(host)
        except NameNotFound:
            addresses = []
        if not addresses:
            text = f"the host {host}, which the settings name, has no address"
            return transient(text, Status(4, 4, 3), Scope.DESTINATION)
        return [Peer(host, address, port) for address in addresses[:MAX_ADDRESSES]]

    async def _by_mx(self, domain: str) -> list[Peer] | Outcome:
        try:
            records = [(preference, host.rstrip(".").lower()) for preference, host in await self._mx(domain)]
        except NameNotFound:
            return permanent(f"the domain {domain} does not exist", Status(5, 1, 2), Scope.DESTINATION)
        if not records:
            return await self._implicit(domain)
        if all(not host for _, host in records):
            text = f"the domain {domain} takes no mail (null MX)"
            return permanent(text, Status(5, 1, 10), Scope.DESTINATION)
        hosts = self._in_order(records)
        if not hosts:
            text = f"mail for {domain} loops back to this host: its MX names us, and we do not know it"
            return permanent(text, Status(5, 4, 6), Scope.DESTINATION)
        return await self._peers(domain, hosts)

    async def _mx(self, domain: str) -> Sequence[tuple[int, str]]:
        return await self._resolver.query(domain, "MX")

    async def _implicit(self, domain: str) -> list[Peer] | Outcome:
        addresses = await self._addresses(domain)
        if addresses:
            return [Peer(domain, address, self._rules.port) for address in addresses[:MAX_ADDRESSES]]
        return permanent(f"the domain {domain} has no mail host", Status(5, 1, 2), Scope.DESTINATION)

    def _in_order(self, records: Iterable[tuple[int, str]]) -> list[str]:
        """RFC 5321 §5.1: best first, equals at random; from our own place on, everything is dropped."""
        known = [(preference, self._random.random(), host) for preference, host in records if host]
        ours = [preference for preference, _, host in known if host == self._rules.own_name.lower()]
        limit = min(ours, default=65_536)
        return list(dict.fromkeys(host for preference, _, host in sorted(known) if preference < limit))

    async def _peers(self, domain: str, hosts: Sequence[str]) -> list[Peer] | Outcome:
        peers: list[Peer] = []
        unknown: LookupTransient | None = None
        for host in hosts[:_MAX_HOSTS]:
            try:
                addresses = await self._addresses(host)
            except NameNotFound:
                continue
            except LookupTransient as problem:
                unknown = problem
                continue
            peers += [Peer(host, address, self._rules.port) for address in addresses]
            if len(peers) >= MAX_ADDRESSES:
                break
        if peers:
            return peers[:MAX_ADDRESSES]
        if unknown is not None:
            raise unknown
        text = f"none of the mail hosts of {domain} has an address: {', '.join(hosts[:3])}"
        return permanent(text, Status(5, 4, 4), Scope.DESTINATION)

    async def _addresses(self, host: str) -> list[str]:
        """Addresses of both families in the order of preference. One family that answers is enough."""
        literal = _address(host)
        if literal is not None:
            return [host]  # an MX that names an address: against RFC 5321 §5.1, and common
        kinds = self._kinds()
        found: dict[str, Sequence[str]] = {}
        problem: LookupTransient | None = None
        for kind in kinds:
            try:
                found[kind] = await self._resolver.query(host, kind)
            except LookupTransient as error:
                problem = error
        if problem is not None and not any(found.values()):
            raise problem
        lists = [found.get(kind, ()) for kind in kinds]
        if self._rules.preference != "any":
            return list(chain(*lists))
        # Alternating, so that a family without a route costs one try and not all of them.
        return [address for pair in zip_longest(*lists) for address in pair if address is not None]

    def _kinds(self) -> tuple[str, ...]:
        bound = _address(self._rules.bind_address)
        if bound is not None:
            return ("A",) if bound.version == 4 else ("AAAA",)
        return ("A", "AAAA") if self._rules.preference == "ipv4" else ("AAAA", "A")


def split_destination(destination: str, default_port: int) -> tuple[str, int]:
    """``[host]:port`` or ``[host]``, where host may be an address literal of RFC 5321 §4.1.3."""
    host, _, port = destination[1:].partition("]")
    if host[:5].lower() == "ipv6:":
        host = host[5:]
    return host, int(port[1:]) if port else default_port


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
