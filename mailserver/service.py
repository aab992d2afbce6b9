"""``twistd mailserver``, and :func:`build` for applications.

``makeService`` only makes objects, after the whole configuration was checked (`mailserver.preflight`); what
is wrong ends in ``SystemExit`` with everything that is wrong. Nothing in the instance is written before
``startService``. Signals and the end of the process belong to twistd's root alone (`mailserver.daemon`); an
application that embeds a server keeps its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.cred.checkers import AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.portal import Portal
from twisted.internet.task import deferLater
from twisted.python.usage import Options as UsageOptions

from mailserver.accounts.checkers import AccountChecker
from mailserver.accounts.passwords import PasswordVerifier
from mailserver.accounts.realm import MailRealm
from mailserver.daemon import Root
from mailserver.interfaces import ICheck, IClock, IDirectory, IResolver, ITransport, MailServerError
from mailserver.log import Log
from mailserver.message.identity import Identity
from mailserver.plugins import CHECK, Catalogue, plugins_of
from mailserver.portals import misplaced, portals_of
from mailserver.preflight import problems_of
from mailserver.reception.delivery import SpoolDelivery, Store
from mailserver.reception.limits import PerMinute
from mailserver.reception.pipeline import Pipeline
from mailserver.reception.policy import Policy
from mailserver.reception.world import Rates
from mailserver.reception.world import World as ReceptionWorld
from mailserver.relay import Brought, Machine, RelayQueue, machine_of, tell_broken, with_plugins
from mailserver.server import MailServer
from mailserver.settings.model import Settings
from mailserver.settings.problem import SettingsError
from mailserver.settings.read import decode, read
from mailserver.smtp.address import Mailbox
from mailserver.smtp.limits import ONWARD_EXTENSIONS

__all__ = ["MailServer", "Options", "build", "makeService"]


def build(
    settings: Settings,
    *,
    reactor: Any,
    portal: Portal | None = None,
    directory: IDirectory | None = None,
    spool: Any = None,
    resolver: IResolver | None = None,
    transports: Mapping[str, ITransport] | None = None,
    checks: Sequence[ICheck] = (),
    threads: Any = None,
    clock: IClock | None = None,
    on_fatal: Callable[[str], None] | None = None,
    log: Log | None = None,
) -> MailServer:
    """A whole server as a service: :func:`mailserver.relay.build_queue` and reception.

    `portal` says who may log in (default: the accounts of the instance); `directory` who is local, and where it
    is a credentials checker as well, who may log in without a `portal`; `transports` adds to or replaces ``local``
    and ``smtp``; `checks` are asked before those that are plugins. What the settings name as plugins is loaded,
    unless it was brought. Only objects are made here; the service opens files and ports when it starts. `on_fatal`
    is called once with a reason when the store failed: the server answers 421 from then on, and a fresh process
    recovers. `log` takes the place of the one in the settings.

    Raises SettingsError where the settings name a transport that is none, and BrokenPlugin.
    """
    return _assemble(
        settings,
        machine_of(settings, reactor, clock, threads, on_fatal, log=log),
        Brought(directory, spool, resolver, transports, portal, checks),
    )


def _assemble(settings: Settings, machine: Machine, brought: Brought) -> MailServer:
    servers: list[MailServer] = []
    told = machine.on_fatal

    def on_fatal(reason: str) -> None:
        for server in servers:
            server.fail()
        told(reason)

    machine = Machine(machine.reactor, machine.clock, machine.threads, machine.log, on_fatal)
    plugins = plugins_of(settings, machine)
    relay = with_plugins(settings, machine, brought, plugins)
    world = _reception_world(relay, (*brought.checks, *plugins.of(CHECK).values()))
    portal = brought.portal or _portal(relay, world)
    server = MailServer(relay, world, portal, portals_of(settings, plugins, portal))
    plugins.make_all()
    tell_broken(plugins, machine.log)
    servers.append(server)
    return server


def _reception_world(relay: RelayQueue, checks: Sequence[ICheck]) -> ReceptionWorld:
    settings, machine = relay.settings, relay.machine
    pipeline = Pipeline(checks, machine.clock, machine.log, settings.timeouts.check) if checks else None
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
        checks=pipeline,
    )


def _owns_itself(identity: Identity, mailbox: Mailbox) -> bool:
    """Of an application's directory that says nothing about senders: an account is its own address."""
    return identity.send_as_any or mailbox.is_null or str(mailbox).lower() == str(identity.account).lower()


def _portal(relay: RelayQueue, world: ReceptionWorld) -> Portal:
    """The instance's accounts may log in; strangers are anonymous."""
    store = Store(
        relay.intake,
        relay.spool.new_content,
        world.policy,
        world.clock,
        world.host_name,
        relay.settings.reception.max_message_size,
        relay.settings.reception.max_hops,
    )

    def delivery_for(identity: Identity) -> SpoolDelivery:
        return SpoolDelivery(identity, store)

    if relay.accounts is None:
        own: list[Any] = [relay.directory] if ICredentialsChecker.providedBy(relay.directory) else []
        return Portal(_realm(delivery_for), [AllowAnonymousAccess(), *own])
    settings, machine = relay.settings.accounts, relay.machine
    verifier = PasswordVerifier(machine.threads, machine.clock, settings.bcrypt_cost, settings.remember_login)
    checkers = [AllowAnonymousAccess(), AccountChecker(relay.accounts, verifier, settings.scram)]
    return Portal(_realm(delivery_for, relay.accounts.sends_as_any), checkers)


def _realm(delivery_for: Callable[[Identity], SpoolDelivery], *more: Callable[[str], bool]) -> MailRealm:
    realm = MailRealm(delivery_for, *more)
    # What these deliveries take goes through our spool, which honours every extension there is.
    realm.extensions = ONWARD_EXTENSIONS
    return realm


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

    def assemble(machine: Machine) -> MailServer:
        return _assemble(settings, machine, Brought())

    try:
        return Root(settings, reactor, assemble)
    except MailServerError as error:
        raise SystemExit(str(error)) from None


def load(file: Path) -> Settings:
    """The settings in `file`, whose directory is the instance. Raises SystemExit."""
    try:
        octets = file.read_bytes()
    except FileNotFoundError:
        advice = "make an instance with: mailserverctl init --domain example.org --account you@example.org"
        raise SystemExit(f"{file}: there is no such settings file; name it with --config, or {advice}") from None
    except OSError as error:
        raise SystemExit(f"{file}: cannot be read ({error.strerror}); run as the user who owns it") from None
    try:
        catalogue = Catalogue()
        settings = read(decode(octets, str(file)), str(file), file.parent, catalogue.options_type)
        if wrong := misplaced(settings, catalogue):
            raise SettingsError([replace(problem, file=str(file)) for problem in wrong])
    except SettingsError as error:
        raise SystemExit(str(error)) from None
    return settings
