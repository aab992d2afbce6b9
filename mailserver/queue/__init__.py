"""When and where: intake, the queue manager, the schedule, the router, bounces, the outbox. Public names come
lazily."""

from __future__ import annotations

from importlib import import_module

# What the names are, for type checkers; `typing` itself would be an import. (tests/test_lazy_roots.py)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailserver.queue.intake import Intake as Intake
    from mailserver.queue.manager import QueueManager as QueueManager
    from mailserver.queue.outbox import NotSettled as NotSettled
    from mailserver.queue.outbox import Outbox as Outbox
    from mailserver.queue.outbox import Sent as Sent
    from mailserver.queue.outbox import TooLarge as TooLarge
    from mailserver.queue.outbox import UnknownMessage as UnknownMessage
    from mailserver.queue.router import Router as Router
    from mailserver.queue.schedule import Schedule as Schedule

_HOME = {
    "Intake": "intake", "NotSettled": "outbox", "Outbox": "outbox", "QueueManager": "manager", "Router": "router",
    "Schedule": "schedule", "Sent": "outbox", "TooLarge": "outbox", "UnknownMessage": "outbox",
}  # fmt: skip
__all__ = sorted(_HOME)  # noqa: PLE0605

# A name that is not among them is an error for type checkers too.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
