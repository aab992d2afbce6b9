"""What every implementation of an interface must do, as test classes for pytest to be subclassed.

The public names come lazily, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module

# What the names are, for type checkers; `typing` itself would be an import. (tests/test_lazy_roots.py)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailserver.testing.contracts.check import CheckContract as CheckContract
    from mailserver.testing.contracts.checker import CheckerContract as CheckerContract
    from mailserver.testing.contracts.directory import DirectoryContract as DirectoryContract
    from mailserver.testing.contracts.durablespool import DurableSpoolContract as DurableSpoolContract
    from mailserver.testing.contracts.pluginservices import services as services
    from mailserver.testing.contracts.realm import RealmContract as RealmContract
    from mailserver.testing.contracts.resolver import ResolverContract as ResolverContract
    from mailserver.testing.contracts.router import RouterContract as RouterContract
    from mailserver.testing.contracts.spool import SpoolContract as SpoolContract
    from mailserver.testing.contracts.spoolbench import SpoolBench as SpoolBench
    from mailserver.testing.contracts.statestore import StateStoreContract as StateStoreContract
    from mailserver.testing.contracts.transport import TransportContract as TransportContract

_HOME = {
    "CheckContract": "check",
    "CheckerContract": "checker",
    "DirectoryContract": "directory",
    "DurableSpoolContract": "durablespool",
    "RealmContract": "realm",
    "ResolverContract": "resolver",
    "RouterContract": "router",
    "services": "pluginservices",
    "SpoolBench": "spoolbench",
    "SpoolContract": "spool",
    "StateStoreContract": "statestore",
    "TransportContract": "transport",
}
__all__ = sorted(_HOME)  # noqa: PLE0605

# A name that is not among them is an error for type checkers too.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
