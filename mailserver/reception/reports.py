"""A report to the sender on what an application did not take (RFC 3464).

When some recipients of a content are stored and others are refused, neither answer to the client is true for
all of them. With a spool behind the session the message counts as taken, and a report on the others goes into
the spool before the client is told 250. Nobody is owed a report on a message from the null reverse-path, and
where the report cannot be stored, none is claimed: the client gets the worst answer then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.mail.smtp import Address

from mailserver.interfaces import IClock, IIntake
from mailserver.message.content import Content
from mailserver.message.dsn import Report, Told, compose
from mailserver.message.envelope import Envelope, Facts, Original
from mailserver.message.header import has_header
from mailserver.message.outcome import permanent
from mailserver.message.prepared import new_queue_id
from mailserver.reception.delivery import mailbox_of
from mailserver.reception.sinks import Delivered
from mailserver.smtp.address import NULL
from mailserver.smtp.reply import Reply
from mailserver.smtp.status import Status

# Nobody is told that a report could not be delivered, so nobody needs to ask for it (RFC 3461 §5.2.9).
_NEVER = frozenset({"NEVER"})


@dataclass(frozen=True, slots=True)
class Reports:
    """How a report reaches the spool."""

    intake: IIntake
    new_content: Callable[[], Content]
    clock: IClock
    host_name: str
    log: Any

    async def owe(self, sender: Address, header: bytes, failed: Sequence[Delivered]) -> bool:
        """Store a report on `failed` to `sender`; whether it is durable. `header` is the start of the content."""
        try:
            envelope = Envelope(mailbox_of(sender))
            if envelope.reverse_path.is_null:
                return False
            queue_id = await self._store(envelope, header, failed)
        except Exception as error:
            self.log.failure("a report could not be stored", error)
            return False
        self.log.event("report.owed", report=queue_id, sender=envelope.reverse_path)
        return True

    async def _store(self, envelope: Envelope, header: bytes, failed: Sequence[Delivered]) -> str:
        now = self.clock.wall()
        own_id = new_queue_id(now)
        about = Content.of(header)
        quoted = about.header() if has_header(about) else b""
        report = Report(self.host_name, new_queue_id(now), own_id, envelope, now, now, quoted)
        octets = compose(report, [_told(one) for one in failed])
        content = self.new_content()
        try:
            if (waiting := content.write(octets)) is not None:
                await waiting
            if (waiting := content.finish()) is not None:
                await waiting
            facts = Facts(own_id, (Original(envelope.reverse_path, _NEVER),), now)
            own = Envelope(NULL, body=report.body, smtputf8=report.smtputf8, listener="report")
            return await self.intake.accept(own, content, facts)
        except BaseException:
            content.discard()
            raise


def _told(one: Delivered) -> Told:
    refusal = one.refusal
    assert isinstance(refusal, Reply)
    # Nobody will try again: what was transient for the application is final for the sender.
    status = refusal.status or Status(refusal.code // 100, 0, 0)
    return Told(Original(mailbox_of(one.user.dest)), permanent(" ".join(refusal.lines), status))
