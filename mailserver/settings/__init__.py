"""The settings: one typed, immutable tree. Public names come lazily."""

from __future__ import annotations

from importlib import import_module

_HOME = {
    "Accounts": "model", "Certificate": "model", "Control": "model", "Dns": "model", "HostPort": "forms",
    "Limits": "model", "Listener": "model", "Log": "model", "Option": "options", "Problem": "problem",
    "Queue": "model", "Reception": "model", "Relay": "model", "Settings": "model", "SettingsError": "problem",
    "Spool": "model", "StaticRoute": "model", "Timeouts": "model", "option": "options",
}  # fmt: skip
__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
