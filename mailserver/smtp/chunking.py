"""The content phase of the server core as BDAT has it (RFC 3030): so many octets behind each command.

The holder hears the same as by DATA: the first BDAT asks whether content may come, slices follow, the last chunk
ends it. Each chunk that is not the last is answered 250 here, once the holder has had its slices; that is no
promise, the message is accepted by the reply to BDAT LAST alone.

A refused BDAT has octets behind it all the same, and they are content: they are thrown away before its reply,
within the bound that refused content has, and the transaction is over (`states.AFTER_REFUSED_CHUNK`). BINARYMIME
is not offered, so content is text with CRLF and meets every check that it meets by DATA. Dots mean nothing.
"""

from __future__ import annotations

from mailserver.smtp import command, events, replies, states
from mailserver.smtp.command import Refused
from mailserver.smtp.dialogue import Chunk, Dialogue, Said
from mailserver.smtp.framing import ChunkDecoder
from mailserver.smtp.reply import Reply

_CONTENT_BEGINS, _CONTENT_ENDS = events.ContentBegins(), events.ContentEnds()


def bdat(core: Dialogue, argument: str) -> None:
    """The command, where the table permits it: in a transaction with a recipient."""
    if "CHUNKING" not in core.understood:
        offered = "CHUNKING" in core.profile.extensions
        raise Refused(replies.HELLO_FIRST if offered else replies.NOT_IMPLEMENTED)
    size, last = command.read_bdat(argument)
    chunks = core.chunks
    limit = core.profile.limits.max_message_size
    if limit and size + (chunks.taken if chunks is not None else 0) > limit:
        raise Refused(replies.TOO_LARGE)
    if not size and not last and (end := core.tally.junk()) is not None:
        core.close(*end)
        return
    core.chunk = Chunk(size, last, states.AFTER_REFUSED_CHUNK[core.state])
    if chunks is None:
        core.ask(_CONTENT_BEGINS)
    else:
        core.state = states.CHUNK


def refuse(core: Dialogue, line: bytes, reply: Reply) -> None:
    """A BDAT that is not taken, whatever is wrong with it: `reply` comes behind its octets.

    Where there is no telling how many they are, reading on would take content for commands, which its author may
    have written (SMTP smuggling): the session ends.
    """
    argument = line[5:].strip(b" ").decode("latin-1")
    size = command.chunk_size(argument) if line[4:5] == b" " else None
    if size is None:
        core.say(reply)
        core.close(replies.OUT_OF_STEP, "a BDAT without a size")
        return
    last = argument[-5:].upper() == " LAST"
    core.chunk = Chunk(size, last, states.AFTER_REFUSED_CHUNK[core.state], reply)
    _give_up(core, reply)


def begin(core: Dialogue) -> Said:
    """The holder takes the content: nothing is said before the octets of this chunk."""
    profile = core.profile
    limits = profile.limits
    core.chunks = ChunkDecoder(limits.max_message_size, limits.max_line_length, profile.normalizes)
    return ()


def refused(core: Dialogue, answer: Said) -> Said:
    """The holder does not take it: that is said behind the octets of this chunk, but for the last word of all."""
    assert core.chunk is not None
    core.chunk.refusal = answer[0]
    return answer if answer[0].code == 421 else ()


def read(core: Dialogue) -> bool:
    """Work on the octets of a chunk; false when there are none."""
    chunk, chunks = core.chunk, core.chunks
    assert chunk is not None
    assert chunks is not None
    if not chunk.left:
        _end(core, chunk, chunks)
        return True
    piece = core.input.slice(chunk.left)
    if not piece:
        return False
    chunk.left -= len(piece)
    _hand_over(core, chunks, chunks.feed(piece))
    return True


def skip(core: Dialogue) -> bool:
    """Throw away the octets of a refused chunk; false when there are none."""
    chunk = core.chunk
    assert chunk is not None
    if chunk.left:
        piece = core.input.slice(chunk.left)
        chunk.left -= len(piece)
        if piece and (end := core.tally.skipped(len(piece))) is not None:
            core.close(*end)
        return bool(piece)
    assert chunk.refusal is not None
    core.chunk, core.state = None, chunk.back
    # RFC 2033 §4.3 has as many replies to BDAT LAST as RCPTs were accepted, and a client that sent it ahead waits
    # for them. What fails before is answered once.
    owed = max(core.recipients, 1) if core.profile.lmtp and chunk.last else 1
    if chunk.last:
        core.recipients = 0
    core.say_each((chunk.refusal,) * owed)
    return True


def drop(core: Dialogue, reply: Reply) -> None:
    """Throw the content away, and the rest of this chunk with it."""
    assert core.chunk is not None
    core.chunk.refusal = reply
    _give_up(core, reply)


def _give_up(core: Dialogue, reply: Reply) -> None:
    """There will be no content."""
    if core.chunks is not None:
        core.chunks = None
        core.events.append(events.ContentDropped(reply))
    else:
        core.forget()
    core.state = states.SKIP
    chunk, discard = core.chunk, core.profile.limits.discard
    assert chunk is not None
    if 0 < discard < chunk.left:
        # Not worth waiting for.
        core.say(reply)
        core.close(replies.ENDLESS, "a refused chunk without end")


def _hand_over(core: Dialogue, chunks: ChunkDecoder, text: bytes) -> None:
    if text:
        core.events.append(events.ContentSlice(text))
    if chunks.fault is not None:
        drop(core, states.FAULTS[chunks.fault])


def _end(core: Dialogue, chunk: Chunk, chunks: ChunkDecoder) -> None:
    if not chunk.last:
        core.chunk, core.state = None, states.CHUNKED
        core.say(replies.CHUNK_OK)
        return
    _hand_over(core, chunks, chunks.end())
    if chunks.fault is None:
        core.ask(_CONTENT_ENDS)
