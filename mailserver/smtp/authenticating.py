"""The AUTH phase of the server core: the command, and the lines that answer challenges (RFC 4954 §4)."""

from __future__ import annotations

from mailserver.smtp import events, replies, sasl, states
from mailserver.smtp.command import Refused
from mailserver.smtp.dialogue import Dialogue, Said


def auth(core: Dialogue, argument: str) -> None:
    """The command AUTH."""
    profile = core.profile
    if not profile.mechanisms:
        raise Refused(replies.NOT_IMPLEMENTED)
    if profile.auth_waits_for_tls(argument, core.tls):
        raise Refused(replies.ENCRYPTION_NEEDED)
    if core.authenticated:
        raise Refused(replies.ALREADY_AUTHENTICATED)
    core.exchange, step = sasl.begin(argument, profile.offered(core.tls), core.mechanisms)
    _take(core, step)


def read(core: Dialogue, line: bytes) -> None:
    """A line of the client while a challenge is open."""
    assert core.exchange is not None
    core.state = states.READY
    try:
        _take(core, core.exchange.respond(line))
    except Refused as refused:
        core.exchange = None
        core.say(refused.reply)


def accepted(core: Dialogue, question: events.Authenticate, answer: Said) -> Said:
    """The holder knows the credentials."""
    core.authenticated = True
    return answer


def no_keys(core: Dialogue, question: events.FindKeys, answer: Said) -> Said:
    """The exchange is over."""
    core.exchange = None
    return answer


def found(core: Dialogue, keys: object) -> None:
    """The holder has found the keys that the mechanism needs."""
    assert core.exchange is not None
    _take(core, core.exchange.found(keys))


def _take(core: Dialogue, step: sasl.GoodStep) -> None:
    assert core.exchange is not None
    if isinstance(step, sasl.Challenge):
        core.state = states.AUTH
        core.output.append(sasl.encode_challenge(step.data))
    elif isinstance(step, sasl.KeysNeeded):
        core.ask(events.FindKeys(core.exchange.name, step.username))
    else:
        name, core.exchange = core.exchange.name, None
        core.ask(events.Authenticate(name, step.credentials))
