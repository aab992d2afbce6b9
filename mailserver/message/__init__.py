"""Values that describe a message and its life. Nothing here does I/O but reading a content back.

The public names come lazily, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module

# What the names are, for type checkers; `typing` itself would be an import. (tests/test_lazy_roots.py)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailserver.message.claim import Change as Change
    from mailserver.message.claim import Claim as Claim
    from mailserver.message.claim import Progress as Progress
    from mailserver.message.claim import Settlement as Settlement
    from mailserver.message.content import Content as Content
    from mailserver.message.context import CheckContext as CheckContext
    from mailserver.message.envelope import Envelope as Envelope
    from mailserver.message.envelope import Facts as Facts
    from mailserver.message.envelope import Original as Original
    from mailserver.message.envelope import Recipient as Recipient
    from mailserver.message.fate import Fate as Fate
    from mailserver.message.fate import Fates as Fates
    from mailserver.message.fate import Settled as Settled
    from mailserver.message.identity import Identity as Identity
    from mailserver.message.outcome import Klass as Klass
    from mailserver.message.outcome import Outcome as Outcome
    from mailserver.message.outcome import Scope as Scope
    from mailserver.message.prepared import Prepared as Prepared
    from mailserver.message.prepared import new_queue_id as new_queue_id
    from mailserver.message.resolution import Found as Found
    from mailserver.message.resolution import Resolution as Resolution
    from mailserver.message.route import Attempt as Attempt
    from mailserver.message.route import Route as Route
    from mailserver.message.route import TlsPolicy as TlsPolicy
    from mailserver.message.state import State as State
    from mailserver.message.verdict import CONTINUE as CONTINUE
    from mailserver.message.verdict import Stage as Stage
    from mailserver.message.verdict import Verdict as Verdict
    from mailserver.message.verdict import reject as reject
    from mailserver.smtp.status import Status as Status

_HOME = {
    "Attempt": "route", "Change": "claim", "Claim": "claim", "CONTINUE": "verdict", "CheckContext": "context",
    "Content": "content",
    "Envelope": "envelope", "Facts": "envelope", "Fate": "fate", "Fates": "fate", "Found": "resolution",
    "Identity": "identity", "Klass": "outcome", "Original": "envelope",
    "Outcome": "outcome", "Prepared": "prepared", "Progress": "claim", "Recipient": "envelope",
    "Resolution": "resolution", "Route": "route", "Scope": "outcome", "Settled": "fate", "Settlement": "claim",
    "Stage": "verdict",
    "State": "state", "Status": "status", "TlsPolicy": "route", "Verdict": "verdict", "new_queue_id": "prepared",
    "reject": "verdict",
}  # fmt: skip
__all__ = sorted(_HOME)  # noqa: PLE0605

# A name that is not among them is an error for type checkers too.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = "mailserver.smtp.status" if name == "Status" else f"{__name__}.{_HOME[name]}"
        return getattr(import_module(home), name)
