"""Reports to senders (RFC 3464), made as messages to be stored in the settlement that owes them.

Who is owed a report is decided here: never the null reverse-path (RFC 5321 §6.1), never where NOTIFY says
otherwise (RFC 3461 §4.1): without NOTIFY failures and delays are told, successes are not. Nothing is stored here:
the queue manager puts the result into the settlement.

A failure quotes the whole message where RET=FULL asks for it (RFC 3461 §4.3), piece by piece, so that its size
does not matter: what is larger than the spool's cap goes to a file, durable before the report is prepared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from mailserver.interfaces import IClock, IIntake, IThreads
from mailserver.message import dsn
from mailserver.message.claim import Claim
from mailserver.message.content import Content
from mailserver.message.dsn import DELAYED, DELIVERED, EXPANDED, FAILED, RELAYED, Report, Told
from mailserver.message.envelope import Envelope, Facts, Original, Recipient
from mailserver.message.header import has_header
from mailserver.message.prepared import Prepared, new_queue_id
from mailserver.smtp.address import NULL

_KEYWORD = {FAILED: "FAILURE", DELAYED: "DELAY", DELIVERED: "SUCCESS", RELAYED: "SUCCESS", EXPANDED: "SUCCESS"}
_UNASKED = frozenset({FAILED, DELAYED})
_NEVER = frozenset({"NEVER"})


def owed(action: str, envelope: Envelope, recipient: Recipient) -> tuple[Original, ...]:
    """The originals of `recipient` for which the sender wants to hear of `action` (``failed``, ``relayed``, …)."""
    keyword, unasked = _KEYWORD[action], action in _UNASKED
    originals = recipient.originals or (Original(recipient.mailbox),)
    asked = tuple(one for one in originals if (unasked if one.notify is None else keyword in one.notify))
    return () if asked and envelope.reverse_path == NULL else asked


@dataclass(frozen=True, slots=True)
class Bounces:
    """Composes reports. ``new_content`` is the spool's."""

    host_name: str
    intake: IIntake
    new_content: Callable[[], Content]
    threads: IThreads
    clock: IClock

    async def report(self, claim: Claim, told: Sequence[Told]) -> Prepared:
        """The report to the sender of `claim` on the recipients in `told`. Raises what the content and intake
        raise, and then nothing of it is left."""
        now = self.clock.wall()
        own_id = new_queue_id(now)
        header = claim.content.head + await self._header(claim.content)
        whole = await self._whole(claim, told)
        report = Report(self.host_name, claim.queue_id, own_id, claim.envelope, claim.arrived, now, header, whole)
        try:
            return await self._prepared(report, told, claim.content)
        except OSError:
            if not whole:
                raise
            # The content cannot be read, and the report is worth more than what it quotes.
            return await self._prepared(replace(report, whole=""), told, claim.content)

    async def _prepared(self, report: Report, told: Sequence[Told], about: Content) -> Prepared:
        content = self.new_content()
        try:
            await self._write(content, report, told, about)
            # Nobody is told that a report could not be delivered, so nobody needs to ask for it (RFC 3461 §5.2.9).
            originals = (Original(report.envelope.reverse_path, _NEVER),)
            envelope = Envelope(NULL, body=report.body, smtputf8=report.smtputf8, listener="report")
            prepared = self.intake.prepare(envelope, content, Facts(report.own_id, originals, report.now))
            return prepared if isinstance(prepared, Prepared) else await prepared
        except BaseException:
            content.discard()
            raise

    async def _write(self, content: Content, report: Report, told: Sequence[Told], about: Content) -> None:
        if not report.whole:
            await _done(content.write(dsn.compose(report, told)))
        else:
            await _done(content.write(dsn.opening(report, told)))
            async for piece in self._pieces(about):
                await _done(content.write(piece))
            await _done(content.write(dsn.closing(report)))
        await _done(content.finish())

    async def _pieces(self, about: Content) -> AsyncIterator[bytes]:
        pieces = about.chunks()
        if about.file is None:
            for piece in pieces:
                yield piece
            return
        while (read := await self.threads("disk", next, pieces, None)) is not None:
            yield read

    async def _whole(self, claim: Claim, told: Sequence[Told]) -> str:
        """Whether the whole message is to be quoted, and in which form it can be: see `Report.whole`."""
        if claim.envelope.ret != "FULL" or all(one.action != FAILED for one in told):
            return ""
        content = claim.content
        try:
            plain = content.ascii() if content.file is None else await self.threads("disk", content.ascii)
        except OSError:
            return ""
        return "7BIT" if plain else "8BITMIME"

    async def _header(self, content: Content) -> bytes:
        try:
            if content.file is None:
                return _section(content)
            header: bytes = await self.threads("disk", _section, content)
        except OSError:
            return b""
        return header


def _section(content: Content) -> bytes:
    return content.header() if has_header(content) else b""


async def _done(waiting: Awaitable[None] | None) -> None:
    if waiting is not None:
        await waiting
