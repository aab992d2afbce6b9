"""The state machine of the SMTP server as tables: where a session can stand, which commands each state
refuses and how, and where every answer to a question leads.

A verb that a state does not list is permitted there. ``AFTER`` says for each question where acceptance and
refusal lead (None: the session stays where it is) and whether the transaction is forgotten on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mailserver.smtp import events, replies
from mailserver.smtp.framing import ContentFault
from mailserver.smtp.reply import Reply


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """``phase`` names what we wait for, in ``lines`` or not; ``transaction`` is true between MAIL and the end of
    the content, ``busy`` between its beginning and its end: not the moment to hang up.

    ``needs_auth`` are the verbs that are 530 before AUTH where the profile requires it (RFC 4954 §6).
    """

    name: str
    phase: str = "command"
    lines: bool = True
    transaction: bool = False
    busy: bool = False
    refuses: Mapping[str, Reply] = field(default_factory=dict, repr=False)
    needs_auth: frozenset[str] = field(default=frozenset(), repr=False)


VERBS = (
    "EHLO", "HELO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "VRFY", "EXPN", "HELP",
    "STARTTLS", "AUTH", "XCLIENT",
)  # fmt: skip

CONNECTED = State("connected", "greeting")
REFUSED = State("refused", "greeting", refuses={verb: replies.NO_SERVICE for verb in VERBS if verb != "QUIT"})
GREETED = State(
    "greeted", "greeting",
    refuses=dict.fromkeys(("MAIL", "RCPT", "DATA", "BDAT", "STARTTLS", "AUTH"), replies.HELLO_FIRST),
)  # fmt: skip
READY = State(
    "ready",
    refuses=dict.fromkeys(("RCPT", "DATA", "BDAT"), replies.MAIL_FIRST),
    needs_auth=frozenset({"MAIL", "RCPT", "DATA", "BDAT", "VRFY", "EXPN"}),
)
_OPEN = {"MAIL": replies.NESTED_MAIL, **dict.fromkeys(("STARTTLS", "AUTH", "XCLIENT"), replies.IN_TRANSACTION)}
MAIL = State(
    "mail", transaction=True,
    refuses={**_OPEN, "DATA": replies.NO_VALID_RECIPIENTS, "BDAT": replies.NO_VALID_RECIPIENTS},
)  # fmt: skip
RCPT = State("rcpt", transaction=True, refuses=_OPEN)
CONTENT = State("content", "data_block", False, transaction=True, busy=True)  # no commands here: all is content
# BDAT (RFC 3030 §2). The octets of a chunk that is taken; between two of them; those of one that is refused.
CHUNK = State("chunk", "data_block", False, transaction=True, busy=True)
CHUNKED = State(
    "chunked", transaction=True, busy=True,
    refuses={**_OPEN, "RCPT": replies.AFTER_BDAT, "DATA": replies.AFTER_BDAT},
)  # fmt: skip
SKIP = State("skip", "data_block", False, busy=True)
AUTH = State("auth")  # no commands here: all are responses
TLS = State("tls", "greeting", False)  # nothing is read here
CLOSED = State("closed", "closing")

# Why a content is bad, and what its end is answered.
FAULTS = {
    ContentFault.BARE_LINE_END: replies.BARE_LINE_END,
    ContentFault.NUL: replies.HAS_NUL,
    ContentFault.TOO_LARGE: replies.TOO_LARGE,
    ContentFault.LINE_TOO_LONG: replies.CONTENT_LINE_TOO_LONG,
}

STATES = (CONNECTED, REFUSED, GREETED, READY, MAIL, RCPT, CONTENT, CHUNK, CHUNKED, SKIP, AUTH, TLS, CLOSED)

# Where a refused BDAT leads, by where it was said, whether it is refused at once or for its octets: it ends the
# transaction, for its sender must take that for failed (RFC 3030 §2), and one chunk that is missing would make
# another message of the rest.
AFTER_REFUSED_CHUNK = {
    REFUSED: REFUSED, GREETED: GREETED, READY: READY, MAIL: READY, RCPT: READY, CHUNKED: READY,
}  # fmt: skip

# What LMTP says in other words (RFC 2033 §4.2).
IN_LMTP = {
    replies.HELLO_FIRST: replies.LHLO_FIRST,
    replies.NO_VALID_RECIPIENTS: replies.NO_RECIPIENTS_YET,
}


@dataclass(frozen=True, slots=True)
class After:
    """Where an answer leads. ``forgets``: a TransactionReset is due if there was a transaction."""

    state: State | None
    forgets: bool = False


_STAY = After(None)
# question: (accepted, refused)
AFTER: Mapping[type[events.Question], tuple[After, After]] = {
    events.Opened: (After(GREETED), After(REFUSED)),
    # RFC 5321 §4.1.4: a refused EHLO changes nothing, an accepted one is an RSET as well.
    events.Hello: (After(READY, forgets=True), _STAY),
    events.MailFrom: (After(MAIL), _STAY),
    events.RcptTo: (After(RCPT), _STAY),
    events.ContentBegins: (After(CONTENT), After(READY, forgets=True)),
    events.ContentEnds: (After(READY), After(READY)),
    events.FindKeys: (_STAY, After(READY)),
    events.Authenticate: (After(READY), After(READY)),
    # A new client, and a new greeting or refusal.
    events.ClientStated: (After(GREETED), After(REFUSED)),
    events.StartTls: (After(TLS), _STAY),
}
# While a BDAT is worked on: the first one asks ContentBegins too, and its octets follow whatever the answer is.
AFTER_CHUNK: Mapping[type[events.Question], tuple[After, After]] = {
    events.ContentBegins: (After(CHUNK), After(SKIP, forgets=True)),
    events.ContentEnds: AFTER[events.ContentEnds],
}
