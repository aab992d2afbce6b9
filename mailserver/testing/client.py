"""How the kit sends: one session of the production client with a listener, and the reply that decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory

from mailserver.message.content import Content
from mailserver.net.wire import Wire
from mailserver.smtp.address import NULL, Mailbox
from mailserver.smtp.client import ClientCore
from mailserver.smtp.clientstates import State as Standing
from mailserver.smtp.plan import Answered, Ended, SendContent, SessionPlan
from mailserver.smtp.reply import Reply
from mailserver.smtp.transaction import Answer, ForwardPath, Phase, Transaction

_ACCEPTED = "Accepted as "


@dataclass(frozen=True, slots=True)
class Submitted:
    """What the server said. ``code`` and ``text`` are of the reply that decided about the message: that to its
    content, or the last refusal where no content was sent. ``code`` is 0 where there was none: the connection was
    lost, or the server's EHLO says already that it would not take it (SIZE).
    ``queue_id`` is "" unless it was accepted. ``refused`` are the recipients that were not, each with its reply.
    """

    code: int
    text: str
    queue_id: str = ""
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Letter:
    """What to send; addresses as text, the sender "" is the null reverse-path."""

    sender: str
    recipients: list[str]
    content: Content
    notify: frozenset[str] | None = None

    def transaction(self) -> Transaction:
        """For the client core."""
        paths = tuple(ForwardPath(Mailbox.parse(one), self.notify) for one in self.recipients)
        return Transaction(Mailbox.parse(self.sender) if self.sender else NULL, paths, self.content.size)


@dataclass(frozen=True, slots=True)
class Way:
    """Where to connect and how: address and port, our own address, the plan, and a TLS connection creator."""

    place: tuple[str, int]
    source: str
    plan: SessionPlan
    creator: Any = None


class _Once(Factory):
    noisy = False

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def buildProtocol(self, addr: Any) -> Wire:
        return self._wire


async def send(reactor: Any, way: Way, letter: Letter) -> Submitted:
    """One session, one message. Raises what endpoints raise where nobody listens."""
    wire = Wire(reactor, ClientCore(way.plan), way.creator, way.plan.tls == "verified")
    endpoint = TCP4ClientEndpoint(reactor, *way.place, bindAddress=(way.source, 0))
    await endpoint.connect(_Once(wire))
    event = await wire.next()
    if isinstance(event, Ended):
        assert event.answer is not None
        return _submitted(letter, (event.answer,) * len(letter.recipients))
    wire.core.start(letter.transaction())
    wire.turn()
    event = await wire.next()
    if isinstance(event, SendContent):
        _give(wire, letter.content)
        event = await wire.next()
    assert isinstance(event, Answered), event
    if wire.core.state is Standing.READY:
        wire.core.quit()
        wire.turn()
    await wire.closed()
    return _submitted(letter, event.answers)


def _give(wire: Wire, content: Content) -> None:
    if wire.core.state is Standing.CONTENT:
        for piece in content.chunks():
            wire.core.content(piece)
        wire.core.content_end()
        wire.turn()


def _submitted(letter: Letter, answers: tuple[Answer, ...]) -> Submitted:
    refused = {
        recipient: _words(answer)
        for recipient, answer in zip(letter.recipients, answers, strict=True)
        if answer.reply is None or answer.reply.code >= 300
    }
    # The content's reply where it came to one; else whatever ended it.
    decided = next((one for one in answers if one.phase is Phase.FINAL), answers[-1])
    if decided.reply is None:
        return Submitted(0, decided.text, "", refused)
    return Submitted(decided.reply.code, _text(decided.reply), _queue_id(decided.reply), refused)


def _words(answer: Answer) -> str:
    return answer.text if answer.reply is None else str(answer.reply)


def _text(reply: Reply) -> str:
    return " ".join(([str(reply.status)] if reply.status else []) + list(reply.lines))


def _queue_id(reply: Reply) -> str:
    words = reply.lines[0]
    return words.removeprefix(_ACCEPTED) if reply.code == 250 and words.startswith(_ACCEPTED) else ""
