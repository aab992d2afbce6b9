"""What a peer's answer means for a recipient: class × scope × enhanced status, decided here and nowhere else.

========================================  ==========  =========  ================================
what decided                              class       scope      status
========================================  ==========  =========  ================================
2yz to the content                        success     recipient  the peer's, or 2.0.0
4yz, 5yz to RCPT                          by code     recipient  the peer's, or x.0.0
4yz, 5yz to MAIL, DATA, the content       by code     message    the same
the same in LMTP, one for each            by code     recipient  the same
4yz, 5yz as greeting or to EHLO, RSET     by code     host       the same
anything to AUTH but success              transient   host       4.7.8
421, whenever it comes                    transient   host       the peer's, or 4.0.0
no reply: lost, silent, no SMTP           transient   host       4.4.2, 4.5.0
TLS is required and not offered           transient   host       4.7.4
TLS is required and not to be had         transient   host       4.7.5
we kept the login back                    transient   host       4.7.0
we did not even ask (needs SMTPUTF8, …)   permanent   message    5.6.7, 5.6.3, 5.3.4
this one address needs SMTPUTF8           permanent   recipient  5.6.7
BDAT is offered and not known             transient   host       4.5.1
========================================  ==========  =========  ================================

A refused login is transient, whatever its code: it is our setting that is wrong, and no reason to return mail.
552 to RCPT is transient, as RFC 5321 §4.5.3.1.10 asks (too many recipients, said by old hosts).
"""

from __future__ import annotations

from mailserver.message.outcome import Klass, Outcome, Scope
from mailserver.message.state import State
from mailserver.smtp.reply import Reply
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Answer, Phase

# The words of a peer are kept for the log, the queue listing and the DSN.
MAX_WORDS = 500

_SCOPE = {
    Phase.MAIL: Scope.MESSAGE,
    Phase.RCPT: Scope.RECIPIENT,
    Phase.DATA: Scope.MESSAGE,
    Phase.CONTENT: Scope.MESSAGE,
    Phase.FINAL: Scope.MESSAGE,
}


def outcome_of(answer: Answer, host: str, dsn: bool = False) -> Outcome:
    """The outcome for a recipient about whom `answer` decided; `host` is the name of the peer, which offers `dsn`:
    then the duty to report goes with the message (RFC 3461 §5.2.1)."""
    if answer.reply is None:
        return _own(answer, host)
    reply, words = answer.reply, words_of(answer.reply)
    phase = answer.phase
    if phase is Phase.FINAL and reply.code < 300:
        status = reply.status or Status(2, 0, 0)
        text = f"{host} took it: {words}"
        return Outcome(Klass.SUCCESS, Scope.RECIPIENT, status, text, State.RELAYED, host, words, False, phase, dsn)
    klass = _klass(phase, reply)
    scope = Scope.HOST if reply.code == 421 else Scope.RECIPIENT if answer.own else _SCOPE.get(phase, Scope.HOST)
    state = State.FAILED if klass is Klass.PERMANENT else State.DEFERRED
    text = f"{host} said to {phase.value}: {words}"
    return Outcome(klass, scope, _status(phase, klass, reply), text, state, host, words, phase=phase)


def _own(answer: Answer, host: str) -> Outcome:
    permanent = answer.status.klass == 5
    klass = Klass.PERMANENT if permanent else Klass.TRANSIENT
    scope = _SCOPE.get(answer.phase, Scope.MESSAGE) if permanent else Scope.HOST
    state = State.FAILED if permanent else State.DEFERRED
    text = f"{host}: {answer.text}"
    return Outcome(klass, scope, answer.status, text, state, host, None, answer.uncertain, answer.phase)


# What is refused there says nothing about the message.
_NEVER_FINAL = (Phase.AUTH, Phase.TLS, Phase.RESET)


def _klass(phase: Phase, reply: Reply) -> Klass:
    if reply.code < 500 or phase in _NEVER_FINAL or (phase is Phase.RCPT and reply.code == 552):
        return Klass.TRANSIENT
    return Klass.PERMANENT


def _status(phase: Phase, klass: Klass, reply: Reply) -> Status:
    if phase is Phase.TLS:
        return Status(4, 7, 5)
    if phase is Phase.AUTH:
        return Status(4, 7, 8)
    digit = 5 if klass is Klass.PERMANENT else 4
    # The class is ours (552 to RCPT), subject and detail are the peer's.
    return reply.status._replace(klass=digit) if reply.status else Status(digit, 0, 0)


def words_of(reply: Reply) -> str:
    """A reply on one line, bounded. The parser has made its text safe to show."""
    return str(reply)[:MAX_WORDS]
