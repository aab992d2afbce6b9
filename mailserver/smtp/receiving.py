"""The content phase of the server core: what follows DATA (RFC 5321 §4.1.1.4).

Content becomes slices as it comes. A bad one is thrown away to its end, within a bound, and answered there:
the session stays usable, and nothing of the content is ever read as a command.
"""

from __future__ import annotations

from mailserver.smtp import chunking, command, events, replies, states
from mailserver.smtp.dialogue import Dialogue, Said
from mailserver.smtp.framing import ContentDecoder
from mailserver.smtp.reply import Reply

_SEND_CONTENT = (replies.SEND_CONTENT,)
_CONTENT_BEGINS, _CONTENT_ENDS = events.ContentBegins(), events.ContentEnds()


def data(core: Dialogue, argument: str) -> None:
    """The command DATA."""
    command.no_argument(argument)
    core.ask(_CONTENT_BEGINS)


def begin(core: Dialogue, question: events.ContentBegins, answer: Said) -> Said:
    """The holder takes the content: 354, or the octets that follow BDAT."""
    if core.chunk is not None:
        return chunking.begin(core)
    profile = core.profile
    limits = profile.limits
    core.dropped = None
    core.decoder = ContentDecoder(limits.max_message_size, limits.max_line_length, profile.normalizes)
    return _SEND_CONTENT


def no_content(core: Dialogue, question: events.ContentBegins, answer: Said) -> Said:
    """The holder does not take it."""
    if core.chunk is not None:
        return chunking.refused(core, answer)
    core.recipients = 0
    return answer


def accepted(core: Dialogue, question: events.ContentEnds, answer: Said) -> Said:
    """The holder took the message."""
    core.tally.accepted()
    return refused(core, question, answer)


def refused(core: Dialogue, question: events.ContentEnds, answer: Said) -> Said:
    """The holder did not take it. Each recipient of LMTP is owed a reply, whatever became of the content
    (RFC 2033 §4.2)."""
    core.decoder = core.chunks = core.chunk = None
    owed, core.recipients = core.recipients, 0
    return answer * owed if core.profile.lmtp and len(answer) == 1 else answer


def read(core: Dialogue) -> bool:
    """Work on the next slice; false when there is none."""
    piece = core.input.slice()
    if not piece:
        return False
    decoder = core.decoder
    assert decoder is not None
    text = decoder.feed(piece)
    if text:
        core.events.append(events.ContentSlice(text))
    if decoder.fault is not None and core.dropped is None:
        _drop(core, states.FAULTS[decoder.fault])
    if decoder.ended:
        core.input.put_back(decoder.surplus)
        _end(core)
    elif 0 < core.profile.limits.discard < decoder.discarded:
        core.close(replies.ENDLESS, "a content without end")
    return True


def drop(core: Dialogue, reply: Reply) -> None:
    """The holder wants no more of this content: its end is answered with `reply`."""
    if core.dropped is not None or core.state is states.SKIP:
        return
    came, core.question = core.question is not None, None
    core.events.clear()
    if core.chunk is not None:
        chunking.drop(core, reply)
        return
    _drop(core, reply)
    if came:
        _end(core)


def _drop(core: Dialogue, reply: Reply) -> None:
    assert core.decoder is not None
    core.dropped = reply
    core.decoder.refuse()
    core.events.append(events.ContentDropped(reply))


def _end(core: Dialogue) -> None:
    dropped = core.dropped
    if dropped is None:
        core.ask(_CONTENT_ENDS)
        return
    core.decoder = core.dropped = None
    core.state = states.READY
    owed, core.recipients = core.recipients, 0
    core.say_each((dropped,) * (owed if core.profile.lmtp else 1))
