"""Commands about queued messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mailserver.admin.command import Argument, Command, ControlError
from mailserver.admin.tables import moment
from mailserver.admin.world import World
from mailserver.message.claim import Change, Settlement
from mailserver.message.prepared import LENGTH, milliseconds_of
from mailserver.message.state import State
from mailserver.queue.router import HOLD_REASON
from mailserver.spool.contract import Page, Query, QueuedMessage, QueuedRecipient

LIST = 100
# A search by destination looks at so many pages, and then says where to go on.
_PAGES = 100
MOST = 10_000


def why(queued: QueuedRecipient) -> str:
    """In words, why a recipient is still here."""
    last = queued.last
    said = ""
    if last is not None:
        said = f"{last.status} {last.text}"
        if last.remote_reply and last.remote_reply not in last.text:
            said += f" ({last.remote_mta or 'the other host'} said: {last.remote_reply})"
    if _on_hold(queued):
        return f'held: {said}; it goes out when the server is started with outgoing = "on" in [relay]'
    if queued.state is State.HELD:
        return f"held: {said or 'by an administrator'}; `queue retry` lets it go once that is over"
    if queued.state is State.ACTIVE:
        return "being tried now" + (f"; before: {said}" if said else "")
    return said or "waits for its first attempt"


def _on_hold(queued: QueuedRecipient) -> bool:
    return queued.state is State.HELD and queued.last is not None and queued.last.text == HOLD_REASON


def row(message: QueuedMessage, queued: QueuedRecipient) -> dict[str, Any]:
    """One line of the listing."""
    waits = queued.state in (State.QUEUED, State.DEFERRED)
    return {
        "queue id": message.queue_id,
        "sender": f"<{message.envelope.reverse_path}>",
        "recipient": str(queued.recipient.mailbox),
        "state": queued.state.value,
        "destination": queued.destination,
        "attempts": queued.attempts,
        "next attempt": moment(queued.due) if waits else "",
        "why": why(queued),
    }


async def _list(world: World, state: str | None, destination: str | None, after: str | None, limit: int) -> Any:
    if not 1 <= limit <= MOST:
        raise ControlError(f"limit is a number from 1 to {MOST}")
    if destination == "":
        raise ControlError("the destination is empty; name a domain or a host, as in far.example")
    wanted, place = _state(state), (destination or "").lower()
    rows: list[dict[str, Any]] = []
    found, looked, after_now = 0, 0, after or ""
    while True:
        page = await _page(world, Query(None, wanted, "", after_now, limit - found))
        for message in page.messages:
            its = [row(message, queued) for queued in message.recipients if _meant(queued, wanted, place)]
            found += bool(its)
            rows += its
        looked, after_now = looked + 1, page.after
        if not after_now or found >= limit or not place or looked >= _PAGES:
            break
    reply: dict[str, Any] = {"recipients": rows, "after": after_now}
    if after_now:
        reply["said"] = f"more follow: {_again(state, destination, limit, after_now)}"
    elif not rows:
        reply["said"] = _nothing(state, destination, after)
    return reply


def _again(state: str | None, destination: str | None, limit: int, after: str) -> str:
    options = {"state": state, "destination": destination, "limit": limit if limit != LIST else None}
    given = "".join(f" --{name} {value}" for name, value in options.items() if value is not None)
    return f"queue list{given} --after {after}"


def _nothing(state: str | None, destination: str | None, after: str | None) -> str:
    if after:
        return "nothing more is in the queue"
    if not state and not destination:
        return "the queue is empty"
    of_state, to = (f" is {state}" if state else "", f" for {destination}" if destination else "")
    return f"nothing in the queue{of_state}{to}" if of_state else f"nothing in the queue is{to}"


def _meant(queued: QueuedRecipient, state: State | None, place: str) -> bool:
    """Of a message that is listed for one of its recipients, only those that are meant."""
    if queued.state.final or state not in (None, queued.state):
        return False
    domain = queued.recipient.mailbox.domain
    return not place or (domain is not None and domain.name == place) or place in queued.destination.lower()


def _state(name: str | None) -> State | None:
    states = [state.value for state in State if not state.final]
    if name is None:
        return None
    if name not in states:
        raise ControlError(f"there is no state {name!r}; a queued recipient is {', '.join(states)}")
    return State(name)


async def _page(world: World, query: Query) -> Page:
    page: Any = world.reader.find(query)
    found: Page = page if isinstance(page, Page) else await page
    return found


async def _message(world: World, queue_id: str) -> QueuedMessage:
    """The one message. What is no whole queue id finds none, for a command must not guess which is meant."""
    try:
        milliseconds_of(queue_id)
    except ValueError:
        raise ControlError(
            f"{queue_id!r} is no queue id: it has {LENGTH} characters, as `queue list` shows it"
        ) from None
    page = await _page(world, Query(queue_id, limit=1))
    if not page.messages:
        raise ControlError(
            f"no message {queue_id} is in the queue; it may be delivered (`queue list` shows the rest)"
        )
    return page.messages[0]


async def _show(world: World, queue_id: str) -> dict[str, Any]:
    message = await _message(world, queue_id)
    envelope = message.envelope
    return {
        "queue id": message.queue_id,
        "sender": f"<{envelope.reverse_path}>",
        "arrived": moment(message.arrived),
        "size": message.size,
        "account": envelope.identity or "",
        "listener": envelope.listener,
        "client": envelope.client_address,
        "helo": envelope.helo,
        "envelope id": envelope.envid or "",
        "recipients": [
            {
                **{
                    name: value
                    for name, value in row(message, queued).items()
                    if name not in ("queue id", "sender")
                },
                "for": [str(original.mailbox) for original in queued.recipient.originals],
            }
            for queued in message.recipients
        ],
    }


async def _retry(world: World, queue_ids: list[str] | None, all: bool) -> dict[str, Any]:
    now = world.clock.wall()
    kept = 0

    def retried(queued: QueuedRecipient) -> Change | None:
        nonlocal kept
        if _stays(world, queued):
            kept += 1
            return None
        if queued.state in (State.QUEUED, State.DEFERRED, State.HELD):
            return Change(queued.recipient.number, State.QUEUED, queued.last, now)
        return None

    if all:
        count = await _settle_all(world, retried)
    else:
        count = await _settle(world, [await _message(world, each) for each in queue_ids or ()], retried)
    when = "when the server starts" if world.queue is None else "now"
    if world.queue is not None:
        world.queue.kick()
    if not kept:
        return {"recipients": count, "said": f"{_recipients(count)} will be tried {when}"}
    said = f"{_recipients(count)} will be tried {when}; " if count else ""
    stays = f'{_recipients(kept)} still on hold until the server is started with outgoing = "on" in [relay]'
    return {"recipients": count, "on hold": kept, "said": said + stays}


def _stays(world: World, queued: QueuedRecipient) -> bool:
    """Would it only be held again?"""
    domain = queued.recipient.mailbox.domain
    routed = domain is not None and world.settings.route_for(domain) is not None
    return _on_hold(queued) and world.settings.relay.outgoing == "hold" and not routed


async def _remove(world: World, queue_ids: list[str], recipient: str | None) -> dict[str, Any]:
    messages = [await _message(world, each) for each in queue_ids]

    def removed(queued: QueuedRecipient) -> Change | None:
        if recipient is not None and str(queued.recipient.mailbox) != recipient:
            return None
        return None if queued.state.final else Change(queued.recipient.number, State.REMOVED)

    count = await _settle(world, messages, removed)
    if not count:
        who = "all are final" if recipient is None else recipient or "the name is empty"
        raise ControlError(f"no such recipient waits there: {who}; nothing was removed")
    return {"recipients": count, "said": f"removed {_recipients(count)}; no report goes to the sender"}


def _recipients(count: int) -> str:
    return "one recipient" if count == 1 else f"{count} recipients"


_Choose = Callable[[QueuedRecipient], Change | None]


async def _settle_all(world: World, choose: _Choose) -> int:
    count, after = 0, ""
    while True:
        page = await _page(world, Query(after=after, limit=LIST))
        count += await _settle(world, page.messages, choose)
        after = page.after
        if not after:
            return count


async def _settle(world: World, messages: Sequence[QueuedMessage], choose: _Choose) -> int:
    """Commit the changes that `choose` makes of the recipients; how many there are."""
    settlements = []
    for message in messages:
        changes = [change for queued in message.recipients if (change := choose(queued)) is not None]
        if changes:
            settlements.append(Settlement(message.queue_id, tuple(changes), claimed=False))
    if settlements:
        await world.spool.settle(settlements)
    return sum(len(settlement.changes) for settlement in settlements)


_ID = Argument("queue_id", "the queue id, from `queue list`", positional=True, required=True)

COMMANDS = (
    Command(
        "queue list",
        "Show what waits, a line for each recipient: where it stands, when it is tried next, and why.",
        _list,
        (
            Argument("state", "only these: queued, active, deferred or held"),
            Argument("destination", "only what is for this domain, or goes to a host with this in its name"),
            Argument("after", "go on where an earlier listing ended"),
            Argument("limit", f"at most so many messages (by default {LIST})", int, default=LIST),
        ),
        "queue list --state deferred",
        who="viewer",
    ),
    Command(
        "queue show",
        "Show all about one message.",
        _show,
        (_ID,),
        "queue show 0683mw5z8r1p2q3s4t5v6w7",
        who="viewer",
    ),
    Command(
        "queue retry",
        "Try messages now, held ones too.",
        _retry,
        (
            Argument("queue_ids", "their queue ids", positional=True, many=True),
            Argument("all", "every message in the queue", bool, default=False),
        ),
        "queue retry --all",
        one_of=("queue_ids", "all"),
    ),
    Command(
        "queue remove",
        "Remove messages from the queue for good. Their senders are not told.",
        _remove,
        (
            Argument("queue_ids", "their queue ids", positional=True, many=True, required=True),
            Argument("recipient", "only this recipient of them"),
        ),
        "queue remove 0683mw5z8r1p2q3s4t5v6w7",
    ),
)
