"""Envelopes, recipients and outcomes as compact JSON lists, for the columns of the spool.

Lists by position: a later release may append to them, never reorder. The text is ASCII, so that no address,
however odd, is refused by the database. What was packed comes back equal; the tests prove it by properties.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import Klass, Outcome, Scope
from mailserver.message.state import State
from mailserver.smtp.address import Domain, Mailbox
from mailserver.smtp.status import Status

dump = json.JSONEncoder(separators=(",", ":")).encode
load = json.loads


def _mailbox(mailbox: Mailbox) -> list[str | None]:
    return [mailbox.local_part, mailbox.domain.name if mailbox.domain is not None else None]


def _to_mailbox(raw: Sequence[Any]) -> Mailbox:
    return Mailbox(raw[0], Domain(raw[1]) if raw[1] is not None else None)


def pack_mailbox(mailbox: Mailbox) -> str:
    """The text of a column that holds one mailbox."""
    return dump(_mailbox(mailbox))


def unpack_mailbox(text: str) -> Mailbox:
    """The reverse of :func:`pack_mailbox`."""
    return _to_mailbox(load(text))


def pack_envelope(envelope: Envelope) -> str:
    """The text of the column ``envelope``."""
    return dump(
        [
            _mailbox(envelope.reverse_path), envelope.envid, envelope.ret, envelope.body, envelope.smtputf8,
            envelope.identity, envelope.listener, envelope.client_address, envelope.helo, envelope.protocol,
        ]
    )  # fmt: skip


def unpack_envelope(text: str) -> Envelope:
    """The reverse of :func:`pack_envelope`."""
    raw = load(text)
    return Envelope(_to_mailbox(raw[0]), *raw[1:])


def _originals(originals: Iterable[Original]) -> list[list[Any]]:
    return [_original(one) for one in originals]


def _original(one: Original) -> list[Any]:
    packed = [_mailbox(one.mailbox), None if one.notify is None else sorted(one.notify), one.orcpt]
    return [*packed, True] if one.expanded else packed


def _to_original(raw: Sequence[Any]) -> Original:
    return Original(_to_mailbox(raw[0]), None if raw[1] is None else frozenset(raw[1]), *raw[2:])


def pack_recipients(recipients: Iterable[Recipient]) -> str:
    """The text of the column ``recipients`` of a message."""
    return dump([[one.number, _mailbox(one.mailbox), _originals(one.originals)] for one in recipients])


def unpack_recipients(text: str) -> tuple[Recipient, ...]:
    """The reverse of :func:`pack_recipients`."""
    return tuple(
        Recipient(number, _to_mailbox(mailbox), tuple(map(_to_original, originals)))
        for number, mailbox, originals in load(text)
    )


def split_recipients(text: str) -> list[tuple[int, str, str]]:
    """A packed list as (number, mailbox column, originals column) for the table of recipients."""
    return [(number, dump(mailbox), dump(originals)) for number, mailbox, originals in load(text)]


def join_recipient(number: int, mailbox: str, originals: str) -> Recipient:
    """A recipient from the columns that :func:`split_recipients` made."""
    return Recipient(number, _to_mailbox(load(mailbox)), tuple(map(_to_original, load(originals))))


def pack_outcome(outcome: Outcome) -> str:
    """The text of the column ``outcome``."""
    return dump(
        [
            outcome.klass.value, outcome.scope.value, list(outcome.status), outcome.text, outcome.state.value,
            outcome.remote_mta, outcome.remote_reply, outcome.uncertain,
        ]
    )  # fmt: skip


def unpack_outcome(text: str) -> Outcome:
    """The reverse of :func:`pack_outcome`."""
    klass, scope, status, words, state, *remote = load(text)
    return Outcome(Klass(klass), Scope(scope), Status(*status), words, State(state), *remote)
