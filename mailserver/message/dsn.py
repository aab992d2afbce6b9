"""Delivery status notifications: the octets of an RFC 3464 report.

A report is a function of its arguments alone (no clock, no random boundary), so that a settlement that must
be committed a second time says the same. It never carries more than the header of the message it is about,
and every word of a remote host stands in it on one line of printable ASCII. All of it is ASCII, so that no
next hop lacks what it needs to take it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailserver.message.envelope import Envelope, Original
from mailserver.message.outcome import Outcome
from mailserver.message.trace import date

FAILED, DELAYED = "failed", "delayed"
_ASCII = bytes(range(128)) + b"?" * 128
_SUBJECT = {
    FAILED: "Your message could not be delivered",
    DELAYED: "Your message is delayed and still being tried",
}
_OPENING = {
    FAILED: "The message below could not be delivered to:",
    DELAYED: "The message below has not been delivered yet. You need not send it again: it is still being tried.",
}


@dataclass(frozen=True, slots=True)
class Told:
    """One recipient of a report as the sender named it, and what happened: an alias's target is nobody's
    business. ``until`` (wall) is when trying ends, for a delay."""

    original: Original
    outcome: Outcome
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a report says: ``queue_id`` is that of the message reported, ``own_id`` the report's."""

    action: str
    host_name: str
    queue_id: str
    own_id: str
    envelope: Envelope
    arrived: float
    now: float
    header: bytes


def printable(text: str, limit: int = 500) -> str:
    """One line of printable ASCII; everything else becomes ``?``."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:limit])


def compose(report: Report, told: Sequence[Told]) -> bytes:
    """The report as octets with LF line ends, header included. At least one recipient."""
    boundary = f"report-{report.own_id}"
    return b"".join(
        (
            _head(report, boundary),
            _part(boundary, "text/plain; charset=us-ascii", _explanation(report, told)),
            _part(boundary, "message/delivery-status", _status(report, told)),
            _part(boundary, "text/rfc822-headers", report.header.translate(_ASCII)),
            f"--{boundary}--\n".encode(),
        )
    )


def _head(report: Report, boundary: str) -> bytes:
    lines = (
        f"From: Mail Delivery System <MAILER-DAEMON@{report.host_name}>",
        f"To: <{printable(str(report.envelope.reverse_path))}>",
        f"Subject: {_SUBJECT[report.action]}",
        f"Date: {date(report.now)}",
        f"Message-ID: <{report.own_id}@{report.host_name}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'\tboundary="{boundary}"',
        "",
        "This is a report in MIME format (RFC 3464).",
        "",
    )
    return "\n".join(lines).encode("ascii", "replace")


def _part(boundary: str, kind: str, body: bytes) -> bytes:
    ending = b"" if body.endswith(b"\n") else b"\n"
    return f"--{boundary}\nContent-Type: {kind}\n\n".encode() + body + ending + b"\n"


def _explanation(report: Report, told: Sequence[Told]) -> bytes:
    lines = [f"This is the mail server at {report.host_name}.", "", _OPENING[report.action], ""]
    for one in told:
        lines.append(f"  <{printable(str(one.original.mailbox))}>")
        lines.append(f"    {printable(one.outcome.text)}")
        if one.outcome.remote_reply:
            mta = one.outcome.remote_mta or "the other server"
            lines.append(f"    {printable(mta, 255)} said: {printable(one.outcome.remote_reply)}")
        if one.until is not None:
            lines.append(f"    It will be tried until {date(one.until)}.")
        lines.append("")
    lines.append(f"Our number for the message: {report.queue_id}, received {date(report.arrived)}.")
    return "\n".join(lines).encode("ascii", "replace")


def _status(report: Report, told: Sequence[Told]) -> bytes:
    """RFC 3464 §2.2 and §2.3: a block for the message, then one for each recipient."""
    lines = []
    if report.envelope.envid is not None:
        lines.append(f"Original-Envelope-Id: {printable(report.envelope.envid)}")
    lines += [f"Reporting-MTA: dns; {report.host_name}", f"Arrival-Date: {date(report.arrived)}", ""]
    for one in told:
        lines += [*_recipient(report, one), ""]
    return "\n".join(lines).encode("ascii", "replace")


def _recipient(report: Report, one: Told) -> list[str]:
    lines = []
    if one.original.orcpt:
        lines.append(f"Original-Recipient: {printable(one.original.orcpt)}")
    lines += [
        f"Final-Recipient: rfc822; {printable(str(one.original.mailbox))}",
        f"Action: {report.action}",
        f"Status: {one.outcome.status}",
    ]
    if one.outcome.remote_mta:
        lines.append(f"Remote-MTA: dns; {printable(one.outcome.remote_mta, 255)}")
    if one.outcome.remote_reply:
        lines.append(f"Diagnostic-Code: smtp; {printable(one.outcome.remote_reply)}")
    if one.until is not None:
        lines.append(f"Will-Retry-Until: {date(one.until)}")
    return lines
