"""The contracts between the parts of the server, and with plugins. Five methods at most each.

Every hook may answer a plain value or an awaitable of it; the plain value takes the fast path. All times
named `wall` or `due` are seconds since 1970; sizes are octets.

Every exception that this package raises on purpose, each beside what raises it and by its name in `mailserver`::

    MailServerError
    ├── SpoolFull           the disk (or a bound of the spool) is full: 452 4.3.1, and it comes back by itself
    ├── SpoolFailed         an I/O error: this process must not commit again; 421 until a fresh process recovers
    ├── PoolFull            too much work of one kind is waiting: 454 4.7.0
    │                       settings and start
    ├── SettingsError       settings that cannot be used, every problem with its path
    ├── BrokenPlugin        a plugin that cannot be used
    ├── OverriddenProtocol  a protocol class of the application that the factory cannot keep
    ├── CertificateProblem  a certificate, key or authority file that cannot be used
    ├── BindProblem         an address that cannot be listened on
    ├── SpoolBusy           another process has the spool
    ├── SchemaTooNew        a database of a later release
    │                       administration
    ├── AccountError        an account, alias or domain: what cannot be done with it
    ├── ControlError        a command that cannot be done
    │                       outbox
    ├── TooLarge            the content is over the bound
    ├── NotSettled          some recipients are not final yet
    ├── UnknownMessage      no fates are known of that queue id
    │                       look-ups and relaying
    ├── NameNotFound        DNS: no such name
    ├── LookupTransient     DNS: no answer now
    ├── LoginProblem        the password file of the smart host
    │                       raised by an application's delivery function
    ├── TransientFailure    not now: the mail is tried again
    ├── PermanentFailure    never: the sender gets a report
    │                       raised by Client.send and sendmail
    └── SendFailed          nobody took the message
        ├── HostNotFound    DNS has no such host, or no answer
        ├── ConnectFailed   no connection
        ├── TlsFailed       no TLS where it is demanded, or a certificate that is refused
        ├── LoginFailed     the login was refused, or was kept back
        ├── SendRefused     the host said no
        └── SessionLost     the session ended early

A wrong argument is a ValueError (`mailserver.smtp.AddressError` is one), a call at the wrong time a RuntimeError.
"""

# An interface's methods have no self, and need no body.
from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from zope.interface import Attribute, Interface

from mailserver.message.claim import Claim, Settlement
from mailserver.message.content import Content
from mailserver.message.context import CheckContext
from mailserver.message.envelope import Envelope, Facts, Recipient
from mailserver.message.fate import Settled
from mailserver.message.outcome import Outcome
from mailserver.message.prepared import Prepared
from mailserver.message.resolution import Resolution
from mailserver.message.route import Attempt, Route
from mailserver.message.verdict import Stage, Verdict
from mailserver.smtp.address import Mailbox
from mailserver.smtp.scram import ScramKeys


class MailServerError(Exception):
    """Base of every exception this package raises on purpose."""


class SpoolFull(MailServerError):
    """No room for this commit; nothing of it is on disk. Try again later."""


class SpoolFailed(MailServerError):
    """The store failed (fsync, I/O). Nothing may be committed any more in this process."""


class PoolFull(MailServerError):
    """A thread pool has too many calls waiting."""


class IClock(Interface):
    """Two clocks."""

    def wall() -> float:
        """Seconds since 1970; may jump."""

    def monotonic() -> float:
        """Seconds from an arbitrary start; never goes back."""


class IThreads(Interface):
    """Callable: runs blocking work elsewhere."""

    def __call__(kind: str, function: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        """Run `function(*args)`; `kind` is ``disk``, ``password`` or ``plugin``. May raise PoolFull at once."""


class ISpool(Interface):
    """The durable store of queued messages. All methods are called on the reactor thread."""

    def new_content() -> Content:
        """An empty content to write to. Over the cap or the memory budget it moves to a file by itself."""

    def store(prepared: Prepared) -> Awaitable[str]:
        """Answers the queue id once the message is durable; where its key was used before, the id of the
        message that has it, and this one is not stored. Raises SpoolFull or SpoolFailed."""

    def claim(
        now: float, limit: int, closed: Collection[str] = frozenset(), only: Collection[str] | None = None
    ) -> Sequence[Claim]:
        """At most `limit` messages with recipients due at `now` (wall), oldest due first; `closed`
        destinations are skipped, and with `only` all others, too, where ``""`` is that of a recipient
        never tried. What is returned is in flight until it is settled."""

    def settle(settlements: Sequence[Settlement]) -> Awaitable[Sequence[str]]:
        """Commit all of it; answers the ids of the messages stored with it. Raises SpoolFull (nothing of it
        happened, the claims stay in flight, settle again) or SpoolFailed."""

    def next_due() -> float | None:
        """The wall time at which claim() will next have something, in flight left out; None for never."""


class ISpoolReader(Interface):
    """What listings need. Never blocks a commit."""

    def find(query: Any) -> Any:
        """A page of messages with their recipients (`mailserver.message.query.Query` and `Page`)."""

    def counts() -> Mapping[str, int]:
        """Recipients by state name, and ``messages``."""

    def content(queue_id: str) -> Content | None:
        """The content of a stored message, or None."""


class IFates(Interface):
    """The fates that a spool keeps of messages that asked for them: its attribute ``fates``. Each is written in
    the commit that settles its recipient. Reads answer at once and raise SpoolFailed."""

    def sent(key: str) -> str | None:
        """The queue id of the message stored with that key, or None."""

    def find(queue_id: str) -> Settled | None:
        """What is known of one message; None if it asked for no fates, or they are not kept any more."""

    def unseen(name: str, limit: int) -> Sequence[Settled]:
        """At most `limit` settled messages that `name` has not seen, in the order of their settlement."""

    def seen(name: str, number: int) -> Awaitable[None]:
        """Durable when done: `name` has seen every message up to `number`. Raises SpoolFull or SpoolFailed."""

    def subscribe(callback: Callable[[Sequence[str]], None] | None) -> None:
        """`callback` gets the queue ids of messages that have just been settled, on the reactor thread."""


class IIntake(Interface):
    """The single door to the spool."""

    def accept(envelope: Envelope, content: Content, facts: Facts) -> Awaitable[str]:
        """Complete, expand, store: answers the queue id once durable. Raises SpoolFull or SpoolFailed."""

    def prepare(envelope: Envelope, content: Content, facts: Facts) -> Prepared | Awaitable[Prepared]:
        """The same without storing: for messages that must be stored within a settlement."""


class ITransport(Interface):
    """A delivering agent. One that gains by batches also has
    ``deliver_many(attempts) -> Mapping[Attempt, Mapping[Recipient, Outcome]]`` (or an awaitable of it)."""

    def deliver(attempt: Attempt) -> Mapping[Recipient, Outcome] | Awaitable[Mapping[Recipient, Outcome]]:
        """One outcome per recipient. What is raised, or a recipient left out, is a transient failure."""


class IRouter(Interface):
    """Decides where a recipient goes."""

    def route(
        recipient: Recipient, envelope: Envelope
    ) -> Route | Outcome | Awaitable[Route | Outcome | None] | None:
        """A route, or the outcome where there is none to be had (an unknown local name). None (of a plugin) leaves
        it to the router that comes next; the server's own comes last and always has an answer."""


class IDirectory(Interface):
    """Knows who exists here."""

    def resolve(mailbox: Mailbox) -> Resolution | Awaitable[Resolution]:
        """Who `mailbox` is. Never raises for an unknown one."""


class IScramCredentials(Interface):
    """How an exchange of SCRAM-SHA-256 (RFC 5802) ended, for a credentials checker. Only where a checker of the
    portal names it in its ``credentialInterfaces``, and provides IScramKeys too, the mechanism is offered."""

    username = Attribute("The name, prepared by SASLprep, as octets of UTF-8.")
    keys = Attribute("The ScramKeys with which the exchange was held: they must still be the account's.")
    proved = Attribute("True if the client proved that it knows the password of these keys.")


class IScramKeys(Interface):
    """A credentials checker that keeps keys of SCRAM-SHA-256."""

    def scramKeys(username: bytes) -> ScramKeys | Awaitable[ScramKeys]:
        """The keys of a user. For a name that nobody has, made-up ones, at the same cost and always the same: else
        a stranger learns who exists. PoolFull and any other failure are 454 for the client."""


class ICheck(Interface):
    """One policy decision of reception."""

    name = Attribute("Its name in settings, logs and the trail.")
    stages = Attribute("The stages at which it wants to be asked.")

    def check(stage: Stage, context: CheckContext) -> Verdict | Awaitable[Verdict]:
        """The verdict: `mailserver.message.CONTINUE`, or what `mailserver.message.reject` makes. What is raised,
        any other answer, and none within ``timeouts.check`` seconds is a 451, and the log names the check."""


class IResolver(Interface):
    """DNS look-ups with bounds and time-outs."""

    def query(name: str, kind: str) -> Awaitable[Sequence[Any]]:
        """Records of `kind` (``MX``: (preference, host) pairs; ``A``, ``AAAA``: addresses), in DNS order.

        An empty sequence means that the name exists without such records. Raises
        `mailserver.net.resolver.NameNotFound` (NXDOMAIN) or `LookupTransient` (anything else)."""


class IStateStore(Interface):
    """Short-lived facts that may be shared by several servers: what greylisting and counters remember. Bounded: a
    fact may be gone before its time. Whatever it raises, its user goes on without the fact."""

    def get(key: str) -> bytes | Awaitable[bytes | None] | None:
        """The value, or None where there is none or its time is over."""

    def put(key: str, value: bytes, seconds: float) -> Awaitable[None] | None:
        """Keep `value` for so many seconds, in the place of what was there."""

    def add(key: str, amount: int, seconds: float) -> int | Awaitable[int]:
        """Add to a counter, and answer what it is now. A new one begins at 0 and ends after `seconds`, however
        often it is added to. Counters have names of their own: `get` does not see them."""

    def forget(key: str) -> Awaitable[None] | None:
        """Forget the value and the counter; nothing happens where there is none."""
