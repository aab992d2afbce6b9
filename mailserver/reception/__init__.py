"""Will we take it: sessions, identities, limits. Public names come lazily."""

from __future__ import annotations

from importlib import import_module

# What the names are, for type checkers; `typing` itself would be an import. (tests/test_lazy_roots.py)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailserver.reception.delivery import SpoolDelivery as SpoolDelivery
    from mailserver.reception.esmtpfactory import ESMTPFactory as ESMTPFactory
    from mailserver.reception.esmtpfactory import OverriddenProtocol as OverriddenProtocol
    from mailserver.reception.factory import ReceptionFactory as ReceptionFactory
    from mailserver.reception.listening import Listening as Listening
    from mailserver.reception.policy import Policy as Policy
    from mailserver.reception.session import Session as Session

_HOME = {
    "ESMTPFactory": "esmtpfactory",
    "Listening": "listening",
    "OverriddenProtocol": "esmtpfactory",
    "Policy": "policy",
    "ReceptionFactory": "factory",
    "Session": "session",
    "SpoolDelivery": "delivery",
}
__all__ = sorted(_HOME)  # noqa: PLE0605

# A name that is not among them is an error for type checkers too.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
