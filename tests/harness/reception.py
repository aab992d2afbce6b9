"""What reception's tests put around it: clocks, an intake and a log that record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from mailserver.accounts.directory import StaticDirectory
from mailserver.accounts.realm import MailRealm
from mailserver.interfaces import IClock, IIntake
from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Facts
from mailserver.message.identity import Identity
from mailserver.reception.asking import Asking, Bounds
from mailserver.reception.delivery import SpoolDelivery, Store
from mailserver.reception.limits import PerMinute
from mailserver.reception.login import Login
from mailserver.reception.policy import Policy
from mailserver.reception.world import Rates, World

ANNA = "anna@mail.test"
PASSWORD = b"secret words"


@implementer(IClock)
class TurnedClock(Clock):
    """Both clocks stand still until a test turns them."""

    def wall(self) -> float:
        return 1_790_000_000.0 + self.seconds()

    def monotonic(self) -> float:
        return self.seconds()


class Recorder:
    """A log."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[tuple[str, Any]] = []

    def event(self, name: str, /, **fields: Any) -> None:
        self.events.append((name, fields))

    def failure(self, what: str, error: Any, /, **fields: Any) -> None:
        self.failures.append((what, error))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.events if event == name]


@implementer(IIntake)
class RecordingIntake:
    """Accepts at once, or as `answers` says: an exception to raise, or a Deferred to wait for."""

    def __init__(self) -> None:
        self.accepted: list[tuple[Envelope, bytes, Facts]] = []
        self.answers: Iterator[Any] = iter(())

    def accept(self, envelope: Envelope, content: Content, facts: Facts) -> Deferred[str]:
        answer = next(self.answers, None)
        if isinstance(answer, Exception):
            raise answer
        self.accepted.append((envelope, b"".join(content.chunks()), facts))
        return answer if isinstance(answer, Deferred) else succeed(facts.queue_id)

    def prepare(self, envelope: Envelope, content: Content, facts: Facts) -> Any:
        raise NotImplementedError


class DroppableContent(Content):
    """Says whether it was discarded."""

    def __init__(self, made: list[DroppableContent]) -> None:
        super().__init__()
        self.discarded = False
        made.append(self)

    def discard(self) -> None:
        self.discarded = True
        super().discard()


def login_to(portal: Any, clock: IClock | None = None, log: Any = None) -> Login:
    """The login of one session."""
    return Login(portal, Asking(clock or TurnedClock(), log or Recorder(), "s1", Bounds()))


class Kit:
    """A World of reception, and what its parts saw."""

    def __init__(self, **changes: Any) -> None:
        self.clock = TurnedClock()
        self.log = Recorder()
        self.intake = RecordingIntake()
        self.contents: list[DroppableContent] = []
        self.blocked: str | None = None
        directory = StaticDirectory([ANNA, "bert@mail.test"])
        trusted = changes.pop("trusted", ())
        self.policy = Policy(directory, lambda client: client in trusted, self._owns)
        settings: dict[str, Any] = {
            "rates": Rates(PerMinute(0), PerMinute(0), PerMinute(0)),
            "max_hops": 5,
            "auth_failure_delay": 0.0,
            **changes,
        }
        self.world = World(
            intake=self.intake, new_content=self.new_content, blocked=lambda: self.blocked, policy=self.policy,
            clock=self.clock, later=self.later, log=self.log, host_name="mx.mail.test", **settings,
        )  # fmt: skip
        self.store = Store(self.intake, self.new_content, self.policy, self.clock, "mx.mail.test")
        users = InMemoryUsernamePasswordDatabaseDontUse()
        users.addUser(ANNA.encode(), PASSWORD)
        self.portal = Portal(MailRealm(self.delivery_for), [AllowAnonymousAccess(), users])
        self.logins = 0

    def delivery_for(self, identity: Identity) -> SpoolDelivery:
        self.logins += 1
        return SpoolDelivery(identity, self.store)

    @staticmethod
    def _owns(identity: Identity, mailbox: Any) -> bool:
        return mailbox.is_null or str(mailbox) == identity.account

    def new_content(self) -> DroppableContent:
        return DroppableContent(self.contents)

    def later(self, seconds: float) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.clock.callLater(seconds, done.callback, None)
        return done
