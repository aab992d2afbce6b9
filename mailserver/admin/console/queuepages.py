"""The queue: its list, one message, and what an administrator can do about it: try it now, or remove it.

A change is a form that is posted (a link changes nothing); removing shows first what would go.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from twisted.web.template import Tag, tags

from mailserver.admin.command import ControlError
from mailserver.admin.console.frame import facts, note, section, sentence, table, text
from mailserver.admin.console.visit import Page, Visit
from mailserver.message.state import State

_STATES = tuple(state.value for state in State if not state.final)


async def listing(visit: Visit) -> Page:
    """A page of recipients that wait, each with the reason."""
    narrow = {name: visit.arguments[name] for name in ("state", "after") if visit.arguments.get(name)}
    reply = await visit.run("queue list", **narrow)
    said = visit.said()
    content = [note(said, "good")] if said else []
    content += [_states(visit.root, narrow.get("state", ""))]
    if reply["recipients"]:
        content.append(_recipients(visit.root, reply["recipients"]))
    else:
        content.append(note(sentence(reply["said"])))
    if reply["after"]:
        query = urlencode({**narrow, "after": reply["after"]})
        content.append(tags.p(tags.a("Further messages", href=f"{visit.root}queue?{query}", rel="next")))
    return Page("Queue", tuple(content), section="Queue")


def _states(root: str, chosen: str) -> Tag:
    """Links that narrow the list to one state."""
    links = []
    for name in ("", *_STATES):
        current = {"aria-current": "true"} if name == chosen else {}
        way = f"{root}queue?{urlencode({'state': name})}" if name else f"{root}queue"
        links.append(tags.li(tags.a(name.capitalize() or "All", href=way, **current)))
    return tags.nav(tags.ul(*links), **{"aria-label": "Recipients by state"})


def _recipients(root: str, rows: list[dict[str, Any]]) -> Tag:
    names = ("Recipient", "Sender", "State", "Next attempt", "Why", "Message")
    return table(
        "Recipients that wait",
        names,
        [
            (
                row["recipient"],
                row["sender"],
                row["state"],
                row["next attempt"] or "–",
                row["why"],
                tags.a(row["queue id"], href=f"{root}queue/{row['queue id']}"),
            )
            for row in rows
        ],
    )


async def _shown(visit: Visit) -> dict[str, Any] | Page:
    """What is known of the message, or the page that says that it is not there."""
    try:
        shown: dict[str, Any] = await visit.run("queue show", queue_id=visit.queue_id)
    except ControlError as gone:
        return Page("No such message", (note(str(gone), "bad"), _back(visit)), section="Queue", code=404)
    return shown


def _back(visit: Visit) -> Tag:
    return tags.p(tags.a("Back to the queue", href=f"{visit.root}queue"))


def _facts(shown: dict[str, Any]) -> Tag:
    return facts(
        {
            "Queue id": shown["queue id"],
            "Sender": shown["sender"],
            "Arrived": shown["arrived"],
            "Size": f"{shown['size']:,} octets",
            "Account": shown["account"],
            "Listener": shown["listener"],
            "Client": shown["client"],
            "Client calls itself": shown["helo"],
            "Envelope id": shown["envelope id"],
        }
    )


async def message(visit: Visit) -> Page:
    """All about one message."""
    shown = await _shown(visit)
    if isinstance(shown, Page):
        return shown
    names = ("Recipient", "State", "Attempts", "Next attempt", "Destination", "Why", "Written to")
    rows = [
        (
            row["recipient"],
            row["state"],
            row["attempts"],
            row["next attempt"] or "–",
            row["destination"] or "–",
            row["why"],
            row["for"],
        )
        for row in shown["recipients"]
    ]
    content = (
        _facts(shown),
        section("Recipients", table("Where each recipient stands", names, rows)),
        *_actions(visit),
        _back(visit),
    )
    return Page(f"Message {text(shown['queue id'])}", content, section="Queue")


def _actions(visit: Visit) -> tuple[Tag, ...]:
    way, actions = f"queue/{visit.queue_id}", []
    if visit.may("queue retry"):
        actions.append(visit.form(f"{way}/retry", "Try it now", "queue retry", "plain"))
    if visit.may("queue remove"):
        actions.append(tags.a("Remove it …", href=f"{visit.root}{way}/remove"))
    return (section("Actions", tags.div(*actions, class_="actions")),) if actions else ()


async def retry(visit: Visit) -> Page:
    """Try the message now, recipients that are held too."""
    return await _change(visit, "queue retry")


async def confirm(visit: Visit) -> Page:
    """What would be removed, and the button that does it."""
    visit.demand("queue remove")
    shown = await _shown(visit)
    if isinstance(shown, Page):
        return shown
    going = [(row["recipient"], row["state"]) for row in shown["recipients"]]
    content = (
        note("The message is removed for good. No report goes to its sender.", "bad"),
        _facts(shown),
        section("Recipients", table("Who does not get it, if they still wait", ("Recipient", "State"), going)),
        tags.div(
            visit.form(f"queue/{visit.queue_id}/remove", "Remove the message", "queue remove", "danger"),
            tags.a("Keep it", href=f"{visit.root}queue/{visit.queue_id}"),
            class_="actions",
        ),
    )
    return Page("Remove this message?", content, section="Queue")


async def remove(visit: Visit) -> Page:
    """Remove the message."""
    return await _change(visit, "queue remove")


async def _change(visit: Visit, command: str) -> Page:
    visit.demand(command)
    if not visit.form_fits(command):
        stale = "This form is too old, or it is not from this console. Nothing was changed."
        return Page("Nothing was changed", (note(stale, "bad"), _back(visit)), section="Queue", code=403)
    reply = await visit.run(command, queue_ids=[visit.queue_id])
    return visit.after("queue", sentence(reply["said"]))
