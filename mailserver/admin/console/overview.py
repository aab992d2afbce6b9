"""The overview: is mail taken, is it sent, what waits, and what needs somebody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mailserver.admin.console.frame import facts, note, section, table
from mailserver.admin.console.visit import Page, Visit
from mailserver.admin.tables import duration


async def overview(visit: Visit) -> Page:
    """What the command ``status`` says."""
    status = await visit.run("status")
    needs = list(_needs(status))
    attention = [note(each, "bad") for each in needs] or [note("Nothing needs you now.")]
    return Page(
        "Overview",
        (
            section("What needs attention", *attention),
            section("Mail", facts(_mail(status))),
            section("Listeners", _listeners(status)),
            section("Queue", _queue(status)),
        ),
        section="Overview",
    )


def _needs(status: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong, each with the way out."""
    if status["new mail"] != "accepted":
        yield f"New mail is {status['new mail']}. Other servers keep it and try again."
    if status["outgoing"] != "on":
        yield (
            "Outgoing mail is on hold: mail for other hosts waits in the queue. Set relay.outgoing to “on” in "
            "mailserver.toml and restart the server; then retry what is held."
        )
    elif held := status["queue"].get("held"):
        yield f"{held} {'recipient is' if held == 1 else 'recipients are'} held. The queue says why."
    for listener in status["listeners"]:
        if listener["desired"] and not listener["actual"]:
            yield f"The listener “{listener['name']}” does not listen. The server's log says why."
    for certificate in status["certificates"]:
        if certificate["problem"]:
            yield (
                f"The files of the certificate “{certificate['name']}” cannot be used; the one from before is in "
                f"use until {certificate['expires']}. {certificate['problem']}"
            )


def _mail(status: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Host name": status["host name"],
        "New mail": status["new mail"],
        "Outgoing mail": "sent" if status["outgoing"] == "on" else "on hold",
        "Attempts under way": str(status["attempts under way"]),
        "Running": f"{duration(status['uptime'])}, since {status['started']}",
    }


def _listeners(status: Mapping[str, Any]) -> Any:
    rows = [
        (
            each["name"],
            "listens" if each["actual"] else "does not listen" if each["desired"] else "off",
            each["role"],
            each["tls"],
            each["desired"] or "–",
            each["actual"] or "–",
            each["sessions"],
        )
        for each in status["listeners"]
    ]
    if not rows:
        return note("This server has no listeners: it takes mail from its application alone.")
    names = ("Name", "State", "Role", "TLS", "Desired", "Actual", "Sessions")
    return table("Where the server should listen, and where it does", names, rows)


def _queue(status: Mapping[str, Any]) -> Any:
    rows = [(name, count) for name, count in status["queue"].items() if count]
    if not rows:
        return note("The queue is empty.")
    return table("Messages, and their recipients by state", ("What", "Number"), rows)
