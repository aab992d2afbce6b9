"""Reports to senders (RFC 3464), made as messages to be stored in the settlement that owes them.

Who is owed a report is decided here: never the null reverse-path (RFC 5321 §6.1), never where NOTIFY says
otherwise (RFC 3461 §4.1). Nothing is stored here: the queue manager puts the result into the settlement.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from mailserver.interfaces import IClock, IIntake, IThreads
from mailserver.message.claim import Claim
from mailserver.message.content import Content
from mailserver.message.dsn import DELAYED, FAILED, Report, Told, compose
from mailserver.message.envelope import Envelope, Facts, Original, Recipient
from mailserver.message.header import has_header
from mailserver.message.prepared import Prepared, new_queue_id
from mailserver.smtp.address import NULL

_KEYWORD = {FAILED: "FAILURE", DELAYED: "DELAY"}
_NEVER = frozenset({"NEVER"})


def owed(action: str, envelope: Envelope, recipient: Recipient) -> tuple[Original, ...]:
    """The originals of `recipient` for which the sender wants to hear of `action` (``failed``, ``delayed``)."""
    if envelope.reverse_path == NULL:
        return ()
    keyword = _KEYWORD[action]
    originals = recipient.originals or (Original(recipient.mailbox),)
    return tuple(one for one in originals if one.notify is None or keyword in one.notify)


@dataclass(frozen=True, slots=True)
class Bounces:
    """Composes reports. ``new_content`` is the spool's."""

    host_name: str
    intake: IIntake
    new_content: Callable[[], Content]
    threads: IThreads
    clock: IClock

    async def report(self, action: str, claim: Claim, told: Sequence[Told]) -> Prepared:
        """The report to the sender of `claim` on the recipients in `told`. Raises what the content and intake
        raise, and then nothing of it is left."""
        now = self.clock.wall()
        own_id = new_queue_id(now)
        header = claim.content.head + await self._header(claim.content)
        report = Report(action, self.host_name, claim.queue_id, own_id, claim.envelope, claim.arrived, now, header)
        content = self.new_content()
        try:
            await _finished(content, compose(report, told))
            # Nobody is told that a report could not be delivered, so nobody needs to ask for it (RFC 3461 §5.2.9).
            originals = (Original(claim.envelope.reverse_path, _NEVER),)
            envelope = Envelope(NULL, listener="report")
            prepared = self.intake.prepare(envelope, content, Facts(own_id, originals, now))
            return prepared if isinstance(prepared, Prepared) else await prepared
        except BaseException:
            content.discard()
            raise

    async def _header(self, content: Content) -> bytes:
        try:
            if content.file is None:
                return _section(content)
            header: bytes = await self.threads("disk", _section, content)
        except OSError:
            # The report is worth more than what it quotes.
            return b""
        return header


def _section(content: Content) -> bytes:
    return content.header() if has_header(content) else b""


async def _finished(content: Content, octets: bytes) -> None:
    waiting: Awaitable[None] | None = content.write(octets)
    if waiting is not None:
        await waiting
    waiting = content.finish()
    if waiting is not None:
        await waiting
