"""One mail server: the queue side and reception, started and stopped in the right order.

Stopping is one coroutine: stop accepting; 421 to idle sessions; a bounded wait for contents that are coming
in; commits drained; attempts in flight end or are dropped; the spool last. Several servers can live in one
process: no signal handler, no global log observer, no module state.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from twisted.application.service import Service
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred

from mailserver.admin.control import Control
from mailserver.admin.socketserver import ControlSocket
from mailserver.net.certificatefiles import CertificateFiles
from mailserver.reception import refusals
from mailserver.reception.listening import Listening
from mailserver.reception.world import World as ReceptionWorld
from mailserver.relay import RelayQueue

# Of the time to stop, what is kept for attempts in flight after the sessions had theirs.
ATTEMPTS = 2.0
_NONE: Mapping[str, Portal] = MappingProxyType({})


class MailServer(Service):
    """Made by :func:`mailserver.service.build`. ``outbox``, ``queue``, ``spool``, ``control`` and ``listeners``
    are its parts for programs."""

    def __init__(
        self, relay: RelayQueue, world: ReceptionWorld, portal: Portal, portals: Mapping[str, Portal] = _NONE
    ) -> None:
        self.settings = relay.settings
        self.relay = relay
        self.spool = relay.spool
        self.queue = relay.queue
        self.outbox = relay.outbox
        self.listeners = Listening(self.settings, relay.machine.reactor, world, portal, portals)
        self.certificates = _certificates(relay)
        self.control = Control(relay.control_world(self.status, self.certificates))
        self._socket: ControlSocket | None = None
        self._started = False

    def open_control(self) -> None:
        """Also answer ``mailserverctl``, on the socket of the settings. Called before the service starts."""
        machine = self.relay.machine
        path = self.settings.path(self.settings.control.socket)
        self._socket = ControlSocket(path, self.control, machine.reactor, machine.log)

    def startService(self) -> None:
        """Open the spool, then the control socket, then the ports. What fails leaves nothing running."""
        super().startService()
        self.relay.start()
        self._started = True
        self.spool.ticks(self.listeners.tick)
        if self._socket is not None:
            self._socket.start()
        if self.settings.reception.enabled:
            self.certificates.start()
            self.spool.ticks(self.certificates.tick)
            self.listeners.start(self.certificates)
        # Not before the reactor runs: whoever reads it may send SIGTERM, which nobody catches until then.
        self.relay.machine.reactor.callWhenRunning(self._tell)

    def _tell(self) -> None:
        log = self.relay.machine.log
        log.event("server.started", host=self.settings.host_name, ports=self.listeners.ports())
        log.flush()

    def stopService(self) -> Deferred[None]:
        """See the module's text. Fires when everything that was answered 250 is settled or safe on disk."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if not self._started:
            return
        machine, drain = self.relay.machine, self.settings.timeouts.drain
        began = machine.clock.monotonic()
        machine.log.event("server.stopping", sessions=self.listeners.count, seconds=drain)
        machine.log.flush()
        await self.listeners.stop()
        await machine.within(max(drain - ATTEMPTS, drain / 2))(self.listeners.drained())
        self.listeners.abort()
        if self._socket is not None:
            await self._socket.stop()
        used = machine.clock.monotonic() - began
        machine.log.event("server.stopped")
        await self.relay.stop(max(drain - used, 0.5))

    def status(self) -> Mapping[str, Any]:
        """What ``mailserverctl status`` shows of the running server."""
        return {
            **self.relay.status(),
            "listeners": self.listeners.status(),
            "certificates": self.certificates.status(),
        }

    def reload_certificates(self) -> None:
        """Look at the files of the certificates now. What comes of it is in the log."""
        log = self.relay.machine.log
        done = Deferred.fromCoroutine(self.certificates.reload())
        done.addErrback(lambda failed: log.failure("certificates were not looked at", failed))
        done.addCallback(lambda _: log.flush())

    def hurry(self) -> None:
        """Whoever stops this server wants it now: cut the sessions that are left."""
        self.listeners.abort()

    def fail(self) -> None:
        """The store failed: nobody is told 250 any more, every session ends."""
        self.listeners.hang_up(refusals.NOT_NOW)
        self.relay.machine.log.flush()


def _certificates(relay: RelayQueue) -> CertificateFiles:
    """All of the settings where a listener does TLS: each is for whoever asks for one of its names."""
    settings, machine = relay.settings, relay.machine
    used = any(listener.enabled and listener.tls != "none" for listener in settings.listeners)
    files = {one.name: (settings.path(one.chain), settings.path(one.key)) for one in settings.certificates if used}
    return CertificateFiles(files, machine.threads, machine.clock, machine.log)
