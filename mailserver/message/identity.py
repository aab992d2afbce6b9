"""Who a session has logged in as."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """``account`` is its address in canonical form, None for a stranger; ``send_as_any``: no sender is refused."""

    account: str | None = None
    send_as_any: bool = False
