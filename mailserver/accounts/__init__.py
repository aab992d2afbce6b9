"""Who exists here, and who may log in. Public names come lazily."""

from __future__ import annotations

from importlib import import_module

_HOME = {
    "Account": "names", "AccountChecker": "checkers", "AccountDirectory": "directory", "AccountError": "database",
    "AccountStore": "store", "Alias": "names", "HostedDomain": "names", "Identity": "realm", "MailRealm": "realm",
    "PasswordVerifier": "passwords", "StaticDirectory": "directory", "hash_password": "passwords",
}  # fmt: skip
__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
