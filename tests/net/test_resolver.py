"""The resolver against an authoritative server of twisted.names, over UDP and TCP on loopback."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTCP, IReactorUDP
from twisted.internet.protocol import DatagramProtocol
from twisted.names import dns
from twisted.names.authority import FileAuthority
from twisted.names.server import DNSServerFactory
from twisted.trial.unittest import TestCase

from mailserver.net.resolver import (
    MAX_RECORDS,
    LookupTransient,
    NameNotFound,
    Resolver,
    SystemServers,
    _nameservers,
)
from mailserver.settings.forms import HostPort

SOA = dns.Record_SOA(
    mname=b"ns.b.example", rname=b"x.b.example", serial=1, refresh=1, minimum=1, expire=1, retry=1
)
RECORDS: dict[bytes, list[Any]] = {
    b"b.example": [SOA, dns.Record_MX(20, b"MX2.b.example", 60), dns.Record_MX(10, b"mx1.b.example", 60)],
    b"mx1.b.example": [dns.Record_A("192.0.2.1", 60), dns.Record_AAAA("2001:db8::1", 60)],
    b"alias.b.example": [dns.Record_CNAME(b"mx1.b.example", 60)],
    b"null.b.example": [dns.Record_MX(0, b"", 60)],
    b"many.b.example": [dns.Record_A(f"192.0.2.{n}", 60) for n in range(1, 101)],
    b"text.b.example": [dns.Record_TXT(b"x")],
    b"xn--grn-ioa.b.example": [dns.Record_A("192.0.2.2", 60)],
}


class Zone(FileAuthority):
    """An authoritative server for the records above."""

    def loadFile(self, filename: Any) -> None:
        self.soa = (b"b.example", SOA)
        self.records = RECORDS


@dataclass(frozen=True)
class Dns:
    servers: Sequence[str]
    timeout: float = 5


class Silent(DatagramProtocol):
    """Takes questions and never answers."""

    def __init__(self) -> None:
        self.asked = 0

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.asked += 1


class Answering(DatagramProtocol):
    """Answers every question with the same code and with the address of `name`, as if that had been asked."""

    def __init__(self, code: int, name: bytes) -> None:
        self.code = code
        self.name = name

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        message = dns.Message()
        message.fromStr(datagram)
        message.answer, message.rCode = 1, self.code
        message.queries = [dns.Query(self.name, dns.A, dns.IN)]
        message.answers = [dns.RRHeader(self.name, dns.A, dns.IN, 60, dns.Record_A("192.0.2.66"))]
        assert self.transport is not None
        self.transport.write(message.toStr(), addr)


class ResolverTests(TestCase):
    """Real sockets."""

    def setUp(self) -> None:
        factory = DNSServerFactory(authorities=[Zone(None)])
        factory.noisy = False
        tcp, udp = IReactorTCP(reactor), IReactorUDP(reactor)
        stream = tcp.listenTCP(0, factory, interface="127.0.0.1")
        number = stream.getHost().port  # type: ignore[attr-defined]
        self.ports: list[Any] = [stream, udp.listenUDP(number, dns.DNSDatagramProtocol(factory), "127.0.0.1")]
        self.server = f"127.0.0.1:{number}"

    async def tearDown(self) -> None:
        for port in self.ports:
            await port.stopListening()

    def resolver(self, *servers: str, seconds: float = 5) -> Resolver:
        return Resolver(reactor, Dns(servers or (self.server,), seconds))

    def also(self, protocol: DatagramProtocol) -> str:
        port: Any = IReactorUDP(reactor).listenUDP(0, protocol, "127.0.0.1")
        self.ports.append(port)
        return f"127.0.0.1:{port.getHost().port}"

    async def test_mx(self) -> None:
        assert sorted(await self.resolver().query("B.example.", "MX")) == [
            (10, "mx1.b.example"),
            (20, "mx2.b.example"),
        ]

    async def test_addresses(self) -> None:
        assert await self.resolver().query("mx1.b.example", "A") == ["192.0.2.1"]
        assert await self.resolver().query("mx1.b.example", "AAAA") == ["2001:db8::1"]

    async def test_alias(self) -> None:
        assert await self.resolver().query("alias.b.example", "A") == ["192.0.2.1"]

    async def test_null_mx(self) -> None:
        assert await self.resolver().query("null.b.example", "MX") == [(0, "")]

    async def test_a_name_without_such_records(self) -> None:
        assert await self.resolver().query("text.b.example", "MX") == []

    async def test_an_internationalized_name(self) -> None:
        assert await self.resolver().query("grün.b.example", "A") == ["192.0.2.2"]

    async def test_no_such_name(self) -> None:
        with pytest.raises(NameNotFound, match=r"absent\.b\.example does not exist"):
            await self.resolver().query("absent.b.example", "MX")

    async def test_what_is_no_name(self) -> None:
        with pytest.raises(NameNotFound):
            await self.resolver().query("x" * 64 + ".example", "MX")

    async def test_an_answer_over_tcp_is_bounded(self) -> None:
        """A hundred addresses fit into no datagram of 512 octets."""
        assert len(await self.resolver().query("many.b.example", "A")) == MAX_RECORDS

    async def test_servfail(self) -> None:
        failing = self.also(Answering(dns.ESERVER, b"mx1.b.example"))
        with pytest.raises(LookupTransient, match="failed with code 2"):
            await self.resolver(failing).query("mx1.b.example", "A")
        assert await self.resolver(failing, self.server).query("mx1.b.example", "A") == ["192.0.2.1"]

    async def test_a_silent_server_is_passed_over(self) -> None:
        silent = Silent()
        resolver = self.resolver(self.also(silent), self.server, seconds=0.4)
        assert await resolver.query("mx1.b.example", "A") == ["192.0.2.1"]
        assert silent.asked == 1

    async def test_silence(self) -> None:
        silent = Silent()
        with pytest.raises(LookupTransient, match="does not answer"):
            await self.resolver(self.also(silent), seconds=0.2).query("mx1.b.example", "A")
        assert silent.asked == 2

    async def test_an_answer_to_another_question(self) -> None:
        with pytest.raises(LookupTransient, match="another question"):
            await self.resolver(self.also(Answering(dns.OK, b"other.example"))).query("mx1.b.example", "A")

    async def test_no_servers(self) -> None:
        with pytest.raises(LookupTransient, match=r"no DNS servers are configured \(dns\.servers\)"):
            await Resolver(reactor, Dns(())).query("b.example", "MX")

    async def test_system_servers(self) -> None:
        file = Path(tempfile.mkdtemp()) / "resolv.conf"
        resolver = Resolver(reactor, Dns(("system",)), file)
        with pytest.raises(LookupTransient, match="no DNS servers"):
            await resolver.query("b.example", "MX")


def test_resolv_conf_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    servers = SystemServers(file)
    assert servers.current() == []
    file.write_text("search x\nnameserver 192.0.2.53\n")
    assert servers.current() == [HostPort("192.0.2.53", 53)]
    file.write_text("nameserver 192.0.2.54\nnameserver 2001:db8::53\n")
    assert servers.current() == [HostPort("192.0.2.54", 53), HostPort("2001:db8::53", 53)]


def test_resolv_conf_lines() -> None:
    text = "# nameserver 192.0.2.1\n nameserver\t192.0.2.2 \nnameserver\nnameserver 192.0.2.3:\noptions x\n"
    assert _nameservers(text) == [HostPort("192.0.2.2", 53)]
