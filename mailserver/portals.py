"""The portals of listeners that have their own: ``portal = "acme"`` and ``checkers = [...]`` in their table.

A portal is a realm and who may log in to it. The realm is a plugin, whose avatars are any ``IMessageDelivery``,
or our own one. A checker is a plugin, or what `twisted.cred.strcred` makes of a text such as ``file:passwd`` or
``memory:anna:secret``; without any, the accounts of this server may log in. Strangers are anonymous, as far as
the listener's role lets them come. A listener whose realm or checker is broken has no substitute: the server
does not start, be the plugin optional or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from twisted.cred import strcred
from twisted.cred.checkers import (
    AllowAnonymousAccess,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.error import LoginFailed
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from mailserver.plugins import CHECKER, REALM, TRANSPORT, Catalogue, Plugins, said_by
from mailserver.settings.listener import Listener
from mailserver.settings.model import Settings
from mailserver.settings.plugin import BrokenPlugin
from mailserver.settings.problem import Problem, key_path, quoted

_BY_FILE = "file:"


def misplaced(settings: Settings, catalogue: Catalogue) -> list[Problem]:
    """Where the settings name a plugin of another kind than is needed there."""
    wanted = list(_wanted(settings))
    named = {plugin.name for plugin in settings.plugins}
    wrong = []
    for key, name, kind in wanted:
        if name in named:
            try:
                loaded = catalogue.load(name)
            except BrokenPlugin as error:
                wrong.append(Problem(key, "", str(error)))
                continue
            if kind not in loaded.kinds:
                wrong.append(Problem(key, quoted(name), f"a {kind}; {name} is a {' and a '.join(loaded.kinds)}"))
    return wrong


def _wanted(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Key path, name and kind of all that may name a plugin."""
    for listener in settings.listeners:
        at = key_path("listeners", listener.name)
        yield f"{at}.portal", listener.portal, REALM
        for name in listener.checkers:
            yield f"{at}.checkers", name, CHECKER
    for route in settings.routes:
        yield f"{key_path('routes', str(route.domain))}.transport", route.transport, TRANSPORT
    yield "accounts.transport", settings.accounts.transport, TRANSPORT


def portals_of(settings: Settings, plugins: Plugins, own: Portal) -> dict[str, Portal]:
    """The portals by the names of their listeners. Raises BrokenPlugin."""
    return {
        listener.name: _portal(settings, listener, plugins, own)
        for listener in settings.listeners
        if listener.enabled and (listener.portal or listener.checkers)
    }


def _portal(settings: Settings, listener: Listener, plugins: Plugins, own: Portal) -> Portal:
    at = key_path("listeners", listener.name)
    realm: Any = own.realm
    if listener.portal:
        realm = plugins.of(REALM).get(listener.portal)
        if realm is None:
            raise _missing(f"{at}.portal", listener.portal, REALM, plugins)
    portal = Portal(realm, [AllowAnonymousAccess()])
    if not listener.checkers:
        portal.checkers = {**portal.checkers, **own.checkers}
        return portal
    for checker in [_checker(settings, f"{at}.checkers", name, plugins) for name in listener.checkers]:
        _register(portal, checker)
    return portal


def _missing(key: str, name: str, kind: str, plugins: Plugins) -> BrokenPlugin:
    return BrokenPlugin(f"{key}: {plugins.failed.get(name) or f'plugin {name} is no {kind}'}")


def _checker(settings: Settings, key: str, text: str, plugins: Plugins) -> Any:
    if text in {plugin.name for plugin in settings.plugins}:
        checker = plugins.of(CHECKER).get(text)
        if checker is None:
            raise _missing(key, text, CHECKER, plugins)
        return checker
    if text.startswith(_BY_FILE):
        # twistd changes its directory: what is relative begins at the instance, as everywhere in the settings.
        text = _BY_FILE + str(settings.path(text.removeprefix(_BY_FILE)).absolute())
    try:
        return _with_octets(strcred.makeChecker(text))
    except (Exception, SystemExit) as error:
        # Not the whole text: what stands behind the colon may be a password.
        kind = text.partition(":")[0]
        known = ", ".join(sorted({factory.authType for factory in strcred.findCheckerFactories()}))
        raise BrokenPlugin(
            f"{key}: {quoted(kind)} is neither a table of [plugins] nor a checker that can be made"
            f" ({said_by(error)}); strcred knows {known}"
        ) from None


def _with_octets(checker: Any) -> Any:
    """``memory:`` keeps its names as text, while mail logs in with octets: as it is, nobody could."""
    if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        checker.users = {_octets(name): _octets(password) for name, password in checker.users.items()}
    return checker


def _octets(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _register(portal: Portal, checker: Any) -> None:
    """Twisted's portal has one checker for each kind of credentials; ours asks all that were named."""
    for interface in checker.credentialInterfaces:
        before = portal.checkers.get(interface)
        named = before is not None and not isinstance(before, AllowAnonymousAccess)
        portal.checkers[interface] = _OneAfterAnother((before, checker)) if named else checker


@implementer(ICredentialsChecker)
class _OneAfterAnother:
    """The first that knows the credentials decides; a failure that is no refusal ends the asking."""

    credentialInterfaces: Sequence[Any] = ()

    def __init__(self, checkers: Sequence[Any]) -> None:
        self._checkers = checkers

    def requestAvatarId(self, credentials: Any) -> Any:
        return Deferred.fromCoroutine(self._ask(credentials))

    async def _ask(self, credentials: Any) -> Any:
        *others, last = self._checkers
        for checker in others:
            try:
                return await maybeDeferred(checker.requestAvatarId, credentials)
            except LoginFailed:
                continue
        return await maybeDeferred(last.requestAvatarId, credentials)
