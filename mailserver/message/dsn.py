"""Delivery status notifications: the octets of a report (RFC 3461, 3464, 6522, 6533).

A report is a function of its arguments alone (no clock, no random boundary), so that a settlement that must
be committed a second time says the same. Every word of a stranger stands in it on one line, printable.

Who reads it decides what it is made of. To an ASCII address it is ASCII, so that no next hop lacks what it needs
to take it: other letters of a recipient are ``\\x{10A}``, as RFC 6533 §3 has it, and the text for people is
quoted-printable. To an address that needs SMTPUTF8 its way takes UTF-8, and it is written in that.

The message that it is about is quoted by its header, or as a whole (`Report.whole`): then :func:`opening` and
:func:`closing` go before and after its octets, which may be 8-bit whatever the address.
"""

from __future__ import annotations

import quopri
from collections.abc import Sequence
from dataclasses import dataclass

from mailserver.message import wording
from mailserver.message.envelope import Envelope, Original
from mailserver.message.outcome import Outcome
from mailserver.message.trace import date, safe
from mailserver.smtp.address import Mailbox
from mailserver.smtp.xtext import UTF_8, encode_orcpt, of_mailbox

FAILED, DELAYED = "failed", "delayed"
DELIVERED, RELAYED, EXPANDED = "delivered", "relayed", "expanded"
# Longer than any address that was parsed, and shorter than a line may be (RFC 5322 §2.1.1).
MAX_FIELD = 900
_ASCII = bytes(range(128)) + b"?" * 128


@dataclass(frozen=True, slots=True)
class Told:
    """One recipient of a report as the sender named it, and what happened: an alias's target is nobody's
    business. ``until`` (wall) is when trying ends, for a delay."""

    original: Original
    outcome: Outcome
    action: str = FAILED
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a report says: ``queue_id`` is that of the message reported, ``own_id`` the report's; ``header``
    that of the message. ``whole``: the message follows as a whole, ``7BIT`` or ``8BITMIME``; "": its header does.
    """

    host_name: str
    queue_id: str
    own_id: str
    envelope: Envelope
    arrived: float
    now: float
    header: bytes
    whole: str = ""

    @property
    def smtputf8(self) -> bool:
        """Whether the report needs SMTPUTF8: its reader's own address does."""
        return not self.envelope.reverse_path.ascii

    @property
    def body(self) -> str | None:
        """The ``BODY`` of the report itself, None where it is plain ASCII."""
        return "8BITMIME" if self.smtputf8 or self.whole == "8BITMIME" else None

    @property
    def _boundary(self) -> str:
        return f"report-{self.own_id}"


def printable(text: str, limit: int = 500) -> str:
    """One line of printable ASCII; everything else becomes ``?``."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:limit])


def compose(report: Report, told: Sequence[Told]) -> bytes:
    """The report as octets with LF line ends, with the header of the message. At least one recipient."""
    return opening(report, told) + _quoted_header(report) + closing(report)


def opening(report: Report, told: Sequence[Told]) -> bytes:
    """All that comes before what is quoted, its own MIME header included."""
    kind = "global-delivery-status" if report.smtputf8 else "delivery-status"
    status = _encoded(report, _status(report, told))
    return b"".join(
        (
            _head(report, told),
            _words(report, wording.explanation(report, told)),
            _delimiter(report, f"message/{kind}", "8bit" if report.smtputf8 else ""),
            status,
            b"\n",
            _delimiter(report, *_kind_of_quoted(report)),
        )
    )


def closing(report: Report) -> bytes:
    """What comes behind it. A line break before it is not part of what is quoted (RFC 2046 §5.1.1)."""
    return f"\n--{report._boundary}--\n".encode()


def _head(report: Report, told: Sequence[Told]) -> bytes:
    lines = [
        f"From: Mail Delivery System <MAILER-DAEMON@{report.host_name}>",
        f"To: <{_shown(report, str(report.envelope.reverse_path))}>",
        f"Subject: {wording.subject(told)}",
        f"Date: {date(report.now)}",
        f"Message-ID: <{report.own_id}@{report.host_name}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'\tboundary="{report._boundary}"',
    ]
    if report.body is not None:
        lines.append("Content-Transfer-Encoding: 8bit")
    lines += ["", "This is a report in MIME format (RFC 3464).", ""]
    return _encoded(report, lines) + b"\n"


def _delimiter(report: Report, kind: str, encoding: str = "") -> bytes:
    coded = f"Content-Transfer-Encoding: {encoding}\n" if encoding else ""
    return f"--{report._boundary}\nContent-Type: {kind}\n{coded}\n".encode()


def _encoded(report: Report, lines: Sequence[str]) -> bytes:
    return "\n".join(lines).encode("utf-8" if report.smtputf8 else "ascii", "replace")


def _shown(report: Report, text: str) -> str:
    """A word of a stranger on its line: in ASCII, or in letters where the report has them."""
    return wording.readable(text, MAX_FIELD) if report.smtputf8 else printable(text, MAX_FIELD)


def _words(report: Report, lines: Sequence[str]) -> bytes:
    """The part for people."""
    text = ("\n".join(lines) + "\n").encode("utf-8", "replace")
    if text.isascii():
        return _delimiter(report, "text/plain; charset=us-ascii") + text + b"\n"
    if report.smtputf8:
        return _delimiter(report, "text/plain; charset=utf-8", "8bit") + text + b"\n"
    return _delimiter(report, "text/plain; charset=utf-8", "quoted-printable") + quopri.encodestring(text) + b"\n"


# What is quoted.


def _kind_of_quoted(report: Report) -> tuple[str, str]:
    """Its type and its transfer encoding (RFC 6533 §5, RFC 6532 §3.7)."""
    if report.whole:
        kind = "message/global" if _has_letters(report) else "message/rfc822"
        return kind, "8bit" if report.whole == "8BITMIME" else ""
    if not _has_letters(report):
        return "text/rfc822-headers", ""
    return "message/global-headers", "8bit" if report.smtputf8 else "quoted-printable"


def _has_letters(report: Report) -> bool:
    """Whether the header is one of RFC 6532. In mail without SMTPUTF8, octets above 127 are of nobody knows what
    charset, and no part of a header."""
    return report.envelope.smtputf8 and not report.header.isascii() and _is_utf_8(report.header)


def _is_utf_8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _quoted_header(report: Report) -> bytes:
    if not _has_letters(report):
        return report.header.translate(_ASCII)
    return report.header if report.smtputf8 else quopri.encodestring(report.header)


# The machine-readable part.


def _status(report: Report, told: Sequence[Told]) -> list[str]:
    """RFC 3464 §2.2 and §2.3: a block for the message, then one for each recipient."""
    envelope, lines = report.envelope, []
    if envelope.envid is not None:
        lines.append(f"Original-Envelope-Id: {printable(envelope.envid)}")
    lines.append(f"Reporting-MTA: dns; {report.host_name}")
    if envelope.helo and envelope.identity is None:
        # From a user's own program there is no MTA.
        address = safe(envelope.client_address)
        literal = f" ([{'IPv6:' if ':' in address else ''}{address}])" if address else ""
        lines.append(f"Received-From-MTA: dns; {safe(envelope.helo)}{literal}")
    lines += [f"Arrival-Date: {date(report.arrived)}", ""]
    for one in told:
        lines += [*_recipient(report, one), ""]
    return lines


def _recipient(report: Report, one: Told) -> list[str]:
    outcome, lines = one.outcome, []
    if one.original.orcpt:
        lines.append(f"Original-Recipient: {_typed(report, one.original.orcpt)}")
    lines += [
        f"Final-Recipient: {_final(report, one.original.mailbox)}",
        f"Action: {one.action}",
        f"Status: {outcome.status}",
    ]
    if outcome.remote_mta:
        lines.append(f"Remote-MTA: dns; {printable(outcome.remote_mta, 255)}")
    if outcome.remote_reply:
        lines.append(f"Diagnostic-Code: smtp; {printable(outcome.remote_reply)}")
    if one.action != EXPANDED:
        lines.append(f"Last-Attempt-Date: {date(report.now)}")
    if one.until is not None:
        lines.append(f"Will-Retry-Until: {date(one.until)}")
    return lines


def _final(report: Report, mailbox: Mailbox) -> str:
    return _typed(report, of_mailbox(mailbox)).replace(";", "; ", 1)


def _typed(report: Report, typed: str) -> str:
    """``type;address`` as it may stand in this report."""
    if report.smtputf8 or not typed.startswith(UTF_8):
        return _shown(report, typed)
    return printable(encode_orcpt(typed), MAX_FIELD)
