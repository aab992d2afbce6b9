"""One recording application made of a portal, a realm, deliveries and sinks, as third parties write them.

It writes down every call that it gets: the name, the arguments with their types, in order. What each hook does
is given by name::

    Application(validateTo=refuse(450), eomReceived=later)

A behaviour is called with the plain answer and the recorded arguments, and answers in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory, IMessageSMTP
from twisted.mail.smtp import Address, SMTPServerError, User
from zope.interface import implementer

USER, PASSWORD = b"anna", b"secret words"

Behaviour = Callable[..., Any]


def shown(value: Any) -> Any:
    """An argument as it is compared: by type and content."""
    if isinstance(value, Address):
        return ("Address", value.local, value.domain)
    if isinstance(value, User):
        return ("User", shown(value.dest), shown(value.orig), value.helo)
    if isinstance(value, (tuple, list)):
        return type(value)(shown(one) for one in value)
    if value is None or isinstance(value, (bytes, str, int)):
        return value
    return getattr(value, "__name__", type(value).__name__)


class Application:
    def __init__(self, avatar_is_factory: bool = False, anonymous: bool = True, **behaviours: Behaviour) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.users: list[User] = []
        self.sinks: list[Sink] = []
        self.behaviours = behaviours
        self.avatar_is_factory = avatar_is_factory
        self.anonymous = anonymous

    def did(self, hook: str, plain: Any, *args: Any) -> Any:
        self.calls.append((hook, *map(shown, args)))
        behaviour = self.behaviours.get(hook)
        return plain if behaviour is None else behaviour(plain, *args)

    def names(self) -> list[str]:
        return [name for name, *_ in self.calls]

    def arguments(self, hook: str) -> list[tuple[Any, ...]]:
        return [tuple(args) for name, *args in self.calls if name == hook]

    def portal(self) -> Portal:
        users = InMemoryUsernamePasswordDatabaseDontUse()
        users.addUser(USER, PASSWORD)
        checkers: list[Any] = [users]
        if self.anonymous:
            checkers.append(AllowAnonymousAccess())
        return RecordingPortal(self, checkers)


class RecordingPortal(Portal):
    def __init__(self, app: Application, checkers: list[Any]) -> None:
        super().__init__(Realm(app), checkers)
        self.app = app

    def login(self, credentials: Any, mind: Any, *interfaces: Any) -> Any:
        self.app.calls.append(("login", shown(credentials), mind, *map(shown, interfaces)))
        return super().login(credentials, mind, *interfaces)


@implementer(IRealm)
class Realm:
    def __init__(self, app: Application) -> None:
        self.app = app

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        app, avatar = self.app, Delivery(self.app)
        plain: Any = (IMessageDelivery, avatar, lambda: app.did("logout", None, avatarId))
        if app.avatar_is_factory:
            plain = (IMessageDeliveryFactory, DeliveryFactory(app), plain[2])
        return app.did("requestAvatar", plain, avatarId, mind, *interfaces)


@implementer(IMessageDeliveryFactory)
class DeliveryFactory:
    def __init__(self, app: Application) -> None:
        self.app = app

    def getMessageDelivery(self) -> Any:
        return self.app.did("getMessageDelivery", Delivery(self.app))


@implementer(IMessageDelivery)
class Delivery:
    def __init__(self, app: Application) -> None:
        self.app = app

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return self.app.did("validateFrom", origin, helo, origin)

    def validateTo(self, user: Any) -> Any:
        self.app.users.append(user)
        return self.app.did("validateTo", lambda: self.made(user), user)

    def made(self, user: Any) -> Any:
        return self.app.did("callable", Sink(self.app, user), user)

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> Any:
        header = b"Received: from somewhere\n\tby here"
        return self.app.did("receivedHeader", header, helo, origin, recipients)


@implementer(IMessageSMTP)
class Sink:
    def __init__(self, app: Application, user: Any) -> None:
        self.app = app
        self.name = bytes(user.dest)
        self.lines: list[bytes] = []
        app.sinks.append(self)

    def lineReceived(self, line: bytes) -> Any:
        self.lines.append(line)
        return self.app.did("lineReceived", None, self.name, line)

    def eomReceived(self) -> Any:
        return self.app.did("eomReceived", succeed(None), self.name)

    def connectionLost(self) -> Any:
        return self.app.did("connectionLost", None, self.name)


# Behaviours.


def fired(plain: Any, *args: Any) -> Any:
    return plain if isinstance(plain, Deferred) else succeed(plain)


async def coroutine(plain: Any, *args: Any) -> Any:
    return await plain if isinstance(plain, Deferred) else plain


def raising(error: BaseException) -> Behaviour:
    def behaviour(plain: Any, *args: Any) -> Any:
        raise error

    return behaviour


def failing(error: BaseException) -> Behaviour:
    return lambda plain, *args: fail(error)


def failing_coroutine(error: BaseException) -> Behaviour:
    async def behaviour(plain: Any, *args: Any) -> Any:
        raise error

    return behaviour


def answering(answer: Any) -> Behaviour:
    return lambda plain, *args: answer


def only_for(name: bytes, behaviour: Behaviour) -> Behaviour:
    """The behaviour for the sink or recipient of that name alone."""

    def chosen(plain: Any, first: Any, *args: Any) -> Any:
        named = bytes(first.dest) if isinstance(first, User) else first
        return behaviour(plain, first, *args) if named == name else plain

    return chosen


class Later:
    """A behaviour whose Deferreds the test fires; ``plain`` answers are kept with them."""

    def __init__(self) -> None:
        self.open: list[tuple[Deferred[Any], Any]] = []

    def __call__(self, plain: Any, *args: Any) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        self.open.append((answer, None if isinstance(plain, Deferred) else plain))
        return answer

    def fire(self, number: int = 0) -> None:
        answer, plain = self.open.pop(number)
        answer.callback(plain)


def later_at_once(server: Any) -> Behaviour:
    """A Deferred that fires in a later turn of the server's clock."""

    def behaviour(plain: Any, *args: Any) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        value = None if isinstance(plain, Deferred) else plain
        server.clock.callLater(1, answer.callback, value)
        return answer

    return behaviour


def refusal(code: int, text: Any = "no") -> SMTPServerError:
    return SMTPServerError(code, text)
