"""What the server core reports. Values only.

**Questions** stop the core: it parses nothing further until ``core.answer(reply)``. A reply of 2yz or 3yz
accepts, 4yz and 5yz refuse, 421 ends the session. All others are news and expect no answer.

=================  ==========================================================================================
Opened             a connection: 220 greets it, 554 refuses it (RFC 5321 §3.1)
Hello              EHLO (``extended``) or HELO; on acceptance the core composes the reply itself
MailFrom, RcptTo   the paths, parsed
ContentBegins      DATA or the first BDAT, with at least one accepted recipient; the core says what is to be said
ContentEnds        the whole content came. The transaction is over with its one reply. In LMTP each recipient gets
                   it, or a reply of its own where there are as many as recipients
FindKeys           a mechanism needs what is kept of a user: ``core.found(keys)`` accepts, a reply refuses
Authenticate       credentials came; 235 makes the session authenticated
ClientStated       XCLIENT from a host that is believed: the session begins again, and the answer is a greeting
StartTls           220 starts TLS: the shell does, after the reply is on its way, then ``core.tls_started()``
=================  ==========================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mailserver.smtp.address import Mailbox
from mailserver.smtp.params import MailParams, RcptParams
from mailserver.smtp.reply import Reply
from mailserver.smtp.xclient import StatedClient


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection is there."""


@dataclass(frozen=True, slots=True)
class Hello:
    """``name`` is a stranger's word: printable, without spaces, quotes, brackets of a comment; else anything."""

    name: str
    extended: bool


@dataclass(frozen=True, slots=True)
class MailFrom:
    """A transaction wants to begin. NULL is the null reverse-path; ``written`` is ``<path>`` and what follows it,
    as the client wrote them."""

    reverse_path: Mailbox
    params: MailParams
    written: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class RcptTo:
    """A recipient. ``<postmaster>`` has no domain; ``written`` as in :class:`MailFrom`."""

    forward_path: Mailbox
    params: RcptParams
    written: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ContentBegins:
    """May the content come?"""


@dataclass(frozen=True, slots=True)
class ContentEnds:
    """The content is complete and well-formed."""


@dataclass(frozen=True, slots=True)
class FindKeys:
    """Whose keys (`mailserver.smtp.scram.ScramKeys`) are they? Made-up ones answer for a name that nobody has, or
    a stranger would learn from the refusal who exists."""

    mechanism: str
    username: bytes


@dataclass(frozen=True, slots=True)
class Authenticate:
    """``credentials`` are what the mechanism finished with (`mailserver.smtp.sasl.PasswordCredentials`,
    `mailserver.smtp.scram.ScramLogin`)."""

    mechanism: str
    credentials: object


@dataclass(frozen=True, slots=True)
class ClientStated:
    """Somebody else is the client now; all that was known of the one before is forgotten, a login too."""

    client: StatedClient


@dataclass(frozen=True, slots=True)
class StartTls:
    """The client wants TLS. Once it is on, all that was known of the client is forgotten (RFC 3207 §4.2)."""


@dataclass(frozen=True, slots=True)
class ContentSlice:
    """A part of the content, LF line ends, dots un-stuffed; never empty."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class ContentDropped:
    """Forget the content and the transaction: the core will answer its end with ``reply``."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class TransactionReset:
    """Forget the transaction (RSET, EHLO, STARTTLS, a refused DATA)."""


@dataclass(frozen=True, slots=True)
class Closing:
    """The core is finished: send what there is to send, then close. ``reason`` is for the log."""

    reason: str


Question = (
    Opened
    | Hello
    | MailFrom
    | RcptTo
    | ContentBegins
    | ContentEnds
    | FindKeys
    | Authenticate
    | ClientStated
    | StartTls
)
News = ContentSlice | ContentDropped | TransactionReset | Closing
Event = Question | News
