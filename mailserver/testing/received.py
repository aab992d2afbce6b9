"""A message as it arrived somewhere: at a scripted host, or in a mailbox of the kit."""

from __future__ import annotations

from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from functools import cached_property


@dataclass(frozen=True)
class ReceivedMessage:
    """``raw`` are the octets with CRLF line ends, trace fields included; ``at`` is the virtual wall time;
    ``where`` names the host or the mailbox; ``sender`` is the reverse-path, "" for the null one; ``tls`` whether
    it came over TLS. Addresses are as the envelope had them."""

    sender: str
    recipients: list[str]
    raw: bytes
    at: float
    where: str
    tls: bool = False

    @cached_property
    def parsed(self) -> EmailMessage:
        """Header and body as :mod:`email` reads them."""
        return message_from_bytes(self.raw, policy=default)

    @property
    def subject(self) -> str:
        """The Subject, decoded; "" where there is none."""
        return str(self.parsed["Subject"] or "")

    @property
    def text(self) -> str:
        """The body in plain text where there is one, else "". Line ends are LF."""
        body = self.parsed.get_body(("plain",))
        return "" if body is None else str(body.get_content()).replace("\r\n", "\n")

    def is_for(self, to: str | None, subject: str | None, sender: str | None) -> bool:
        """Whether it has this recipient, words of the subject, and sender; None is any."""
        return (
            (to is None or to.lower() in map(str.lower, self.recipients))
            and (subject is None or subject in self.subject)
            and (sender is None or sender.lower() == self.sender.lower())
        )
