"""How the client core sets a session up: greeting, EHLO, STARTTLS, EHLO again, AUTH (RFC 5321 §3.2, 3207, 4954).

Each function takes a reply and says what comes next. A host without EHLO is greeted by HELO: on any refusal of
class 5, since hosts of that age say 500, 501, 502, 504 or 550. LMTP has no second try (RFC 2033 §4.1).

Nothing that arrived in clear is used after TLS (CVE-2011-0411): text behind the reply to STARTTLS, or in its place
before the command, ends the session, and the EHLO list is asked for anew.
"""

from __future__ import annotations

from mailserver.smtp.clientdialogue import ClientDialogue
from mailserver.smtp.clientlogin import LoginFailure, exchanges
from mailserver.smtp.clientreplies import ProtocolFailure
from mailserver.smtp.clientstates import State
from mailserver.smtp.offers import NO_LIMITS, limits_of, offers_of
from mailserver.smtp.plan import Derive, Ready, StartTls
from mailserver.smtp.reply import Reply
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Answer, Phase, line


def greeting(core: ClientDialogue, reply: Reply) -> None:
    """The reply to the connection itself."""
    if not 200 <= reply.code < 300:
        return core.end(Answer(Phase.GREETING, reply))
    return first_hello(core)


def first_hello(core: ClientDialogue) -> None:
    """Begin, or begin anew over TLS: what was learnt in clear is forgotten (RFC 3207 §4.2)."""
    core.offers, core.limits = {}, NO_LIMITS
    hello(core, "LHLO" if core.plan.lmtp else "EHLO")


def hello(core: ClientDialogue, verb: str) -> None:
    """Say who we are."""
    core.enter(State.HELLO)
    core.verb = verb
    core.send(Phase.HELLO, line(verb, " ", core.plan.helo))


def hello_reply(core: ClientDialogue, reply: Reply) -> None:
    """The reply to EHLO, HELO or LHLO."""
    if 200 <= reply.code < 300:
        if core.verb != "HELO":
            core.offers = offers_of(reply)
            core.limits = limits_of(core.offers)
        return secure(core)
    if reply.code >= 500 and core.verb == "EHLO":
        return hello(core, "HELO")
    return core.end(Answer(Phase.HELLO, reply))


def secure(core: ClientDialogue) -> None:
    """STARTTLS where it is wanted and offered, else on to the login."""
    if core.tls_verified is not None or core.plan.tls == "off":
        return log_in(core)
    if "STARTTLS" in core.offers:
        if not core.parser.empty:
            raise ProtocolFailure("the reply to STARTTLS came before the command")
        core.enter(State.TLS_ASKED)
        return core.send(Phase.TLS, b"STARTTLS\r\n")
    if core.plan.demands_tls:
        text = "the host does not offer STARTTLS, which is required"
        return core.end(Answer(Phase.TLS, None, Status(4, 7, 4), text))
    return log_in(core)


def starttls_reply(core: ClientDialogue, reply: Reply) -> None:
    """The reply to STARTTLS."""
    if reply.code == 220:
        # CVE-2011-0411: replies injected in clear would be read as if they came over TLS.
        if not core.parser.empty:
            raise ProtocolFailure("the host sent text in clear behind its reply to STARTTLS")
        core.enter(State.TLS)
        return core.events.append(StartTls())
    if core.plan.checks_certificate:
        return core.end(Answer(Phase.TLS, reply))
    return log_in(core)


def log_in(core: ClientDialogue) -> None:
    """AUTH where the plan has a login."""
    login = core.plan.login
    if login is None:
        return become_ready(core)
    core.exchanges = exchanges(login, core.offers.get("AUTH", ""), core.nonce)
    if not core.exchanges and login.optional:
        return become_ready(core)
    core.enter(State.AUTH)
    if not (core.tls_verified or login.unprotected):
        return _no_login(core, "the login is kept back: the connection is not over verified TLS")
    if not core.exchanges:
        return _no_login(core, f"the host offers no AUTH that we know ({', '.join(login.mechanisms)})")
    return core.send(Phase.AUTH, core.exchanges[0].command)


def _no_login(core: ClientDialogue, text: str) -> None:
    core.end(Answer(Phase.AUTH, None, Status(4, 7, 0), text))


def auth_reply(core: ClientDialogue, reply: Reply) -> None:
    """A challenge, or the end of the login."""
    try:
        _log_in_further(core, reply)
    except LoginFailure as failure:
        core.end(Answer(Phase.AUTH, None, Status(4, 7, 8), str(failure)))


def _log_in_further(core: ClientDialogue, reply: Reply) -> None:
    exchange = core.exchanges[0]
    if reply.code == 235:
        exchange.accepted()
        become_ready(core)
    elif reply.code == 334 and exchange.more:
        step = exchange.respond(reply.lines[0])
        if isinstance(step, Derive):
            core.events.append(step)
        else:
            core.send(Phase.AUTH, step)
    elif reply.code >= 500 and len(core.exchanges) > 1:
        core.exchanges.popleft()
        core.send(Phase.AUTH, core.exchanges[0].command)
    else:
        core.end(Answer(Phase.AUTH, reply))


def derived(core: ClientDialogue, root: bytes) -> None:
    """What a Derive asked for is there."""
    core.send(Phase.AUTH, core.exchanges[0].derived(root))


def become_ready(core: ClientDialogue) -> None:
    """The session is set up."""
    core.enter(State.READY)
    core.events.append(Ready())
