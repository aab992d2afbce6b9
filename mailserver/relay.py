"""The queue side, composed: spool, intake, router, transports and queue manager, without reception.

It queues, relays and delivers, and never listens. :class:`~mailserver.service.MailServer` is this and
reception; an application that only sends uses this alone. Nothing in the instance directory is touched
before :meth:`RelayQueue.start`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred

from mailserver.accounts.directory import AccountDirectory
from mailserver.accounts.store import AccountStore
from mailserver.clock import SystemClock
from mailserver.interfaces import IClock, IDirectory, IResolver, ITransport
from mailserver.log import Log
from mailserver.net.resolver import Resolver
from mailserver.queue.bounce import Bounces
from mailserver.queue.destination import Windows
from mailserver.queue.intake import Intake
from mailserver.queue.manager import Parts, QueueManager
from mailserver.queue.router import Router
from mailserver.queue.schedule import Schedule
from mailserver.settings.model import Settings
from mailserver.spool.contract import SpoolOptions, SpoolWorld
from mailserver.spool.sqlite import SqliteSpool
from mailserver.threads import Pools
from mailserver.transport.maildir import MaildirTransport
from mailserver.transport.maildir_sync import World as MaildirWorld
from mailserver.transport.smtp import SmtpTransport


@dataclass(frozen=True, slots=True)
class Machine:
    """What the parts share: the reactor, clocks, threads, the log, and what to do when the store fails."""

    reactor: Any
    clock: IClock
    threads: Any
    log: Any
    on_fatal: Callable[[str], None]

    def within(self, seconds: float) -> Callable[[Deferred[None]], Deferred[Any]]:
        """A function that cuts a Deferred off after `seconds`, without a failure."""
        return lambda done: cut_off(self.reactor, done, seconds)


def cut_off(reactor: Any, done: Deferred[Any], seconds: float) -> Deferred[None]:
    """Fires when `done` does, or after `seconds`; `done` itself is left alone."""
    either: Deferred[None] = Deferred()
    timer = reactor.callLater(max(seconds, 0), lambda: None if either.called else either.callback(None))

    def ended(result: Any) -> Any:
        if not either.called:
            timer.cancel()
            either.callback(None)
        return result

    done.addBoth(ended)
    return either


class RelayQueue(Service):
    """Made by :func:`build_queue`. ``directory``, ``intake``, ``spool`` and ``queue`` are its parts;
    ``accounts`` is the account store, None where the application brought its own directory."""

    def __init__(
        self,
        settings: Settings,
        machine: Machine,
        directory: IDirectory | None,
        spool: Any,
        transports: Mapping[str, Any],
    ) -> None:
        self.settings = settings
        self.machine = machine
        self.accounts: AccountStore | None = None
        if directory is None:
            self.accounts = AccountStore(settings.path("accounts.db"), machine.threads, machine.clock)
            directory = AccountDirectory(self.accounts, settings.host_name)
        self.directory: Any = directory
        self.spool = spool
        self.intake = Intake(spool, directory, settings.host_name)
        self.transports = transports
        self.queue = self._manager()

    def _manager(self) -> QueueManager:
        settings, machine = self.settings, self.machine
        bounces = Bounces(settings.host_name, self.intake, self.spool.new_content, machine.threads, machine.clock)
        router = Router(settings, self.directory)
        parts = Parts(self.spool, router, self.transports, bounces, machine.clock, machine.log)
        windows = Windows(settings.relay.concurrency, settings.relay.total_concurrency)
        return QueueManager(parts, schedule_of(settings), windows)

    def blocked(self) -> str | None:
        """Why new mail cannot be taken now, or None."""
        reason: str | None = self.spool.healthy or self.queue.blocked
        return reason

    def start(self) -> None:
        """Open what is on disk and begin to work. Raises SpoolBusy, AccountError and their like, and OSError."""
        self.machine.log.open()
        self.spool.start()
        if self.accounts is not None:
            self.accounts.open()
        if self.settings.queue.enabled:
            self.spool.subscribe(self.queue.stored)
            self.spool.ticks(self.queue.tick)
            if self.settings.relay.outgoing == "on":
                Deferred.fromCoroutine(self.queue.release_held())
        self.spool.ticks(self.machine.log.flush)

    async def stop(self, seconds: float) -> None:
        """Attempts in flight end or are dropped after `seconds`; then the commits, the spool last."""
        for transport in self.transports.values():
            if hasattr(transport, "flush"):
                transport.flush()
        await self.queue.stop(self.machine.within(seconds))
        for transport in self.transports.values():
            if hasattr(transport, "close"):
                await maybeDeferred(transport.close)
        await self.spool.stop()
        if self.accounts is not None:
            self.accounts.close()
        if isinstance(self.machine.threads, Pools):
            self.machine.threads.stop()
        self.machine.log.flush()

    def startService(self) -> None:
        """As a service of its own, without reception."""
        super().startService()
        self.start()

    def stopService(self) -> Deferred[None]:
        """See :meth:`stop`; waits as long as ``timeouts.drain``."""
        super().stopService()
        return Deferred.fromCoroutine(self.stop(self.settings.timeouts.drain))


def schedule_of(settings: Settings) -> Schedule:
    """The retry schedule that the settings describe."""
    queue = settings.queue
    return Schedule(tuple(queue.retry), queue.expire, queue.delay_notice)


def machine_of(
    settings: Settings, reactor: Any, clock: IClock | None, threads: Any, on_fatal: Callable[[str], None] | None
) -> Machine:
    """The machine that an application did not bring itself."""
    clock = clock or SystemClock()
    target = settings.path(settings.log.path) if settings.log.path else ""
    log = Log(target, clock, settings.log.format)
    return Machine(reactor, clock, threads or Pools(reactor), log, on_fatal or _only_log(log))


def _only_log(log: Log) -> Callable[[str], None]:
    def on_fatal(reason: str) -> None:
        log.event("spool.failed", reason=reason, advice="end this process: a fresh one recovers")
        log.flush()

    return on_fatal


def build_queue(
    settings: Settings,
    *,
    reactor: Any,
    directory: IDirectory | None = None,
    spool: Any = None,
    resolver: IResolver | None = None,
    transports: Mapping[str, ITransport] | None = None,
    threads: Any = None,
    clock: IClock | None = None,
    on_fatal: Callable[[str], None] | None = None,
) -> RelayQueue:
    """The relay queue as a service. Only objects are made here.

    `directory` says who is local (default: the accounts of the instance); `transports` adds to or replaces
    ``local`` and ``smtp``; `threads`, `clock` and `resolver` are for tests and unusual hosts; `on_fatal` is
    called once with a reason when the store failed and this process must not commit again.
    """
    machine = machine_of(settings, reactor, clock, threads, on_fatal)
    return compose(
        settings, machine, directory, spool, default_transports(settings, machine, resolver, transports)
    )


def compose(
    settings: Settings, machine: Machine, directory: IDirectory | None, spool: Any, transports: Mapping[str, Any]
) -> RelayQueue:
    """The same from parts that are made already."""
    if spool is None:
        options = SpoolOptions(
            content_cap=settings.spool.content_cap,
            memory_budget=settings.spool.memory_budget,
            longest_interval=schedule_of(settings).longest,
        )
        world = SpoolWorld(machine.reactor, machine.clock, machine.threads, machine.log.event, machine.on_fatal)
        spool = SqliteSpool(settings.path("spool"), options, world)
    return RelayQueue(settings, machine, directory, spool, transports)


def default_transports(
    settings: Settings, machine: Machine, resolver: IResolver | None, own: Mapping[str, Any] | None
) -> dict[str, Any]:
    """``local`` into Maildirs and ``smtp``, and whatever the application brought in their place or beside."""
    transports: dict[str, Any] = dict(own or {})
    if "local" not in transports:
        world = MaildirWorld(machine.threads, machine.reactor.callLater, machine.on_fatal)
        transports["local"] = MaildirTransport(settings.accounts.maildir, settings.instance, world)
    if "smtp" not in transports:
        resolver = resolver or Resolver(machine.reactor, settings.dns)
        transports["smtp"] = SmtpTransport(machine.reactor, settings, resolver, machine.threads, machine.log)
    return transports
