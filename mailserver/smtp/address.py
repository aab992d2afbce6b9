"""Mail addresses, parsed once at the edge into values (RFC 5321 §4.1.2, RFC 6531 §3.3)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Domain:
    """``name`` is folded to lower case; A-labels and U-labels of one name compare equal (A-label kept)."""

    name: str

    def __str__(self) -> str:
        return self.name

    @classmethod
    def parse(cls, text: str) -> Domain:
        return cls(text.lower())


@dataclass(frozen=True, slots=True)
class Mailbox:
    """``local_part`` unquoted and case kept; ``domain`` None for the null reverse-path and bare <postmaster>."""

    local_part: str
    domain: Domain | None

    @classmethod
    def parse(cls, text: str) -> Mailbox:
        local, _, domain = text.rpartition("@")
        return cls(local, Domain.parse(domain))

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}" if self.domain else self.local_part


NULL = Mailbox("", None)
