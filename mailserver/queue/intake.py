"""The single door to the spool: completes, expands, stores.

A submitted message gets the Date and Message-ID it lacks (RFC 6409 §8). Recipients are expanded through
aliases, loops bounded in depth and number; equal mailboxes become one recipient that keeps every original.
An alias for several whose sender wants to hear of success is itself a recipient, too, that is never delivered:
its expansion is reported (RFC 3461 §5.2.7.3 b), and not each success behind it.
Nothing is dropped: a name that does not resolve any more is stored as it stands and fails at its first
attempt, with a report. The one positive answer is the spool's commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import replace

from zope.interface import implementer

from mailserver.interfaces import IDirectory, IIntake, ISpool
from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Facts, Original, Recipient
from mailserver.message.header import has_header, missing
from mailserver.message.prepared import Prepared
from mailserver.message.resolution import Found, Resolution
from mailserver.message.trace import date
from mailserver.smtp.address import Mailbox

# Aliases that lead to aliases: so many one behind the other are followed, and none once there are so many names.
DEPTH = 10
EXPANDED = 1_000

_SUCCESS, _NEVER = frozenset({"SUCCESS"}), frozenset({"NEVER"})

_Asked = Resolution | Awaitable[Resolution]


@implementer(IIntake)
class Intake:
    """``host_name`` is written into the Message-ID of messages that come without one; ``keep_fates``: those of
    submitted messages are kept, too, not only of those that ask."""

    def __init__(self, spool: ISpool, directory: IDirectory, host_name: str, keep_fates: bool = False) -> None:
        self._spool = spool
        self._directory = directory
        self._host_name = host_name
        self._keep_fates = keep_fates

    def accept(self, envelope: Envelope, content: Content, facts: Facts) -> Awaitable[str]:
        """Store durably; the answer is the queue id. Raises SpoolFull, SpoolFailed."""
        prepared = self.prepare(envelope, content, facts)
        if isinstance(prepared, Prepared):
            return self._spool.store(prepared)
        return self._accept_later(prepared)

    async def _accept_later(self, prepared: Awaitable[Prepared]) -> str:
        return await self._spool.store(await prepared)

    def prepare(self, envelope: Envelope, content: Content, facts: Facts) -> Prepared | Awaitable[Prepared]:
        """Everything but the storing. An empty line follows what we prepend to a content without a header."""
        if not facts.originals:
            raise ValueError("a message without a recipient would stay in the spool for ever")
        if facts.submitted:
            self._complete(content, facts)
        if content.head and not has_header(content):
            content.head += b"\n"
        resolutions = [self._directory.resolve(original.mailbox) for original in facts.originals]
        recipients = _directly(facts.originals, resolutions)
        if recipients is not None:
            return self._prepared(envelope, content, facts, recipients)
        return self._expanded(envelope, content, facts, resolutions)

    def _complete(self, content: Content, facts: Facts) -> None:
        lacking = missing(content)
        fields = ""
        if b"date" in lacking:
            fields += f"Date: {date(facts.arrived)}\n"
        if b"message-id" in lacking:
            fields += f"Message-ID: <{facts.queue_id}@{self._host_name}>\n"
        content.head += fields.encode("ascii")

    async def _expanded(
        self, envelope: Envelope, content: Content, facts: Facts, resolutions: Sequence[_Asked]
    ) -> Prepared:
        found: dict[Mailbox, list[Original]] = {}
        lists: list[Original] = []
        for original, asked in zip(facts.originals, resolutions, strict=True):
            first = asked if isinstance(asked, Resolution) else await asked
            mailboxes = tuple(await self._expand(original.mailbox, first))
            behind = original
            if len(mailboxes) > 1 and original.notify and "SUCCESS" in original.notify:
                behind = replace(original, notify=original.notify - _SUCCESS or _NEVER)
                lists.append(replace(original, notify=_SUCCESS, expanded=True))
            for mailbox in mailboxes:
                found.setdefault(mailbox, []).append(behind)
        recipients = _numbered(found)
        if lists and not envelope.reverse_path.is_null:
            places = range(len(recipients), len(recipients) + len(lists))
            recipients += tuple(map(_expanded_list, places, lists))
        return self._prepared(envelope, content, facts, recipients)

    def _prepared(
        self, envelope: Envelope, content: Content, facts: Facts, recipients: tuple[Recipient, ...]
    ) -> Prepared:
        fates = facts.fates or (facts.submitted and self._keep_fates)
        return Prepared(facts.queue_id, envelope, recipients, content, facts.arrived, fates, facts.key)

    async def _expand(self, mailbox: Mailbox, resolution: Resolution) -> Iterable[Mailbox]:
        """Where `mailbox` leads. An alias that is too deep, or one too many, stands as it is."""
        if resolution.found is not Found.ALIAS:
            return (resolution.mailbox,)
        final: dict[Mailbox, None] = {}
        seen = {resolution.mailbox}
        level = dict.fromkeys(resolution.targets)
        for depth in range(1, DEPTH + 1):
            following: dict[Mailbox, None] = {}
            for one in level:
                resolution = await self._resolve(one)
                if resolution.found is not Found.ALIAS:
                    final[resolution.mailbox] = None
                elif resolution.mailbox in seen:
                    continue
                elif depth == DEPTH or len(final) + len(following) > EXPANDED:
                    final[one] = None
                else:
                    seen.add(resolution.mailbox)
                    following.update(dict.fromkeys(resolution.targets))
            level = following
        return final or (mailbox,)

    async def _resolve(self, mailbox: Mailbox) -> Resolution:
        resolution = self._directory.resolve(mailbox)
        return resolution if isinstance(resolution, Resolution) else await resolution


def _directly(originals: tuple[Original, ...], resolutions: Sequence[_Asked]) -> tuple[Recipient, ...] | None:
    """The fast path: every original is an account or lives elsewhere, answered at once. Else None."""
    found: dict[Mailbox, list[Original]] = {}
    for original, resolution in zip(originals, resolutions, strict=True):
        if not isinstance(resolution, Resolution) or resolution.found is Found.ALIAS:
            return None
        found.setdefault(resolution.mailbox, []).append(original)
    return _numbered(found)


def _expanded_list(number: int, original: Original) -> Recipient:
    return Recipient(number, original.mailbox, (original,))


def _numbered(found: dict[Mailbox, list[Original]]) -> tuple[Recipient, ...]:
    return tuple(Recipient(n, box, tuple(originals)) for n, (box, originals) in enumerate(found.items()))
