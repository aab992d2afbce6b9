"""The queue side, composed: spool, intake, router, transports and queue manager, without reception.

It queues, relays and delivers, and never listens. :class:`~mailserver.service.MailServer` is this and
reception; an application that only sends uses this alone. Nothing in the instance directory is touched
before :meth:`RelayQueue.start`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred

from mailserver.accounts.directory import AccountDirectory
from mailserver.accounts.store import AccountStore
from mailserver.admin.control import Control
from mailserver.admin.world import World as ControlWorld
from mailserver.clock import SystemClock
from mailserver.interfaces import ICheck, IClock, IDirectory, IResolver, IRouter, ITransport
from mailserver.log import Log
from mailserver.net.resolver import Resolver
from mailserver.plugins import DIRECTORY, RESOLVER, ROUTER, STATE_STORE, TRANSPORT, Plugins, plugins_of
from mailserver.queue.bounce import Bounces
from mailserver.queue.destination import Windows
from mailserver.queue.intake import Intake
from mailserver.queue.manager import Parts, QueueManager
from mailserver.queue.outbox import Outbox, OutboxParts
from mailserver.queue.router import Router, Routers
from mailserver.queue.schedule import Schedule
from mailserver.settings.model import Settings
from mailserver.settings.problem import Problem, SettingsError, key_path, quoted
from mailserver.spool.contract import SpoolOptions, SpoolWorld
from mailserver.spool.sqlite import SqliteSpool
from mailserver.statestore import MemoryStateStore
from mailserver.threads import Pools
from mailserver.transport.maildir import MaildirTransport
from mailserver.transport.maildir_sync import World as MaildirWorld
from mailserver.transport.smtp import SmtpTransport

# Of the time to stop, what handlers of settled messages have to end; they are called again after the start.
HANDLERS = 1.0


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


@dataclass(frozen=True, slots=True)
class Agents:
    """What carries mail on: transports by name, and routers that are asked before our own one, in their order."""

    transports: Mapping[str, Any]
    routers: Sequence[IRouter] = ()


@dataclass(frozen=True, slots=True)
class Brought:
    """What an application brings in the place of our parts; None is ours. Transports and checks come beside."""

    directory: IDirectory | None = None
    spool: Any = None
    resolver: IResolver | None = None
    transports: Mapping[str, ITransport] | None = None
    portal: Any = None
    checks: Sequence[ICheck] = ()


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
    """Made by :func:`build_queue`. For programs: ``outbox`` sends; ``queue``, ``spool`` and ``control`` (the
    commands of mailserverctl) show and steer. ``directory`` and ``intake`` are its other parts; ``accounts`` is
    the account store, None where the application brought its own directory."""

    def __init__(
        self,
        settings: Settings,
        machine: Machine,
        directory: IDirectory | None,
        spool: Any,
        agents: Agents,
    ) -> None:
        self.settings = settings
        self.machine = machine
        self.accounts: AccountStore | None = None
        if directory is None:
            self.accounts = AccountStore(settings.path("accounts.db"), machine.threads, machine.clock)
            directory = AccountDirectory(self.accounts, settings.host_name)
        self.directory: Any = directory
        self.spool = spool
        self.intake = Intake(spool, directory, settings.host_name, settings.queue.fates_of_submissions)
        self.transports = agents.transports
        self.queue = self._manager(agents.routers)
        self.outbox = Outbox(self._outbox_parts())
        self.control = Control(self.control_world(self.status))
        self._since = 0.0
        self._ticking = False

    def _manager(self, routers: Sequence[IRouter]) -> QueueManager:
        settings, machine = self.settings, self.machine
        bounces = Bounces(settings.host_name, self.intake, self.spool.new_content, machine.threads, machine.clock)
        router: IRouter = Router(settings, self.directory)
        if routers:
            router = Routers((*routers, router))
        parts = Parts(self.spool, router, self.transports, bounces, machine.clock, machine.log)
        windows = Windows(settings.relay.concurrency, settings.relay.total_concurrency)
        return QueueManager(parts, schedule_of(settings), windows)

    def _outbox_parts(self) -> OutboxParts:
        machine, spool = self.machine, self.spool
        return OutboxParts(
            intake=self.intake,
            new_content=spool.new_content,
            fates=getattr(spool, "fates", None),  # an application's own spool may keep none
            blocked=self._full,
            clock=machine.clock,
            reactor=machine.reactor,
            log=machine.log,
            max_size=self.settings.reception.max_message_size,
        )

    def control_world(self, status: Callable[[], Mapping[str, Any]], certificates: Any = None) -> ControlWorld:
        """What commands work on; `status` is what ``status`` shows, `certificates` can ``reload``."""
        return ControlWorld(
            settings=self.settings,
            accounts=self.accounts,
            spool=self.spool,
            reader=self.spool,
            clock=self.machine.clock,
            threads=self.machine.threads,
            queue=self.queue,
            status=status,
            reactor=self.machine.reactor,
            certificates=certificates,
        )

    def status(self) -> Mapping[str, Any]:
        """What ``status`` shows of a queue that never listens."""
        return {
            "host_name": self.settings.host_name,
            "uptime": self.machine.clock.monotonic() - self._since,
            "outgoing": self.settings.relay.outgoing,
            "blocked": self.blocked(),
            "attempts": self.queue.running,
            "listeners": [],
            "certificates": [],
        }

    def _full(self) -> str | None:
        """What a send is refused with for now. A store that has failed says so itself."""
        return None if getattr(self.spool, "failed", None) else self.blocked()

    def blocked(self) -> str | None:
        """Why new mail cannot be taken now, or None."""
        reason: str | None = self.spool.healthy or self.queue.blocked
        return reason

    def start(self) -> None:
        """Open what is on disk and begin to work. Raises SpoolBusy, AccountError and their like, and OSError."""
        self._since = self.machine.clock.monotonic()
        self.machine.log.open()
        self.spool.start()
        if self.accounts is not None:
            self.accounts.open()
        self.outbox.start()
        if self.settings.queue.enabled:
            self.start_delivery()
        self.spool.ticks(self.machine.log.flush)

    def start_delivery(self) -> None:
        """Deliver what waits and what comes: at the start where ``queue.enabled``, and after a stop of it."""
        self.spool.subscribe(self.queue.stored)
        if self._ticking:
            self.queue.start()
            return
        self._ticking = True
        self.spool.ticks(self.queue.tick)
        if self.settings.relay.outgoing == "on":
            Deferred.fromCoroutine(self.queue.release_held())

    async def stop_delivery(self, seconds: float) -> None:
        """Mail is taken and waits from now on; attempts under way have `seconds` to end."""
        self.spool.subscribe(None)
        await self.queue.stop(self.machine.within(seconds))

    async def stop(self, seconds: float) -> None:
        """Attempts in flight end or are dropped after `seconds`; then the commits, the spool last."""
        for transport in self.transports.values():
            if hasattr(transport, "flush"):
                transport.flush()
        await self.stop_delivery(seconds)
        await self.outbox.stop(self.machine.within(min(seconds, HANDLERS)))
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
    settings: Settings,
    reactor: Any,
    clock: IClock | None,
    threads: Any,
    on_fatal: Callable[[str], None] | None,
    *,
    log: Log | None = None,
) -> Machine:
    """The machine that an application did not bring itself."""
    clock = clock or SystemClock()
    if log is None:
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
    plugins = plugins_of(settings, machine)
    relay = with_plugins(settings, machine, Brought(directory, spool, resolver, transports), plugins)
    tell_broken(plugins, machine.log)
    return relay


def with_plugins(settings: Settings, machine: Machine, brought: Brought, plugins: Plugins) -> RelayQueue:
    """The same from what the application brought, what is a plugin, and our own parts, in this order. Raises
    BrokenPlugin and SettingsError."""
    plugins.provide(state=plugins.only(STATE_STORE) or MemoryStateStore(machine.clock))
    resolver = brought.resolver or plugins.only(RESOLVER)
    if resolver is None and settings.plugins:
        resolver = Resolver(machine.reactor, settings.dns)
    plugins.provide(resolver=resolver)
    own = {**plugins.of(TRANSPORT), **(brought.transports or {})}
    agents = Agents(default_transports(settings, machine, resolver, own), tuple(plugins.of(ROUTER).values()))
    directory = brought.directory or plugins.only(DIRECTORY)
    relay = compose(settings, machine, directory, brought.spool, agents)
    plugins.provide(directory=relay.directory)
    return relay


def tell_broken(plugins: Plugins, log: Any) -> None:
    """One event for each optional plugin that the server goes without."""
    for name, reason in plugins.failed.items():
        log.event("plugin.failed", plugin=name, reason=reason)


def compose(
    settings: Settings, machine: Machine, directory: IDirectory | None, spool: Any, agents: Agents
) -> RelayQueue:
    """The same from parts that are made already. Raises SettingsError where a transport is named that is none."""
    if wrong := _unknown_transports(settings, agents.transports):
        raise SettingsError(wrong)
    if spool is None:
        options = SpoolOptions(
            content_cap=settings.spool.content_cap,
            memory_budget=settings.spool.memory_budget,
            longest_interval=schedule_of(settings).longest,
            fates_kept=settings.queue.fates_kept,
        )
        world = SpoolWorld(machine.reactor, machine.clock, machine.threads, machine.log.event, machine.on_fatal)
        spool = SqliteSpool(settings.path("spool"), options, world)
    return RelayQueue(settings, machine, directory, spool, agents)


def _unknown_transports(settings: Settings, transports: Mapping[str, Any]) -> list[Problem]:
    named = {key_path("routes", str(route.domain), "transport"): route.transport for route in settings.routes}
    named["accounts.transport"] = settings.accounts.transport
    known = f"a transport of this server: {', '.join(map(quoted, sorted(transports)))}"
    return [Problem(key, quoted(name), known) for key, name in named.items() if name not in transports]


def default_transports(
    settings: Settings, machine: Machine, resolver: IResolver | None, own: Mapping[str, Any] | None
) -> dict[str, Any]:
    """``local`` into Maildirs, ``smtp``, ``lmtp``, and what the application brought in their place or beside."""
    transports: dict[str, Any] = dict(own or {})
    if "local" not in transports:
        world = MaildirWorld(machine.threads, machine.reactor.callLater, machine.on_fatal)
        transports["local"] = MaildirTransport(settings.accounts.maildir, settings.instance, world)
    resolver = resolver or Resolver(machine.reactor, settings.dns)
    for name in ("smtp", "lmtp"):
        if name not in transports:
            parts = (machine.reactor, settings, resolver, machine.threads, machine.log)
            transports[name] = SmtpTransport(*parts, lmtp=name == "lmtp")
    return transports
