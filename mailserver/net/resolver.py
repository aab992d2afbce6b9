"""DNS look-ups for mail: MX, A and AAAA, bounded in time and in number.

:class:`Resolver` asks the configured servers in turn, by UDP first and by TCP where an answer did not fit. A
server that is silent, refuses or fails is passed over for the next. It asks recursive resolvers: it follows no
referral, keeps no cache and checks no signature.

``("system",)`` means the servers of ``/etc/resolv.conf``, read again when the file changes; no servers at all
means that every query fails with a sentence that says so, and never silently that a domain has no mail host.

:class:`NameNotFound` is an authoritative no (NXDOMAIN); everything else that is no answer is
:class:`LookupTransient` (RFC 5321 §5.1: mail waits).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from socket import AF_INET6, inet_ntop
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.names import dns
from zope.interface import implementer

from mailserver.interfaces import IResolver, MailServerError
from mailserver.settings.forms import HostPort

# A domain with more mail hosts or addresses than this is not helped by knowing them all.
MAX_RECORDS = 50
RESOLV_CONF = Path("/etc/resolv.conf")
_TYPES = {"MX": dns.MX, "A": dns.A, "AAAA": dns.AAAA}
# RFC 1034 §3.6.2 and common practice: a chain of aliases longer than this is a loop.
_MAX_ALIASES = 10


class NameNotFound(MailServerError):
    """The name does not exist (NXDOMAIN)."""


class LookupTransient(MailServerError):
    """No answer to be had now: SERVFAIL, silence, no servers, nonsense."""


class DnsSettings(Protocol):
    """What is read of ``settings.dns``."""

    @property
    def servers(self) -> Sequence[str]: ...
    @property
    def timeout(self) -> float: ...


@implementer(IResolver)
class Resolver:
    """Asks the servers of `dns_settings`. ``timeout`` there is for a whole query, all servers together."""

    def __init__(self, reactor: Any, dns_settings: DnsSettings, resolv_conf: Path = RESOLV_CONF) -> None:
        self._reactor = reactor
        self._settings = dns_settings
        self._system = SystemServers(resolv_conf)

    async def query(self, name: str, kind: str) -> Sequence[Any]:
        """See :class:`~mailserver.interfaces.IResolver`."""
        servers = self._servers()
        if not servers:
            raise LookupTransient("no DNS servers are configured (dns.servers)")
        try:
            question = dns.Query(name.rstrip(".").encode("idna"), _TYPES[kind], dns.IN)
        except UnicodeError:
            raise NameNotFound(f"{name!r} is no name that DNS could have") from None
        message = await self._first_answer(servers, question)
        if message.rCode == dns.ENAME:
            raise NameNotFound(f"{name} does not exist")
        return _records(message.answers, question)

    async def _first_answer(self, servers: Sequence[HostPort], question: dns.Query) -> dns.Message:
        """The first yes or no of a server. A datagram may get lost, so who is silent is asked twice."""
        silent, problem = list(servers), ""
        share = self._settings.timeout / (2 * len(servers))
        for server in (*servers, *servers):
            if server not in silent:
                continue
            try:
                message = await self._ask(server, question, share)
            except dns.DNSQueryTimeoutError:
                problem = f"the DNS server {server} does not answer"
                continue
            except Exception as error:
                problem = f"the DNS server {server} cannot be asked: {error}"
            else:
                if message.rCode in (dns.OK, dns.ENAME):
                    return message
                problem = f"the DNS server {server} failed with code {message.rCode}"
            silent.remove(server)
        raise LookupTransient(f"{question.name}: {problem}")

    def _servers(self) -> list[HostPort]:
        configured = self._settings.servers
        if tuple(configured) == ("system",):
            return self._system.current()
        return [HostPort.parse(text, dns.PORT) for text in configured]

    async def _ask(self, server: HostPort, question: dns.Query, seconds: float) -> dns.Message:
        message = await self._ask_udp(server, question, seconds)
        if message.trunc:
            message = await self._ask_tcp(server, question, seconds)
        if message.queries and message.queries[0] != question:
            raise LookupTransient("the answer is to another question")
        return message

    async def _ask_udp(self, server: HostPort, question: dns.Query, seconds: float) -> dns.Message:
        # A socket of its own for each question: its random port is half of what a forger must guess.
        protocol = dns.DNSDatagramProtocol(_Deaf(), reactor=self._reactor)
        protocol.noisy = False
        port = self._reactor.listenUDP(0, protocol, interface="::" if ":" in server.host else "")
        port.noisy = False
        try:
            message: dns.Message = await protocol.query((server.host, server.port), [question], seconds)
        finally:
            port.stopListening()
        return message

    async def _ask_tcp(self, server: HostPort, question: dns.Query, seconds: float) -> dns.Message:
        endpoint = TCP6ClientEndpoint if ":" in server.host else TCP4ClientEndpoint
        factory = _StreamFactory(self._reactor)
        stream: Any = await endpoint(self._reactor, server.host, server.port, seconds).connect(factory)
        answer: Deferred[dns.Message] = stream.query([question], seconds)
        try:
            return await answer
        finally:
            stream.transport.abortConnection()


class _Deaf:
    """twisted.names tells a controller about connections and about messages that nobody waits for."""

    def messageReceived(self, *_: object) -> None: ...
    def connectionMade(self, *_: object) -> None: ...
    def connectionLost(self, *_: object) -> None: ...


class _StreamFactory(Factory):
    noisy = False

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def buildProtocol(self, addr: Any) -> dns.DNSProtocol:
        return dns.DNSProtocol(_Deaf(), reactor=self._reactor)


def _records(answers: Sequence[Any], question: dns.Query) -> list[Any]:
    """The records asked for, of the name asked for or of what it is an alias of."""
    name = question.name
    for _ in range(_MAX_ALIASES):
        found = [each.payload for each in answers if each.type == question.type and each.name == name]
        alias = [each.payload.name for each in answers if each.type == dns.CNAME and each.name == name]
        if found or not alias:
            return [_value(payload) for payload in found[:MAX_RECORDS]]
        name = alias[0]
    return []


def _value(payload: Any) -> Any:
    if payload.TYPE == dns.MX:
        return payload.preference, _text(payload.name)
    return payload.dottedQuad() if payload.TYPE == dns.A else inet_ntop(AF_INET6, payload.address)


def _text(name: dns.Name) -> str:
    return name.name.decode("ascii", "backslashreplace").rstrip(".").lower()


class SystemServers:
    """The ``nameserver`` lines of a resolv.conf(5), read again when the file has changed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp: object = None
        self._servers: list[HostPort] = []

    def current(self) -> list[HostPort]:
        """The servers; empty where there is no file."""
        try:
            status = os.stat(self._file)
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            if stamp != self._stamp:
                self._stamp, self._servers = stamp, _nameservers(self._file.read_text("utf-8", "replace"))
        except OSError:
            return []
        return self._servers


def _nameservers(text: str) -> list[HostPort]:
    words = [line.split() for line in text.splitlines()]
    found = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]
    servers = []
    for address in found:
        try:
            servers.append(HostPort.parse(address, dns.PORT))
        except ValueError:
            continue  # no address; the C library passes over it too
    return servers
