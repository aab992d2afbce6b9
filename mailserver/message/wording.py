"""What a report says to people: what happened to which recipient, and what they can do about it.

Plain sentences, the other server's own words beside them, and a word of advice by the enhanced status
(RFC 3463), which is all that is known for certain of the reason. Nothing here is read by machines: those have
`mailserver.message.dsn`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from mailserver.message.outcome import Klass
from mailserver.message.trace import date

if TYPE_CHECKING:
    from mailserver.message.dsn import Report, Told

_SUBJECT = {
    "failed": "Your message could not be delivered",
    "delayed": "Your message is delayed and still being tried",
    "delivered": "Your message was delivered",
    "relayed": "Your message was handed on",
    "expanded": "Your message was sent on to several addresses",
}
_OPENING = {
    "failed": "Your message could not be delivered to:",
    "delayed": "Your message has not been delivered yet. You need not send it again: it is still being tried for:",
    "delivered": "Your message was delivered to:",
    "relayed": (
        "Your message was handed on to a server that sends no reports of success, so you may hear nothing more of"
        " it, for:"
    ),
    "expanded": "Your message is on its way to each of the addresses behind:",
}
# By subject and detail of the status, then by the subject alone (RFC 3463 §3).
_ADVICE: Mapping[tuple[int, int] | int, str] = {
    (1, 1): "There is no such address. Check how it is written.",
    (1, 2): "There is no such domain. Check how the part behind the @ is written.",
    (1, 3): "The address is not written as it should be. Check it.",
    (1, 6): "The mailbox has moved. Ask its owner for the new address.",
    (1, 10): "The domain takes no mail. Check how the part behind the @ is written.",
    1: "Check the address.",
    (2, 1): "The mailbox is closed, or takes no mail at present. Reach its owner in another way.",
    (2, 2): "The mailbox is full. Reach its owner in another way, or send the message again later.",
    (2, 3): "The message is larger than this mailbox takes. Send it in parts, or make it smaller.",
    2: "The trouble is with this mailbox. Reach its owner in another way.",
    (3, 4): "The message is larger than the server takes. Send it in parts, or make it smaller.",
    3: "The trouble is at the server, not with your message. Send it again later.",
    (4, 6): "The message went round in circles. Show this report to the administrator of the address.",
    4: "The server could not be reached, or did not answer. Check the part behind the @, or send it again later.",
    (5, 3): "The message has more recipients than the server takes at once. Send it in several parts.",
    5: "The two servers did not understand each other. Show this report to an administrator.",
    (6, 3): "The server takes no 8-bit text. Send the message from a program that encodes it.",
    (6, 7): "The server takes no addresses with letters outside of ASCII. Ask for another address.",
    6: "The server does not take a message of this form. Send it as plain text, or without attachments.",
    (7, 1): "The server refuses it by its rules. Reach the recipient in another way, and show this report.",
    7: "The server refuses it by its rules. Reach the recipient in another way, and show this report.",
}
_NO_ADVICE = "The reason is not known here. Send it again later, or show this report to an administrator."
_HOUR, _DAY = 3600, 86_400


def readable(text: str, limit: int) -> str:
    """One line: what is not printable becomes ``?`` (controls, line separators, bidirectional overrides)."""
    text = text[:limit]
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def subject(told: Sequence[Told]) -> str:
    """The subject of a report."""
    actions = {one.action for one in told}
    return _SUBJECT[actions.pop()] if len(actions) == 1 else "What became of your message"


def explanation(report: Report, told: Sequence[Told]) -> list[str]:
    """The text of a report, by lines."""
    lines = [f"This is the mail server at {report.host_name}."]
    for action, group in groupby(told, lambda one: one.action):
        if lines[-1]:
            lines.append("")
        lines += [_OPENING[action], ""]
        for one in group:
            lines += _recipient(report, one)
    quoted = "The message itself" if report.whole else "The header of the message"
    lines += [
        f"Our number for the message: {report.queue_id}, received {date(report.arrived)}.",
        f"{quoted} stands at the end of this report.",
    ]
    return lines


def _recipient(report: Report, one: Told) -> list[str]:
    outcome = one.outcome
    lines = [f"  <{readable(str(one.original.mailbox), 900)}>"]
    if one.action == "failed" and outcome.klass is Klass.TRANSIENT:
        tried = _span(report.now - report.arrived)
        lines.append(f"    It was tried for {tried}, and is not tried any more. At last:")
    if outcome.remote_reply:
        mta = readable(outcome.remote_mta or "the other server", 255)
        lines.append(f"    {mta} said: {readable(outcome.remote_reply, 500)}")
    elif one.action in ("failed", "delayed"):
        lines.append(f"    {readable(outcome.text, 500)}")
    if one.action == "failed":
        lines.append(f"    {_advice(outcome.status.subject, outcome.status.detail)}")
    if one.until is not None:
        lines.append(f"    It will be tried until {date(one.until)}.")
    return [*lines, ""]


def _advice(topic: int, detail: int) -> str:
    return _ADVICE.get((topic, detail)) or _ADVICE.get(topic) or _NO_ADVICE


def _span(seconds: float) -> str:
    for unit, name in ((_DAY, "days"), (_HOUR, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{int(seconds // unit)} {name}"
    return f"{int(max(seconds, 0))} seconds"
