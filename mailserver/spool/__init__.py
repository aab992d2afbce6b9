"""The durable store of queued messages.

The public names come lazily, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module

_HOME = {
    "Page": "contract", "Query": "contract", "QueuedMessage": "contract", "QueuedRecipient": "contract",
    "SchemaTooNew": "schema", "SpoolBusy": "lock", "SpoolOptions": "contract", "SpoolWorld": "contract",
    "SqliteSpool": "sqlite", "lock_holder": "lock", "open_spool": "sqlite",
}  # fmt: skip
__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
