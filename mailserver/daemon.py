"""The root service under twistd: brings a server up, hears signals, and ends the process when the store failed.

The first SIGINT or SIGTERM stops in order, within ``timeouts.drain``; a second one stops waiting for sessions.
SIGHUP looks at the files of the certificates, as those who renew them expect; where a terminal is the input, it
says that the terminal was closed, and stops in order, too. What fails after the check is told in one
sentence. With ``-n`` it ends the process with 1; in a process that twistd put into the background only an
exception can do that, and twistd cuts its text at 100 octets.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from mailserver.log import observer
from mailserver.relay import Machine, machine_of
from mailserver.server import MailServer
from mailserver.settings.model import Settings

# After a failed store: long enough for the 421s to leave, short enough that nobody waits for the restart.
FAREWELL = 0.3


class StartFailed(Exception):
    """Something failed after the check, in the background."""


class Root(Service):
    """``assemble(machine)`` makes the server. Nothing but objects is made before :meth:`startService`."""

    def __init__(self, settings: Settings, reactor: Any, assemble: Callable[[Machine], MailServer]) -> None:
        self._reactor = reactor
        machine = machine_of(settings, reactor, None, None, self._store_failed)
        self._log = machine.log
        self._process = os.getpid()
        self.server = assemble(machine)
        self.server.open_control()
        self._signals = Signals(reactor, self.server, self._log)

    def startService(self) -> None:
        """Start, or say what is wrong and end the process with 1."""
        super().startService()
        _raise_descriptors()
        globalLogPublisher.addObserver(observer(self._log))
        try:
            self.server.startService()
        except Exception as error:
            self._log.flush()
            if os.getpid() == self._process:
                raise SystemExit(f"mailserver: {error}") from None
            # twistd's parent waits for news of this process, and SystemExit would leave it waiting.
            sys.stderr.write(f"mailserver: {error}\n")
            raise StartFailed(str(error)[:90]) from None
        self._reactor.callWhenRunning(self._signals.install)

    def stopService(self) -> Deferred[None]:
        """Stop, see `MailServer.stopService`."""
        super().stopService()
        return self.server.stopService()

    def _store_failed(self, reason: str) -> None:
        """No commit, no close, no retry in this process: a fresh one recovers."""
        self._log.event("server.failed", reason=reason)
        self._log.flush()
        self._reactor.callLater(FAREWELL, self._leave)

    def _leave(self) -> None:
        self._log.flush()
        os._exit(1)


def _raise_descriptors() -> None:
    """Every connection is a descriptor, and the limit that shells give is meant for programs with a few."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # a system that has its own idea of "unlimited"
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Signals:
    """Twisted's handlers stop the reactor; ours stand before them, so that a second signal is no error."""

    def __init__(self, reactor: Any, server: MailServer, log: Any) -> None:
        self._reactor = reactor
        self._server = server
        self._log = log
        self._twisted: dict[int, Any] = {}
        self._stopping = False
        self._terminal = False

    def install(self) -> None:
        """Once the reactor runs, and so has installed its own."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._twisted[number] = signal.getsignal(number)
            signal.signal(number, self._heard)
        self._twisted[signal.SIGHUP] = self._twisted[signal.SIGTERM]
        # A terminal that has gone says that it is none.
        self._terminal = os.isatty(0)
        signal.signal(signal.SIGHUP, self._heard)

    def _heard(self, number: int, frame: Any) -> None:
        name = signal.Signals(number).name
        self._reactor.callFromThread(self._log.event, "server.signal", name=name, again=self._stopping)
        if number == signal.SIGHUP and not self._terminal:
            if not self._stopping:
                self._reactor.callFromThread(self._server.reload_certificates)
        elif self._stopping:
            self._reactor.callFromThread(self._server.hurry)
        elif callable(handler := self._twisted[number]):
            self._stopping = True
            handler(signal.SIGTERM if number == signal.SIGHUP else number, frame)
