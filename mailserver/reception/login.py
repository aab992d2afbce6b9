"""Logging in through the cred portal, and out of it again.

The portal is asked for ``(IMessageDeliveryFactory, IMessageDelivery)`` with a mind of None, and only what is
one of them is a login: ``True``, ``None`` or a forgotten coroutine is none, whether the realm answers it or a
checker (an avatar id is what a checker *says* about somebody; realms that never look at it exist). A checker or
realm that answers such a thing has a bug, which is logged under its name.

An avatar that says who it is (:class:`IIdentified`) is one of ours, and our policy applies to it. Any other is
foreign: its will is final. ``logout`` is called exactly once for each login: when another takes its place, at
STARTTLS, and at the end of the session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.cred.credentials import Anonymous, ICredentials, UsernamePassword
from twisted.cred.error import LoginFailed
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import CancelledError
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from zope.interface import implementer

from mailserver.interfaces import PoolFull
from mailserver.message.identity import Identity
from mailserver.reception.asking import Asking, BadAnswer, Hook, is_awaitable
from mailserver.reception.delivery import IIdentified
from mailserver.reception.mechanisms import ScramCredentials, keeper_of, shows_checkers
from mailserver.reception.refusals import LOGIN_LATER
from mailserver.smtp.reply import Reply
from mailserver.smtp.sasl import PasswordCredentials
from mailserver.smtp.scram import ScramKeys, ScramLogin


class Refused(Exception):
    """The credentials are no login; the text is for the log and never holds them."""


class NoAvatar(Refused):
    """The application answered something that is no login: its bug, and nothing that the client did."""


@implementer(IRealm)
class _CarefulRealm:
    """Between Twisted's portal and a realm: an avatar id that is none never reaches the realm."""

    def __init__(self, portal: Portal, checker: Hook) -> None:
        self._portal = portal
        self._checker = checker

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Any:
        """The realm's own answer. Raises NoAvatar."""
        if avatarId is None or isinstance(avatarId, bool) or is_awaitable(avatarId):
            raise _Bad(self._checker, f"it answered {_shown(avatarId)}, which is nobody")
        # zope's plug-in takes the star for one argument.
        return self._portal.realm.requestAvatar(avatarId, mind, *interfaces)


class _Bad(Exception):
    def __init__(self, hook: Hook, what: str) -> None:
        super().__init__(what)
        self.hook = hook


class Login:
    """The avatar of one session; ``asked`` names who answered the last login, for the log.

    Without a login it has `delivery` or `deliveries` (an IMessageDelivery or its factory), where the application
    set them by hand; the portal may be None then."""

    def __init__(
        self, portal: Any, asking: Asking, delivery: object | None = None, deliveries: object | None = None
    ) -> None:
        self.asking = asking
        self._portal = portal
        self._preset = (delivery, deliveries)
        self._logout: Callable[[], object] | None = None
        self.identity: Identity | None = None
        self.account: str | None = None
        self.authenticated = False
        self.asked = ""
        self.delivery, self.deliveries = self._preset

    @property
    def made(self) -> bool:
        """Whether there is somebody to ask for deliveries: logged in, anonymous, or set by hand."""
        return self.delivery is not None or self.deliveries is not None

    @property
    def foreign(self) -> bool:
        """Whether the avatar is an application's own, to which no policy of ours applies."""
        return self.identity is None and self.made

    async def with_credentials(self, credentials: object) -> Identity | None:
        """Log in; answers the identity of an avatar of ours. Raises Refused; what else is raised is a fault of
        a checker, and no refusal."""
        if isinstance(credentials, (PasswordCredentials, ScramLogin)):
            if credentials.authzid not in (b"", credentials.username):
                raise Refused("asked to act as another account")
            credentials = _of_cred(credentials)
        await self._login(credentials)
        self.authenticated = True
        self.account = _account(self.identity, credentials)
        return self.identity

    def find_keys(self, username: bytes) -> Any:
        """What a checker keeps of that user for SCRAM, or the reply where that is not to be had now; or an
        awaitable of it."""
        keeper = keeper_of(self._portal)
        hook = Hook(keeper, "scramKeys")
        try:
            answer = keeper.scramKeys(username)
        except Exception as error:
            return self._no_keys(hook, error)
        return self._keys_later(hook, answer) if is_awaitable(answer) else self._keys(hook, answer)

    async def _keys_later(self, hook: Hook, answer: Awaitable[Any]) -> ScramKeys | Reply:
        try:
            return self._keys(hook, await self.asking.wait(answer))
        except CancelledError:
            raise
        except Exception as error:
            return self._no_keys(hook, error)

    def _keys(self, hook: Hook, answer: object) -> ScramKeys | Reply:
        if isinstance(answer, ScramKeys):
            return answer
        return self._no_keys(hook, BadAnswer(f"it answered {_shown(answer)}: ScramKeys are needed"))

    def _no_keys(self, hook: Hook, error: Exception) -> Reply:
        if not isinstance(error, PoolFull):
            self.asking.blame(hook, error)
        return LOGIN_LATER

    async def anonymously(self) -> Identity | None:
        """What a session without AUTH is. Raises Refused."""
        await self._login(Anonymous())
        return self.identity

    async def _login(self, credentials: Any) -> None:
        if self._portal is None:
            raise Refused("there is no portal to ask")
        if not ICredentials.providedBy(credentials):
            raise Refused("credentials of an unknown kind")
        try:
            avatar, is_factory, logout = await self._answer(credentials)
        except LoginFailed as error:
            raise Refused(type(error).__name__) from None
        except _Bad as bad:
            self.asking.blame(bad.hook, BadAnswer(str(bad)))
            raise NoAvatar(str(bad)) from None
        self.forget()
        self._logout = logout
        identified = IIdentified(avatar, None)
        self.identity = None if identified is None else identified.identity
        self.delivery, self.deliveries = (None, avatar) if is_factory else (avatar, None)

    async def _answer(self, credentials: Any) -> tuple[object, bool, Callable[[], object]]:
        checker = Hook(_checker(self._portal, credentials), "requestAvatarId")
        portal = _careful(self._portal, checker)
        realm = Hook(getattr(self._portal, "realm", self._portal), "requestAvatar")
        self.asked = f"{checker} or {realm}"
        answer = portal.login(credentials, None, IMessageDeliveryFactory, IMessageDelivery)
        if is_awaitable(answer):
            answer = await self.asking.wait(answer, late=self._undo)
        if not isinstance(answer, tuple) or len(answer) != 3 or not callable(answer[2]):
            raise _Bad(realm, f"it answered {_shown(answer)}: an interface, an avatar and a logout are needed")
        interface, avatar, logout = answer
        for wanted in (IMessageDeliveryFactory, IMessageDelivery):
            if _extends(interface, wanted) and provides(avatar, wanted):
                return avatar, wanted is IMessageDeliveryFactory, logout
        self._call(logout)
        raise _Bad(realm, f"it answered {_shown(avatar)} as {_name(interface)}: not asked for, or not so")

    def forget(self) -> None:
        """Log out, if anybody is logged in."""
        logout, self._logout = self._logout, None
        self.identity = self.account = None
        self.authenticated = False
        self.delivery, self.deliveries = self._preset
        if logout is not None:
            self._call(logout)

    def _undo(self, answer: Any) -> None:
        """A login succeeded that nobody waits for any more: the connection is gone, or it took too long."""
        if isinstance(answer, tuple) and len(answer) == 3 and callable(answer[2]):
            self._call(answer[2])

    def _call(self, logout: Callable[[], object]) -> None:
        try:
            logout()
        except Exception as error:
            self.asking.blame(Hook(logout), error)


def _checker(portal: Any, credentials: Any) -> Any:
    """Whom the portal will ask, as far as that can be seen."""
    checkers = getattr(portal, "checkers", {})
    return next((one for kind, one in checkers.items() if kind.providedBy(credentials)), portal)


def _careful(portal: Any, checker: Hook) -> Any:
    """Twisted's own portal, with the same checkers, before a realm that is careful. A portal with a login of its
    own is asked as it is: what its checkers answer is not ours to see."""
    if not shows_checkers(portal):
        return portal
    careful = Portal(_CarefulRealm(portal, checker))
    careful.checkers = portal.checkers
    return careful


def _of_cred(credentials: PasswordCredentials | ScramLogin) -> ICredentials:
    if isinstance(credentials, ScramLogin):
        return ScramCredentials(credentials.username, credentials.keys, credentials.proved)
    return UsernamePassword(credentials.username, credentials.password)


def _account(identity: Identity | None, credentials: Any) -> str | None:
    if identity is not None:
        return identity.account
    name = getattr(credentials, "username", None)
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def _extends(interface: Any, wanted: Any) -> bool:
    return hasattr(interface, "isOrExtends") and bool(interface.isOrExtends(wanted))


def provides(avatar: object, wanted: Any) -> bool:
    """Declared, or at least able: not everybody's delivery says ``@implementer``."""
    methods = wanted.names(all=True)
    return wanted.providedBy(avatar) or all(callable(getattr(avatar, name, None)) for name in methods)


def _name(interface: Any) -> str:
    return getattr(interface, "__name__", repr(interface))


def _shown(answer: object) -> str:
    """An answer by its type; only what is harmless is shown itself."""
    return repr(answer) if answer is None or isinstance(answer, bool) else f"a {type(answer).__name__}"
