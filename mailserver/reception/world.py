"""What a session is given: what all sessions of a server share, and who is at its other end. Values only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mailserver.interfaces import IClock, IIntake
from mailserver.message.content import Content
from mailserver.reception.limits import PerMinute
from mailserver.reception.pipeline import Pipeline
from mailserver.reception.policy import Policy


@dataclass(frozen=True, slots=True)
class Rates:
    """What one address may do in a minute."""

    messages: PerMinute
    recipients: PerMinute
    auth_failures: PerMinute


@dataclass(frozen=True, slots=True)
class World:
    """What every session of a server shares. ``blocked`` says why new mail cannot be stored now, or None;
    ``later(seconds)`` is a Deferred that fires then; ``checks`` are asked beside our own policy."""

    intake: IIntake
    new_content: Callable[[], Content]
    blocked: Callable[[], str | None]
    policy: Policy
    rates: Rates
    clock: IClock
    later: Callable[[float], Awaitable[None]]
    log: Any
    host_name: str
    max_hops: int
    auth_failure_delay: float
    checks: Pipeline | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, and through which listener: ``submission`` completes headers and needs a login;
    through one for LMTP (RFC 2033) mail comes for our own mailboxes alone, whoever sends it."""

    address: str
    listener: str
    submission: bool
    session: str
    lmtp: bool = False
