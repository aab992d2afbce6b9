"""The durable store of queued messages.

The public names come lazily, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module

# What the names are, for type checkers; `typing` itself would be an import. (tests/test_lazy_roots.py)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailserver.spool.contract import Page as Page
    from mailserver.spool.contract import Query as Query
    from mailserver.spool.contract import QueuedMessage as QueuedMessage
    from mailserver.spool.contract import QueuedRecipient as QueuedRecipient
    from mailserver.spool.contract import SpoolOptions as SpoolOptions
    from mailserver.spool.contract import SpoolWorld as SpoolWorld
    from mailserver.spool.lock import SpoolBusy as SpoolBusy
    from mailserver.spool.lock import lock_holder as lock_holder
    from mailserver.spool.memory import MemorySpool as MemorySpool
    from mailserver.spool.schema import SchemaTooNew as SchemaTooNew
    from mailserver.spool.sqlite import SqliteSpool as SqliteSpool
    from mailserver.spool.sqlite import open_spool as open_spool

_HOME = {
    "MemorySpool": "memory", "Page": "contract", "Query": "contract", "QueuedMessage": "contract",
    "QueuedRecipient": "contract",
    "SchemaTooNew": "schema", "SpoolBusy": "lock", "SpoolOptions": "contract", "SpoolWorld": "contract",
    "SqliteSpool": "sqlite", "lock_holder": "lock", "open_spool": "sqlite",
}  # fmt: skip
__all__ = sorted(_HOME)  # noqa: PLE0605

# A name that is not among them is an error for type checkers too.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
