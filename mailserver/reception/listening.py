"""The listeners of a server: their ports, their sessions, and how they are doing.

One :class:`Door` per listener of the settings. A door that cannot open says why and what to do; the others
are not touched by that, unless it is the start of the server, where it is an error of the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred

from mailserver.net.certificatefiles import CertificateFiles
from mailserver.net.listener import accept
from mailserver.reception import refusals
from mailserver.reception.factory import ReceptionFactory
from mailserver.reception.world import World
from mailserver.settings.listener import Listener
from mailserver.settings.model import Settings
from mailserver.smtp.reply import Reply


class Door:
    """One listener: its factory and its open ports."""

    def __init__(self, listener: Listener, reactor: Any, factory: ReceptionFactory) -> None:
        self._reactor = reactor
        self.listener = listener
        self.factory = factory
        self._ports: list[Any] = []

    def open(self, certificates: CertificateFiles) -> None:
        """Bind and listen. Raises BindProblem or CertificateProblem; nothing stays open then."""
        listener = self.listener
        if listener.tls != "none":
            self.factory.context = certificates.listener(listener.certificate)
        setting = f"listeners.{listener.name}.listen"
        self._ports = accept(self._reactor, listener.addresses, setting, self.factory)

    async def close(self) -> None:
        """Stop accepting. Sessions go on."""
        ports, self._ports = self._ports, []
        for port in ports:
            await port.stopListening()

    def addresses(self) -> list[str]:
        """Where it listens now."""
        hosts = [port.getHost() for port in self._ports]
        return [f"[{h.host}]:{h.port}" if ":" in h.host else f"{h.host}:{h.port}" for h in hosts]


class Listening:
    """All doors of a server. `portals` are those of listeners that have their own, by name; `portal` is for the
    others."""

    def __init__(
        self, settings: Settings, reactor: Any, world: World, portal: Portal, portals: Mapping[str, Portal]
    ) -> None:
        self._checks = world.checks
        self.doors = [
            Door(one, reactor, ReceptionFactory(settings, one, world, portals.get(one.name, portal)))
            for one in settings.listeners
            if one.enabled
        ]

    def start(self, certificates: CertificateFiles) -> None:
        """Open every door. Raises what the first one raises that cannot open."""
        for door in self.doors:
            door.open(certificates)

    def tick(self) -> None:
        """Once a second: deadlines of sessions and checks."""
        if self._checks is not None:
            self._checks.tick()
        for door in self.doors:
            door.factory.tick()

    async def stop(self) -> None:
        """Stop accepting, and end idle sessions with 421; those with a content under way end after it."""
        for door in self.doors:
            await door.close()
        self.hang_up(refusals.STOPPING)

    def hang_up(self, reply: Reply) -> None:
        """End every session with `reply`, as soon as each can be told."""
        for door in self.doors:
            door.factory.hang_up(reply)

    def drained(self) -> Deferred[None]:
        """Fires when no session is left."""
        return _all([door.factory.drained() for door in self.doors])

    def abort(self) -> None:
        """Cut the sessions that are left."""
        for door in self.doors:
            door.factory.abort()

    @property
    def count(self) -> int:
        """Sessions now."""
        return sum(door.factory.connections.count for door in self.doors)

    def ports(self) -> list[str]:
        """Every address that is listened on."""
        return [address for door in self.doors for address in door.addresses()]

    def status(self) -> Sequence[Mapping[str, Any]]:
        """A row per listener."""
        return [
            {
                "name": door.listener.name,
                "role": door.listener.role,
                "tls": door.listener.tls,
                "wanted": list(door.listener.listen),
                "listening": door.addresses(),
                "sessions": door.factory.connections.count,
            }
            for door in self.doors
        ]


def _all(waiting: Sequence[Deferred[None]]) -> Deferred[None]:
    return Deferred.fromCoroutine(_each(waiting))


async def _each(waiting: Sequence[Deferred[None]]) -> None:
    for one in waiting:
        await one
