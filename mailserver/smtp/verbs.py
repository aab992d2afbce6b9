"""The command phase of the server core: a line is read, found permitted by the table of states, and run.

Each command is a function of the session and its argument. It asks the holder, or says its reply at once, or
raises :class:`~mailserver.smtp.command.Refused` with the reply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mailserver.smtp import authenticating, chunking, command, events, receiving, replies, states, xclient
from mailserver.smtp.command import Refused
from mailserver.smtp.dialogue import NOTHING, Dialogue, Said, Stated
from mailserver.smtp.framing import LineFault
from mailserver.smtp.reply import Reply


def read(core: Dialogue, line: bytes) -> None:
    """A command line, without its end."""
    if (end := core.tally.command(line)) is not None:
        core.close(*end)
        return
    profile = core.profile
    try:
        verb, argument = command.split(line)
        if len(line) + 2 > profile.limits.command_line:
            _check_length(core, verb, len(line) + 2)
        run = (LMTP_VERBS if profile.lmtp else VERBS).get(verb)
        if run is None:
            raise _unknown(core, verb)
        refusal = core.state.refuses.get(verb)
        if profile.auth_required and not core.authenticated and verb in core.state.needs_auth:
            refusal = profile.login_first(core.tls)
        if refusal is not None:
            raise Refused(refusal)
        run(core, argument)
    except Refused as refused:
        _refuse(core, line, refused.reply)


# What follows the first line end of a PROXY protocol header of version 2.
_PROXY_V2 = b"\r\n\0\r\nQUIT\n"


def _unknown(core: Dialogue, verb: str) -> Refused:
    if verb == "PROXY" or (not verb and core.input.begins(_PROXY_V2)):
        # A proxy that nobody has named: its clients would all pass for itself.
        core.close(None, "a PROXY protocol header from an address that is not in proxy_from")
    return Refused(replies.UNKNOWN_COMMAND)


def _refuse(core: Dialogue, line: bytes, reply: Reply) -> None:
    if core.profile.lmtp:
        reply = states.IN_LMTP.get(reply, reply)
    if line[:4].upper() == b"BDAT":
        chunking.refuse(core, line, reply)
    else:
        core.say(reply)
    if (b"\r" in line or b"\0" in line) and (end := core.tally.broken()) is not None:
        core.close(*end)


def read_fault(core: Dialogue, fault: LineFault) -> None:
    """What came in place of a line. An AUTH under way ends with it."""
    authenticating = core.state is states.AUTH
    if authenticating:
        core.state = states.READY
    if fault is LineFault.BARE_LF:
        core.say(replies.BARE_LF)
        if (end := core.tally.broken()) is not None:
            core.close(*end)
    else:
        core.say(replies.AUTH_LINE_TOO_LONG if authenticating else replies.LINE_TOO_LONG)
    if fault is LineFault.ENDLESS:
        core.close(replies.ENDLESS, "a line without end")
    elif core.input.lead[:4].upper() == b"BDAT":
        # Its octets follow, and how many they are is not known: see `chunking.refuse`.
        core.close(replies.OUT_OF_STEP, "a BDAT without a size")


def _check_length(core: Dialogue, verb: str, length: int) -> None:
    limits = core.profile.limits
    longest = command.line_limit(verb, limits.command_line, core.understood)
    if length > (limits.auth_line if verb == "AUTH" else longest):
        raise Refused(replies.LINE_TOO_LONG)


# Commands. Each was found permitted by the table.


def _ehlo(core: Dialogue, argument: str) -> None:
    core.ask(events.Hello(command.read_hello(argument), True))


def _helo(core: Dialogue, argument: str) -> None:
    core.ask(events.Hello(command.read_hello(argument), False))


def _mail(core: Dialogue, argument: str) -> None:
    # Those of a transaction that failed: refused or not, this is another.
    core.recipients = 0
    path, params = command.read_mail(argument, core.understood)
    limit = core.profile.limits.max_message_size
    if limit and params.size is not None and params.size > limit:
        raise Refused(replies.TOO_LARGE)
    core.ask(events.MailFrom(path, params, argument[5:]))


def _rcpt(core: Dialogue, argument: str) -> None:
    path, params = command.read_rcpt(argument, core.understood, core.smtputf8)
    limit = core.profile.limits.max_recipients
    if limit and core.recipients >= limit:
        raise Refused(replies.TOO_MANY_RECIPIENTS)
    core.ask(events.RcptTo(path, params, argument[3:]))


def _rset(core: Dialogue, argument: str) -> None:
    command.no_argument(argument)
    core.forget()
    if core.state.transaction:
        core.state = states.READY
    core.chunks, core.recipients = None, 0
    core.say(replies.OK)


def _noop(core: Dialogue, argument: str) -> None:
    core.say(replies.OK)


def _quit(core: Dialogue, argument: str) -> None:
    command.no_argument(argument)
    core.close(replies.GOODBYE, "QUIT")


def _vrfy(core: Dialogue, argument: str) -> None:
    if not argument:
        raise Refused(replies.BAD_ARGUMENT)
    # RFC 6531 §3.7.4.2: the parameter stands behind the name.
    flagged = "SMTPUTF8" in core.understood and argument.upper().endswith(" SMTPUTF8")
    if not argument.isascii() and not flagged:
        raise Refused(replies.NEEDS_SMTPUTF8)
    core.say(replies.CANNOT_VERIFY)


def _expn(core: Dialogue, argument: str) -> None:
    raise Refused(replies.NOT_IMPLEMENTED)


def _help(core: Dialogue, argument: str) -> None:
    core.say(replies.LMTP_HELP if core.profile.lmtp else replies.HELP)


def _starttls(core: Dialogue, argument: str) -> None:
    if core.tls:
        raise Refused(replies.TLS_ALREADY)
    if not core.profile.starttls:
        raise Refused(replies.NOT_IMPLEMENTED)
    command.no_argument(argument)
    core.ask(events.StartTls())


def _xclient(core: Dialogue, argument: str) -> None:
    if not core.profile.xclient:
        raise Refused(replies.NOT_IMPLEMENTED)
    if core.stated is Stated.FOR_GOOD:
        # Some proxies say it once and pass on what their client says from then on, who would pass for anybody.
        raise Refused(replies.STATED_ALREADY)
    core.ask(events.ClientStated(xclient.read(argument)))


# What an answer means beyond the table; answers what is to be said.


def _greeted(core: Dialogue, question: events.Opened, answer: Said) -> Said:
    core.early = core.early or len(core.input) > 0
    return answer


def _begin_again(core: Dialogue, question: events.ClientStated, answer: Said) -> Said:
    core.stated = Stated.SO_FAR
    core.authenticated, core.understood = False, NOTHING
    core.chunks, core.recipients = None, 0
    return answer


def _greet(core: Dialogue, question: events.Hello, answer: Said) -> Said:
    core.chunks, core.recipients = None, 0
    if core.stated is Stated.SO_FAR:
        core.stated = Stated.FOR_GOOD
    core.understood = core.profile.understood if question.extended else NOTHING
    return (core.profile.hello(core.tls) if question.extended else core.profile.helo,)


def _begin_transaction(core: Dialogue, question: events.MailFrom, answer: Said) -> Said:
    core.recipients, core.smtputf8 = 0, question.params.smtputf8
    return answer


def _add_recipient(core: Dialogue, question: events.RcptTo, answer: Said) -> Said:
    core.recipients += 1
    return answer


VERBS: Mapping[str, Callable[[Dialogue, str], None]] = {
    "EHLO": _ehlo,
    "HELO": _helo,
    "MAIL": _mail,
    "RCPT": _rcpt,
    "DATA": receiving.data,
    "BDAT": chunking.bdat,
    "RSET": _rset,
    "NOOP": _noop,
    "QUIT": _quit,
    "VRFY": _vrfy,
    "EXPN": _expn,
    "HELP": _help,
    "STARTTLS": _starttls,
    "AUTH": authenticating.auth,
    "XCLIENT": _xclient,
}
# RFC 2033 §4.1: LHLO in the place of EHLO and HELO, which are unknown here.
LMTP_VERBS = {verb: run for verb, run in VERBS.items() if verb not in ("EHLO", "HELO")} | {"LHLO": _ehlo}
ACCEPTED: Mapping[type[events.Question], Callable[[Dialogue, Any, Said], Said]] = {
    events.Opened: _greeted,
    events.Hello: _greet,
    events.MailFrom: _begin_transaction,
    events.RcptTo: _add_recipient,
    events.ContentBegins: receiving.begin,
    events.ContentEnds: receiving.accepted,
    events.Authenticate: authenticating.accepted,
    events.ClientStated: _begin_again,
}
REFUSED: Mapping[type[events.Question], Callable[[Dialogue, Any, Said], Said]] = {
    events.ContentBegins: receiving.no_content,
    events.ContentEnds: receiving.refused,
    events.FindKeys: authenticating.no_keys,
    events.ClientStated: _begin_again,
}
