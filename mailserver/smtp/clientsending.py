"""How the client core sends a message: envelope, content, and what each reply decides (RFC 5321 §3.3, 2920, 3030).

With PIPELINING the whole envelope leaves in one piece, else one command at a time. A content that is given at the
start goes with it where the host offers CHUNKING, too: BDAT LAST stands behind the last RCPT, and a message takes
one round trip. Whoever is refused then does not get it, and the host throws the octets away (RFC 3030 §2). A host
that announces CHUNKING and does not know BDAT is transient trouble, and the session ends: where the host stands
then cannot be known.

LMTP differs in the end: each recipient who was accepted has a reply of his own to the content (RFC 2033 §4.2), to
BDAT LAST, too; when none was, there is one, a refusal.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from mailserver.smtp.clientdialogue import ClientDialogue, Sending
from mailserver.smtp.clientreplies import ProtocolFailure
from mailserver.smtp.clientstates import State
from mailserver.smtp.plan import Answered, SendContent
from mailserver.smtp.reply import Reply
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Answer, Phase, Transaction, commands, refusals

# These are about a command of ours, and never about a message (RFC 5321 §4.2.2).
_UNKNOWN = range(500, 505)
_OUT_OF_PLACE = 503


def in_one_flight(core: ClientDialogue) -> bool:
    """True where a content that is given at the start goes along."""
    # Not behind a login: should the host read a refused BDAT's octets as commands, they would be the author's, and
    # run with our login.
    return (
        core.plan.chunking
        and core.plan.login is None
        and "CHUNKING" in core.offers
        and "PIPELINING" in core.offers
    )


def start(core: ClientDialogue, transaction: Transaction, content: bytes | None) -> None:
    """Begin. Raises ValueError for what cannot be sent; then nothing has begun."""
    core.require(State.READY)
    answers = refusals(transaction, core.offers)
    if None not in answers:
        core.events.append(Answered(tuple(answer for answer in answers if answer is not None)))
        return
    asked = tuple(path for path, no in zip(transaction.recipients, answers, strict=True) if no is None)
    lines = deque(commands(replace(transaction, recipients=asked), core.offers))
    chunked = content is not None and in_one_flight(core)
    if content is not None and chunked:
        lines[-1] = (Phase.FINAL, _chunk(content))
    if core.dirty:
        lines.appendleft((Phase.RESET, b"RSET\r\n"))
    core.sending, core.dirty = Sending(answers, lines, chunked), True
    core.enter(State.ENVELOPE)
    advance(core)


def _chunk(content: bytes) -> bytes:
    if b"\r" in content:
        raise ValueError("content is kept with LF alone, and this has a CR")
    octets = content.replace(b"\n", b"\r\n")
    if octets and not octets.endswith(b"\n"):
        octets += b"\r\n"  # a message is made of lines, and by DATA it would come so
    return b"BDAT %d LAST\r\n%b" % (len(octets), octets)


def content(core: ClientDialogue, piece: bytes) -> None:
    """A piece of the content. Raises ValueError for a CR in it."""
    core.out.append(_sending(core).encoder.feed(piece))


def content_end(core: ClientDialogue) -> None:
    """The content is complete."""
    core.require(State.CONTENT)
    sending = _sending(core)
    core.out.append(sending.encoder.end())
    sending.given = True
    core.enter(State.FINAL)
    core.expected.append(Phase.FINAL)


def advance(core: ClientDialogue) -> None:
    """Send what may be sent of the envelope, or see that it is through."""
    sending = core.sending
    if core.state is not State.ENVELOPE or sending is None:
        return
    lines, pipelining = sending.lines, "PIPELINING" in core.offers
    while lines and (pipelining or not core.expected):
        if not pipelining and lines[0][0] is Phase.DATA and not sending.undecided:
            lines.clear()
            break
        core.send(*lines.popleft())
    if not lines and not core.expected:
        _finish(core)


def reset_reply(core: ClientDialogue, reply: Reply) -> None:
    """The reply to RSET."""
    if not 200 <= reply.code < 300:
        core.end(Answer(Phase.RESET, reply))


def mail_reply(core: ClientDialogue, reply: Reply) -> None:
    """The reply to MAIL."""
    if not 200 <= reply.code < 300:
        sending = _sending(core)
        sending.decide(Answer(Phase.MAIL, reply))
        # What was not pipelined need not be sent; what was is answered with 503.
        sending.lines.clear()


def rcpt_reply(core: ClientDialogue, reply: Reply) -> None:
    """The reply to a RCPT."""
    sending = _sending(core)
    place = sending.places.popleft()
    if sending.answers[place] is None and not 200 <= reply.code < 300:
        sending.answers[place] = Answer(Phase.RCPT, reply)


def data_reply(core: ClientDialogue, reply: Reply) -> None:
    """The reply to DATA."""
    if 200 <= reply.code < 300:
        raise ProtocolFailure(f"DATA was answered with {reply.code}")
    sending = _sending(core)
    if reply.code >= 400:
        return sending.decide(Answer(Phase.DATA, reply))
    if sending.undecided:
        core.enter(State.CONTENT)
        return core.events.append(SendContent())
    # RFC 2920 §3.1: 354 although every recipient was refused. An empty content ends it.
    core.enter(State.FINAL)
    return core.send(Phase.FINAL, b".\r\n")


def final_reply(core: ClientDialogue, reply: Reply) -> None:
    """The reply to the content; in LMTP one of them."""
    if 300 <= reply.code < 400:
        raise ProtocolFailure(f"the content was answered with {reply.code}")
    sending = _sending(core)
    if sending.chunked and reply.code >= 400:
        # 503 is right where nobody was accepted. All others leave a host that may be reading content as commands.
        if reply.code in _UNKNOWN and (sending.undecided or reply.code != _OUT_OF_PLACE):
            text = f"the host offers CHUNKING, and answered BDAT with {reply}"
            sending.spoilt = Answer(Phase.FINAL, None, Status(4, 5, 1), text, own=core.plan.lmtp)
            if not core.plan.lmtp:
                return core.end(sending.spoilt)
    else:
        # DATA ends its transaction, whatever it comes to. A refused BDAT leaves all open (RFC 3030 §2).
        core.dirty = False
    if core.plan.lmtp and sending.undecided:
        # In LMTP it may be the word about one recipient, and those behind it have theirs.
        unknown = sending.spoilt if reply.code in _UNKNOWN else None
        sending.answers[sending.answers.index(None)] = unknown or Answer(Phase.FINAL, reply, own=True)
        if sending.undecided:
            return core.expected.append(Phase.FINAL)
    if sending.spoilt is not None:
        return core.end(sending.spoilt)
    sending.decide(Answer(Phase.FINAL, reply))
    return _finish(core)


def _sending(core: ClientDialogue) -> Sending:
    assert core.sending is not None
    return core.sending


def _finish(core: ClientDialogue) -> None:
    sending, core.sending = _sending(core), None
    core.enter(State.READY)
    core.events.append(sending.result())
