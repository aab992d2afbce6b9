"""The end of a content: its checks, its way into the spool, and the reply to it.

The positive reply comes from the spool's commit and from nothing else. Whatever else happens, the content is
discarded, and the client hears of it with a 4yz, or with what a check refused it for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from mailserver.interfaces import MailServerError, SpoolFailed, SpoolFull
from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Facts, Original
from mailserver.message.prepared import new_queue_id
from mailserver.message.trace import Hop, received
from mailserver.reception import refusals
from mailserver.smtp.reply import Reply

if TYPE_CHECKING:
    from mailserver.reception.world import Peer, World


class Accepting:
    """The way of one complete content into the spool. It runs to its end even when the session does not.

    ``ask`` is what the checks say of the content, which they can read whole: it is finished then."""

    ask: Callable[[], Any] | None = None

    def __init__(
        self, world: World, peer: Peer, content: Content, envelope: Envelope, originals: list[Original]
    ) -> None:
        self._world = world
        self._peer = peer
        self._content = content
        self._envelope = envelope
        self._originals = tuple(originals)

    def run(self) -> Deferred[Reply]:
        """A Deferred of the reply to the end of the content."""
        finishing: Any = self._content.finish()
        if finishing is None:
            return self._judge(None)
        return _deferred(finishing).addCallbacks(self._judge, self._not_stored)

    def _judge(self, _ignored: None) -> Deferred[Reply]:
        if self.ask is None:
            return self._store()
        refusal = self.ask()
        if refusal is None or isinstance(refusal, Reply):
            return self._judged(refusal)
        return _deferred(refusal).addCallback(self._judged)

    def _judged(self, refusal: Reply | None) -> Deferred[Reply]:
        if refusal is None:
            return self._store()
        self._content.discard()
        return succeed(refusal)

    def _store(self) -> Deferred[Reply]:
        arrived = self._world.clock.wall()
        queue_id = new_queue_id(arrived)
        originals = self._originals
        only = originals[0].mailbox if len(originals) == 1 else None
        self._content.head = received(self._envelope, Hop(self._world.host_name, queue_id, arrived, only))
        facts = Facts(queue_id, originals, arrived, self._peer.submission)
        try:
            stored = _deferred(self._world.intake.accept(self._envelope, self._content, facts))
        except Exception:
            stored = fail(Failure())
        return stored.addCallbacks(self._stored, self._not_stored)

    def _stored(self, queue_id: str) -> Reply:
        envelope = self._envelope
        self._world.log.event(
            "message.accepted",
            session=self._peer.session,
            queue=queue_id,
            sender=envelope.reverse_path,
            recipients=len(self._originals),
            size=self._content.size,
            account=envelope.identity or "-",
        )
        return refusals.accepted(queue_id)

    def _not_stored(self, failure: Failure) -> Any:
        self._content.discard()
        error = failure.value
        if isinstance(error, SpoolFull):
            answer = refusals.NO_ROOM
        elif isinstance(error, SpoolFailed):
            answer = refusals.NOT_NOW
        else:
            answer = refusals.INTERNAL
        if isinstance(error, MailServerError):
            self._world.log.event("content.refused", session=self._peer.session, reply=answer, reason=error)
        else:
            self._world.log.failure("a message could not be stored", error, session=self._peer.session)
        return answer


def _deferred(awaitable: Any) -> Deferred[Any]:
    if isinstance(awaitable, Deferred):
        return awaitable
    return Deferred.fromCoroutine(awaitable)
