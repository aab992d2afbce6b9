"""Arbitrary octets against the server core.

Nothing raises; every reply is whole lines; what is told the holder does not depend on how the octets were cut
(where there is no STARTTLS, behind which what came in clear is dropped); a content holds no CR and no NUL; and
there are never more messages than ends of content: two for one would be smuggling.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mailserver.smtp import events, replies, states
from mailserver.smtp.limits import Profile, ServerLimits
from mailserver.smtp.reply import Reply
from mailserver.smtp.sasl import PASSWORD_MECHANISMS
from mailserver.smtp.server import ServerCore
from tests.harness.servercore import YES

_ALL = frozenset(("PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "SMTPUTF8", "CHUNKING"))
_LIMITS = ServerLimits(max_message_size=2000, max_recipients=5, max_line_length=200)
PROFILES = (
    Profile("mx.example.test", _ALL),
    Profile("mx.example.test", _ALL, limits=_LIMITS),
    Profile("mx.example.test", _ALL, mechanisms=("PLAIN", "LOGIN"), auth_in_clear=True, auth_required=True),
    Profile("mx.example.test", _ALL, mechanisms=("PLAIN", "LOGIN"), starttls=True),
    Profile("mx.example.test", _ALL, limits=_LIMITS, lmtp=True),
    Profile("mx.example.test", _ALL, normalizes=True),
)
_LINE = re.compile(rb"[2345][0-9]{2}[ -][^\r\n]*\r\n")


class Heard(NamedTuple):
    """What a session came to."""

    told: list[object]
    messages: list[bytes]
    said: bytes
    dropped: list[bytes]

    def comparable(self) -> tuple[list[object], list[bytes], bytes]:
        """Without the reason of a refused content: of two reasons the cuts may bring either up first."""
        said = self.said
        for wire in self.dropped:
            said = said.replace(wire, b"<dropped>")
        return self.told, self.messages, said


def run(data: bytes) -> None:
    """One input: which profile, which questions are refused, and what the client sends."""
    if len(data) < 2:
        return
    profile, seed, stream = PROFILES[data[0] % len(PROFILES)], data[1], data[2:]
    heard = play(profile, seed, [stream])
    check(heard, stream)
    again = play(profile, seed, cut(stream, seed))
    check(again, stream)
    if not profile.starttls:
        assert heard.comparable() == again.comparable(), "the cuts made a difference"


def cut(stream: bytes, seed: int) -> Iterator[bytes]:
    """Pieces of one to eight octets, so that every border comes up."""
    chance = random.Random(seed)
    while stream:
        length = chance.randint(1, 8)
        yield stream[:length]
        stream = stream[length:]


def play(profile: Profile, seed: int, pieces: Iterable[bytes]) -> Heard:
    """A session in which every eighth question or so is refused, by `seed`."""
    core, heard = ServerCore(profile, PASSWORD_MECHANISMS), Heard([], [], b"", [])
    chance, content = random.Random(seed), bytearray()
    said = _turn(core, heard, chance, content)
    for piece in pieces:
        core.receive(piece)
        said += _turn(core, heard, chance, content)
    core.receive_eof()
    said += _turn(core, heard, chance, content)
    assert core.state is states.CLOSED
    return heard._replace(said=said)


def _turn(core: ServerCore, heard: Heard, chance: random.Random, content: bytearray) -> bytes:
    while (event := core.next_event()) is not None:
        if isinstance(event, events.ContentSlice):
            content += event.octets
            continue
        if isinstance(event, events.ContentDropped):
            heard.dropped.append(event.reply.wire)
            event = events.ContentDropped(replies.LOCAL_ERROR)
        heard.told.append(event)
        if isinstance(event, (events.ContentDropped, events.TransactionReset)):
            content.clear()
        if isinstance(event, events.ContentEnds):
            heard.messages.append(bytes(content))
            content.clear()
        if core.asking:
            each = core.recipients if core.profile.lmtp and isinstance(event, events.ContentEnds) else 1
            core.answer(*[_answer(event, chance) for _ in range(each)])
        if core.state is states.TLS:
            core.tls_started()
    return core.data_to_send()


def _answer(event: object, chance: random.Random) -> Reply:
    if not isinstance(event, events.Opened) and chance.randrange(8) == 0:
        return replies.LOCAL_ERROR
    return YES[type(event)]


def check(heard: Heard, stream: bytes) -> None:
    """What holds for every session."""
    assert _LINE.sub(b"", heard.said) == b"", heard.said
    for message in heard.messages:
        assert b"\r" not in message
        assert b"\0" not in message
    ends = stream.count(b"\r\n.\r\n") + stream.upper().count(b"LAST")
    assert len(heard.messages) <= ends, "more messages than ends of content"
