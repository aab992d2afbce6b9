"""Enhanced status codes (RFC 3463, RFC 5248)."""

from __future__ import annotations

from typing import NamedTuple


class Status(NamedTuple):
    """``klass`` is 2, 4 or 5; ``subject`` and ``detail`` as the registry of RFC 5248 has them."""

    klass: int
    subject: int
    detail: int

    def __str__(self) -> str:
        return f"{self[0]}.{self[1]}.{self[2]}"

    @classmethod
    def parse(cls, text: str) -> Status | None:
        """Read ``5.7.1``; None for anything else (RFC 3463 §2: at most three digits a part)."""
        parts = text.split(".")
        if len(parts) != 3 or parts[0] not in ("2", "4", "5"):
            return None
        if not all(part.isascii() and part.isdigit() and len(part) <= 3 for part in parts):
            return None
        return cls(int(parts[0]), int(parts[1]), int(parts[2]))
