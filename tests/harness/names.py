"""A DNS server for tests: twisted.names in a process of its own, on UDP and TCP of a loopback address.

The zone is a JSON object from name to records: ``{"far.test": {"MX": [[10, "mx.far.test"]]}, "mx.far.test":
{"A": ["127.0.0.2"]}}``. A name that is not in it does not exist; the name ``broken.test`` fails (SERVFAIL).
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.harness.daemon import ROOT, free_address

PORT = 5353
Zone = dict[str, dict[str, list[Any]]]


class Names:
    """A server that runs. ``place`` is what ``dns.servers`` names."""

    def __init__(self, zone: Zone) -> None:
        self.place = f"{free_address()}:{PORT}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.harness.names", self.place, json.dumps(zone)],
            cwd=ROOT, stdout=subprocess.PIPE,
        )  # fmt: skip

    def wait(self) -> None:
        """Until it answers."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"listening\n"

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


def main(place: str, text: str) -> None:
    """The process."""
    from twisted.internet import defer, reactor
    from twisted.names import dns, error, server

    zone: Zone = json.loads(text)
    makers: dict[int, tuple[str, Any]] = {
        dns.MX: ("MX", lambda value: dns.Record_MX(value[0], value[1].rstrip("."))),
        dns.A: ("A", dns.Record_A),
    }

    class Resolver:
        def query(self, query: Any, timeout: Any = None) -> Any:
            name = query.name.name.decode()
            if name == "broken.test":
                return defer.fail(error.ResolverError(name))
            if name not in zone:
                return defer.fail(error.DomainError(name))
            kind, make = makers.get(query.type, ("", None))
            records = [
                dns.RRHeader(query.name.name, query.type, payload=make(value), ttl=60)
                for value in zone[name].get(kind, [])
            ]
            return defer.succeed((records, [], []))

    address, _, port = place.rpartition(":")
    factory = server.DNSServerFactory(clients=[Resolver()])
    listening: Any = reactor
    listening.listenUDP(int(port), dns.DNSDatagramProtocol(factory), interface=address)
    listening.listenTCP(int(port), factory, interface=address)
    listening.callWhenRunning(print, "listening", flush=True)
    listening.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
