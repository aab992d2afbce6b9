"""Values that describe a message and its life. Nothing here does I/O but reading a content back.

The public names come lazily, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module

_HOME = {
    "Attempt": "route", "Change": "claim", "Claim": "claim", "CONTINUE": "verdict", "Content": "content",
    "Envelope": "envelope", "Facts": "envelope", "Found": "resolution", "Identity": "identity", "Klass": "outcome",
    "Original": "envelope",
    "Outcome": "outcome", "Prepared": "prepared", "Progress": "claim", "Recipient": "envelope",
    "Resolution": "resolution", "Route": "route", "Scope": "outcome", "Settlement": "claim", "Stage": "verdict",
    "State": "state", "Status": "status", "TlsPolicy": "route", "Verdict": "verdict", "new_queue_id": "prepared",
    "reject": "verdict",
}  # fmt: skip
__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "mailserver.smtp.status" if name == "Status" else f"{__name__}.{_HOME[name]}"
    return getattr(import_module(home), name)
