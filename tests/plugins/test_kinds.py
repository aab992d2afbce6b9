"""Every kind of plugin does its work in a server that `build` made, and what an application brings goes before."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.cred.checkers import ANONYMOUS
from twisted.cred.credentials import UsernamePassword
from twisted.internet.task import Clock

from mailserver.accounts import StaticDirectory
from mailserver.clock import SystemClock
from mailserver.interfaces import IRouter
from mailserver.message import CONTINUE, Envelope, Original, Recipient, Route, Stage
from mailserver.plugins import Catalogue
from mailserver.portals import misplaced
from mailserver.service import build
from mailserver.settings import BrokenPlugin, Listener, Plugin, Settings, SettingsError, StaticRoute
from mailserver.smtp.address import NULL, Mailbox
from mailserver.threads import inline
from tests.plugins.test_plugins import HEAD

PARTS = (
    HEAD
    + """
from mailserver.interfaces import IDirectory, IRouter, IResolver
from mailserver.message import Found, Resolution, Route, reject, Status
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.mail.interfaces import IMessageDelivery

class Part:
    options = None
    def __init__(self, options, services): self.services = services

@implementer(ICheck)
class Check(Part):
    name, stages = "check", (Stage.MAIL,)
    def check(self, stage, context): return reject(Status(4, 7, 1), "later")

@implementer(ITransport)
class Transport(Part):
    name = "transport"
    def deliver(self, attempt): return {}

@implementer(IRouter)
class Router(Part):
    name = "router"
    def route(self, recipient, envelope):
        if recipient.mailbox.local_part == "archive":
            return Route("transport", "the archive")

@implementer(IDirectory)
class Directory(Part):
    name = "directory"
    def resolve(self, mailbox): return Resolution(Found.ACCOUNT, mailbox)

@implementer(IResolver)
class Resolver(Part):
    name = "resolver"
    async def query(self, name, kind): return []

@implementer(IStateStore)
class Store(Part):
    name = "store"
    def get(self, key): return b"x"
    def put(self, key, value, seconds): ...
    def add(self, key, amount, seconds): return amount
    def forget(self, key): ...

@implementer(ICredentialsChecker)
class Checker(Part):
    name, credentialInterfaces = "checker", (IUsernamePassword,)
    def requestAvatarId(self, credentials):
        if credentials.password != b"right": raise UnauthorizedLogin
        return credentials.username

@implementer(IRealm)
class Realm(Part):
    name = "realm"
    def requestAvatar(self, avatar_id, mind, *interfaces): return interfaces[1], (self, avatar_id), lambda: None
"""
)
NAMES = {name: name.capitalize() for name in
         ("check", "transport", "router", "directory", "resolver", "store", "checker", "realm")}  # fmt: skip


@pytest.fixture
def made(on_path, tmp_path):
    """Call it with names of plugins, and more of Settings and build."""
    on_path.add("acme-parts", NAMES, PARTS)

    def make(*names, brought=None, **more):
        plugins = [Plugin(name=name) for name in names]
        settings = Settings(instance=tmp_path, host_name="mx.mail.test", plugins=plugins, **more)
        return build(settings, reactor=Clock(), threads=inline, clock=SystemClock(), **(brought or {}))

    return make


def route(server, text):
    mailbox = Mailbox.parse(text)
    router: IRouter = server.relay.queue._parts.router
    return router.route(Recipient(0, mailbox, (Original(mailbox),)), Envelope(NULL))


def world(server):
    return server.listeners.doors[0].factory.world


MX = Listener(role="mx", listen=["127.0.0.1:0"])


def test_checks_of_the_application_come_before_those_of_plugins(made):
    class Own:
        name, stages = "own", (Stage.RCPT,)

        def check(self, stage, context):
            return CONTINUE

    server = made("check", listeners=[MX], brought={"checks": [Own()]})
    assert [stage for stage in Stage if world(server).checks.wants(stage)] == [Stage.MAIL, Stage.RCPT]
    assert world(made(listeners=[MX])).checks is None


def test_a_directory_takes_the_place_of_the_accounts(made):
    server = made("directory")
    assert server.relay.accounts is None
    assert type(server.relay.directory).__name__ == "Directory"
    brought = StaticDirectory(["anna@mail.test"])
    assert made("directory", brought={"directory": brought}).relay.directory is brought


def test_a_router_goes_before_ours_and_names_a_transport(made):
    server = made("router", "transport", "directory")
    assert route(server, "archive@mail.test") == Route("transport", "the archive")
    assert route(server, "anna@mail.test") == Route("local", "local")
    assert type(server.relay.transports["transport"]).__name__ == "Transport"


def test_a_transport_is_named_by_a_route_and_for_accounts(made):
    routes = [StaticRoute(domain="lists.test", transport="transport")]
    directory = StaticDirectory(["anna@mail.test"])
    server = made("transport", routes=routes, brought={"directory": directory})
    assert route(server, "x@lists.test").transport == "transport"
    assert route(server, "x@lists.test").destination == "lists.test"
    with pytest.raises(
        SettingsError, match=r'routes\."lists\.test"\.transport: found "transport", allowed: a trans'
    ):
        made(routes=routes)


def test_services_have_what_was_made_before(made):
    server = made("check", "store", "resolver", "directory", listeners=[MX])
    (check,) = world(server).checks._at[Stage.MAIL]
    services = check.services
    assert [type(one).__name__ for one in (services.state, services.resolver, services.directory)] == [
        "Store", "Resolver", "Directory",
    ]  # fmt: skip
    assert (services.name, services.host_name) == ("check", "mx.mail.test")
    assert services.state.get("key") == b"x"


def login(portal, username, password):
    from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory

    got = []
    credentials = UsernamePassword(username, password)
    portal.login(credentials, None, IMessageDeliveryFactory, IMessageDelivery).addBoth(got.append)
    return got[0][1] if isinstance(got[0], tuple) else got[0].type.__name__


def portal_of(made, *names, **more):
    server = made(*names, listeners=[Listener(role="mx", listen=["127.0.0.1:0"], **more)])
    return server.listeners.doors[0].factory.portal


def test_a_listener_runs_a_realm_with_the_checkers_it_names(made):
    portal = portal_of(made, "realm", "checker", portal="realm", checkers=["checker"])
    realm, avatar_id = login(portal, b"anna", b"right")
    assert (type(realm).__name__, avatar_id) == ("Realm", b"anna")
    assert login(portal, b"anna", b"wrong") == "UnauthorizedLogin"


def test_strangers_are_anonymous_for_any_realm(made):
    from twisted.cred.credentials import Anonymous

    portal = portal_of(made, "realm", portal="realm", checkers=["memory:anna:secret"])
    (checker,) = [one for kind, one in portal.checkers.items() if kind.implementedBy(Anonymous)]
    assert checker.requestAvatarId(Anonymous()).result == ANONYMOUS


def test_strcred_names_checkers_and_several_are_asked_in_turn(made, tmp_path: Path):
    (tmp_path / "agents.txt").write_text("carl:another\n")
    portal = portal_of(
        made, "realm", "checker", portal="realm", checkers=["memory:anna:secret", "file:agents.txt", "checker"]
    )
    assert login(portal, b"anna", b"secret")[1] == b"anna"
    assert login(portal, b"carl", b"another")[1] == b"carl"
    assert login(portal, b"dora", b"right")[1] == b"dora"
    assert login(portal, b"dora", b"wrong") == "UnauthorizedLogin"


def test_checkers_without_a_portal_log_in_to_our_own_realm(made):
    listener = Listener(role="mx", listen=["127.0.0.1:0"], checkers=["checker"])
    directory = StaticDirectory(["anna@mail.test"])
    server = made("checker", listeners=[listener], brought={"directory": directory})
    portal = server.listeners.doors[0].factory.portal
    assert login(portal, b"anna@mail.test", b"right").identity.account == "anna@mail.test"


def test_a_checker_that_cannot_be_made_is_named_without_its_secret(made):
    for text in ("memory:anna:hush:x", "nothing:hush"):
        with pytest.raises(BrokenPlugin, match=r"listeners\.mx\.checkers: .*strcred knows .*memory") as caught:
            portal_of(made, checkers=[text])
        assert "hush" not in str(caught.value)


def test_a_listener_has_no_substitute_for_its_realm(made, on_path):
    on_path.add("acme-bad", {"bad": "Bad"}, "raise ImportError('no')")
    listener = Listener(role="mx", listen=["127.0.0.1:0"], portal="bad")
    settings = Settings(
        instance="i", host_name="mx.mail.test", plugins=[Plugin(name="bad", optional=True)], listeners=[listener]
    )
    with pytest.raises(
        BrokenPlugin, match=r"listeners\.mx\.portal: plugin bad \(acme_bad:Bad of .* cannot be imp"
    ):
        build(settings, reactor=Clock(), threads=inline)
    with pytest.raises(BrokenPlugin, match=r"listeners\.mx\.portal: plugin check is no realm"):
        portal_of(made, "check", portal="check")


def test_a_plugin_of_another_kind_is_said_by_the_check_of_the_settings(made):
    plugins = [Plugin(name=name) for name in ("check", "transport", "realm")]
    settings = Settings(
        instance="i",
        host_name="mx.mail.test",
        plugins=plugins,
        listeners=[Listener(role="mx", listen=["*:25"], portal="check", checkers=["realm", "memory:a:b"])],
        routes=[StaticRoute(domain="a.test", transport="check")],
    )
    assert [str(problem) for problem in misplaced(settings, Catalogue())] == [
        'listeners.mx.portal: found "check", allowed: a realm; check is a check',
        'listeners.mx.checkers: found "realm", allowed: a credentials checker; realm is a realm',
        'routes."a.test".transport: found "check", allowed: a transport; check is a check',
    ]


def test_a_broken_optional_plugin_is_an_event_of_the_log(on_path, tmp_path):
    on_path.add("acme-bad", {"bad": "Bad"}, "raise ImportError('no')")
    plugins = [Plugin(name="bad", optional=True)]
    settings = Settings(instance=tmp_path, host_name="mx.mail.test", plugins=plugins)
    server = build(settings, reactor=Clock(), threads=inline)
    assert any("plugin.failed plugin=bad" in line for line in server.relay.machine.log._lines)


def test_a_state_store_is_there_without_a_plugin(made):
    (check,) = world(made("check", listeners=[MX])).checks._at[Stage.MAIL]
    check.services.state.put("key", b"value", 60)
    assert check.services.state.get("key") == b"value"
