"""Who exists here, and who may log in. Public names come lazily."""

from __future__ import annotations

from importlib import import_module

# What the names are, for type checkers; `typing` itself would be an import. (tests/test_lazy_roots.py)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailserver.accounts.checkers import AccountChecker as AccountChecker
    from mailserver.accounts.database import AccountError as AccountError
    from mailserver.accounts.directory import AccountDirectory as AccountDirectory
    from mailserver.accounts.directory import StaticDirectory as StaticDirectory
    from mailserver.accounts.names import Account as Account
    from mailserver.accounts.names import Alias as Alias
    from mailserver.accounts.names import HostedDomain as HostedDomain
    from mailserver.accounts.passwords import Kept as Kept
    from mailserver.accounts.passwords import PasswordVerifier as PasswordVerifier
    from mailserver.accounts.passwords import hash_password as hash_password
    from mailserver.accounts.passwords import keep_password as keep_password
    from mailserver.accounts.realm import Identity as Identity
    from mailserver.accounts.realm import MailRealm as MailRealm
    from mailserver.accounts.store import AccountStore as AccountStore

_HOME = {
    "Account": "names", "AccountChecker": "checkers", "AccountDirectory": "directory", "AccountError": "database",
    "AccountStore": "store", "Alias": "names", "HostedDomain": "names", "Identity": "realm", "Kept": "passwords",
    "MailRealm": "realm", "PasswordVerifier": "passwords", "StaticDirectory": "directory",
    "hash_password": "passwords", "keep_password": "passwords",
}  # fmt: skip
__all__ = sorted(_HOME)  # noqa: PLE0605

# A name that is not among them is an error for type checkers too.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
