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
    """``phase`` names what we wait for; ``transaction`` is true between MAIL and the end of the content.

    ``needs_auth`` are the verbs that are 530 before AUTH where the profile requires it (RFC 4954 §6).
    """

    name: str
    phase: str = "command"
    transaction: bool = False
    refuses: Mapping[str, Reply] = field(default_factory=dict, repr=False)
    needs_auth: frozenset[str] = field(default=frozenset(), repr=False)


VERBS = (
    "EHLO", "HELO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY", "EXPN", "HELP", "STARTTLS", "AUTH",
)  # fmt: skip

CONNECTED = State("connected", "greeting")
REFUSED = State("refused", "greeting", refuses={verb: replies.NO_SERVICE for verb in VERBS if verb != "QUIT"})
GREETED = State(
    "greeted", "greeting", refuses=dict.fromkeys(("MAIL", "RCPT", "DATA", "STARTTLS", "AUTH"), replies.HELLO_FIRST)
)
READY = State(
    "ready",
    refuses=dict.fromkeys(("RCPT", "DATA"), replies.MAIL_FIRST),
    needs_auth=frozenset({"MAIL", "RCPT", "DATA", "VRFY", "EXPN"}),
)
_OPEN = {"MAIL": replies.NESTED_MAIL, "STARTTLS": replies.IN_TRANSACTION, "AUTH": replies.IN_TRANSACTION}
MAIL = State("mail", transaction=True, refuses={**_OPEN, "DATA": replies.NO_VALID_RECIPIENTS})
RCPT = State("rcpt", transaction=True, refuses=_OPEN)
CONTENT = State("content", "data_block", transaction=True)  # no commands here: all is content
AUTH = State("auth")  # no commands here: all are responses
TLS = State("tls", "greeting")  # nothing is read here
CLOSED = State("closed", "closing")

# Why a content is bad, and what its end is answered.
FAULTS = {
    ContentFault.BARE_LINE_END: replies.BARE_LINE_END,
    ContentFault.NUL: replies.HAS_NUL,
    ContentFault.TOO_LARGE: replies.TOO_LARGE,
    ContentFault.LINE_TOO_LONG: replies.CONTENT_LINE_TOO_LONG,
}

STATES = (CONNECTED, REFUSED, GREETED, READY, MAIL, RCPT, CONTENT, AUTH, TLS, CLOSED)


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
    events.Authenticate: (After(READY), After(READY)),
    events.StartTls: (After(TLS), _STAY),
}
