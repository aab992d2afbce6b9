"""The language of SMTP, without I/O. Public names come lazily."""

from __future__ import annotations

from importlib import import_module

_HOME = {
    "AddressError": "address", "Domain": "address", "Mailbox": "address", "NULL": "address",
    "Patience": "limits", "Profile": "limits", "Reply": "reply", "ServerCore": "server",
    "ServerLimits": "limits", "Status": "status",
}  # fmt: skip
__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
