"""``twistd mailserver``, and :func:`build` for applications.

``makeService`` only makes objects, after the whole configuration was checked (`mailserver.preflight`); what
is wrong ends in ``SystemExit`` with everything that is wrong. Nothing in the instance is written before
``startService``. Signals and the end of the process belong to twistd's root alone; an application that embeds
a server keeps its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.usage import Options as UsageOptions

from mailserver.accounts.checkers import AccountChecker
from mailserver.accounts.passwords import PasswordVerifier
from mailserver.accounts.realm import MailRealm
from mailserver.interfaces import IClock, IDirectory, IResolver, ITransport
from mailserver.log import observer
from mailserver.message.identity import Identity
from mailserver.preflight import problems_of
from mailserver.reception.delivery import SpoolDelivery, Store
from mailserver.reception.limits import PerMinute
from mailserver.reception.policy import Policy
from mailserver.reception.session import Rates
from mailserver.reception.session import World as ReceptionWorld
from mailserver.relay import Machine, RelayQueue, compose, default_transports, machine_of
from mailserver.server import MailServer
from mailserver.settings.model import Settings
from mailserver.settings.problem import SettingsError
from mailserver.settings.read import decode, read
from mailserver.smtp.address import Mailbox

__all__ = ["MailServer", "Options", "build", "makeService"]

# After a failed store: long enough for the 421s to leave, short enough that nobody waits for the restart.
FAREWELL = 0.3


def build(
    settings: Settings,
    *,
    reactor: Any,
    portal: Portal | None = None,
    directory: IDirectory | None = None,
    spool: Any = None,
    resolver: IResolver | None = None,
    transports: Mapping[str, ITransport] | None = None,
    threads: Any = None,
    clock: IClock | None = None,
    on_fatal: Callable[[str], None] | None = None,
) -> MailServer:
    """A whole server as a service: :func:`mailserver.relay.build_queue` and reception.

    `portal` says who may log in (default: the accounts of the instance); `directory` who is local;
    `transports` adds to or replaces ``local`` and ``smtp``. Only objects are made here; the service opens
    files and ports when it starts. `on_fatal` is called once with a reason when the store failed: the server
    answers 421 from then on, and a fresh process recovers.
    """
    return _assemble(
        settings,
        machine_of(settings, reactor, clock, threads, on_fatal),
        portal,
        (directory, spool, resolver, transports),
    )


def _assemble(
    settings: Settings, machine: Machine, portal: Portal | None, parts: tuple[Any, Any, Any, Any]
) -> MailServer:
    directory, spool, resolver, transports = parts
    servers: list[MailServer] = []
    told = machine.on_fatal

    def on_fatal(reason: str) -> None:
        for server in servers:
            server.fail()
        told(reason)

    machine = Machine(machine.reactor, machine.clock, machine.threads, machine.log, on_fatal)
    chosen = default_transports(settings, machine, resolver, transports)
    relay = compose(settings, machine, directory, spool, chosen)
    world = _reception_world(relay)
    server = MailServer(relay, world, portal or _portal(relay, world))
    servers.append(server)
    return server


def _reception_world(relay: RelayQueue) -> ReceptionWorld:
    settings, machine = relay.settings, relay.machine
    limits = settings.limits
    owns = getattr(relay.directory, "owns", _owns_itself)
    return ReceptionWorld(
        intake=relay.intake,
        new_content=relay.spool.new_content,
        blocked=relay.blocked,
        policy=Policy(relay.directory, settings.relay.trusts, owns),
        rates=Rates(
            PerMinute(limits.messages_per_minute),
            PerMinute(limits.recipients_per_minute),
            PerMinute(limits.auth_failures_per_minute),
        ),
        clock=machine.clock,
        later=lambda seconds: deferLater(machine.reactor, seconds, lambda: None),
        log=machine.log,
        host_name=settings.host_name,
        max_hops=settings.reception.max_hops,
        auth_failure_delay=settings.reception.auth_failure_delay,
    )


def _owns_itself(identity: Identity, mailbox: Mailbox) -> bool:
    """Of an application's directory that says nothing about senders: an account is its own address."""
    return identity.send_as_any or mailbox.is_null or str(mailbox).lower() == str(identity.account).lower()


def _portal(relay: RelayQueue, world: ReceptionWorld) -> Portal:
    """The instance's accounts may log in; strangers are anonymous."""
    store = Store(relay.intake, relay.spool.new_content, world.policy, world.clock, world.host_name)

    def delivery_for(identity: Identity) -> SpoolDelivery:
        return SpoolDelivery(identity, store)

    if relay.accounts is None:
        return Portal(MailRealm(delivery_for), [AllowAnonymousAccess()])
    settings, machine = relay.settings.accounts, relay.machine
    verifier = PasswordVerifier(machine.threads, machine.clock, settings.bcrypt_cost, settings.remember_login)
    checkers = [AllowAnonymousAccess(), AccountChecker(relay.accounts, verifier)]
    return Portal(MailRealm(delivery_for, relay.accounts.sends_as_any), checkers)


# Under twistd.


class Options(UsageOptions):
    """What ``twistd mailserver --help`` shows."""

    synopsis = "Usage: twistd [twistd options] mailserver [--config FILE]"
    longdesc = (
        "An SMTP server: takes mail from the Internet for local accounts, and from local users for everybody, "
        "over a durable queue. Make an instance with `mailserverctl init`, look at it with `mailserverctl "
        "status`, check its settings with `mailserverctl config check`. To keep it in the foreground: "
        "twistd -n --pidfile= mailserver --config instance/mailserver.toml"
    )
    optParameters = [  # noqa: RUF012 - Twisted reads it
        ["config", "c", None, "The settings file [default: mailserver.toml in $MAILSERVER_INSTANCE or ./instance]"]
    ]

    def postOptions(self) -> None:
        """twistd changes directory when it daemonizes: the path is made absolute now."""
        named = self["config"]
        instance = Path(os.environ.get("MAILSERVER_INSTANCE") or "instance")
        self["config"] = str((Path(named) if named else instance / "mailserver.toml").absolute())


def makeService(options: Mapping[str, Any]) -> Service:
    """The root service. Raises SystemExit with one line for each thing that is wrong."""
    from twisted.internet import reactor  # noqa: PLC0415 - twistd has chosen one by now

    settings = load(Path(options["config"]))
    problems = problems_of(settings)
    if problems:
        raise SystemExit("\n".join(problems))
    # The commit thread must not wait 5 ms for the interpreter each time it comes back from the disk.
    sys.setswitchinterval(0.0005)
    return Root(settings, reactor)


def load(file: Path) -> Settings:
    """The settings in `file`, whose directory is the instance. Raises SystemExit."""
    try:
        octets = file.read_bytes()
    except OSError as error:
        advice = "make an instance with: mailserverctl init --domain example.org --account you@example.org"
        raise SystemExit(f"{file}: cannot be read ({error.strerror}); {advice}") from None
    try:
        return read(decode(octets, str(file)), str(file), file.parent)
    except SettingsError as error:
        raise SystemExit(str(error)) from None


class StartFailed(Exception):
    """Something failed after the check. The text is short: twistd cuts it at 100 octets when it daemonizes."""


class Root(Service):
    """The service under twistd: brings the server up, and ends the process when the store failed."""

    def __init__(self, settings: Settings, reactor: Any) -> None:
        self._reactor = reactor
        machine = machine_of(settings, reactor, None, None, self._store_failed)
        self._log = machine.log
        self.server = _assemble(settings, machine, None, (None, None, None, None))
        self.server.open_control()

    def startService(self) -> None:
        """Start. A failure is told in full on standard error, and ends twistd with 1."""
        super().startService()
        from twisted.logger import globalLogPublisher  # noqa: PLC0415

        globalLogPublisher.addObserver(observer(self._log))
        try:
            self.server.startService()
        except Exception as error:
            sys.stderr.write(f"mailserver: {error}\n")
            self._log.flush()
            raise StartFailed(str(error)[:90]) from None

    def stopService(self) -> Deferred[None]:
        """Stop, see `MailServer.stopService`."""
        super().stopService()
        return self.server.stopService()

    def _store_failed(self, reason: str) -> None:
        """No commit, no close, no retry in this process: a fresh one recovers (DESIGN: laws of the store)."""
        self._log.event("server.failed", reason=reason)
        self._log.flush()
        self._reactor.callLater(FAREWELL, self._leave)

    def _leave(self) -> None:
        self._log.flush()
        os._exit(1)
