"""The language of SMTP, without I/O. Public names come lazily."""

from __future__ import annotations

from importlib import import_module

# What the names are, for type checkers; `typing` itself would be an import. (tests/test_lazy_roots.py)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailserver.smtp.address import NULL as NULL
    from mailserver.smtp.address import AddressError as AddressError
    from mailserver.smtp.address import Domain as Domain
    from mailserver.smtp.address import Mailbox as Mailbox
    from mailserver.smtp.limits import Patience as Patience
    from mailserver.smtp.limits import Profile as Profile
    from mailserver.smtp.limits import ServerLimits as ServerLimits
    from mailserver.smtp.plan import Login as Login
    from mailserver.smtp.reply import Reply as Reply
    from mailserver.smtp.server import ServerCore as ServerCore
    from mailserver.smtp.status import Status as Status

_HOME = {
    "AddressError": "address", "Domain": "address", "Login": "plan", "Mailbox": "address", "NULL": "address",
    "Patience": "limits", "Profile": "limits", "Reply": "reply", "ServerCore": "server",
    "ServerLimits": "limits", "Status": "status",
}  # fmt: skip
__all__ = sorted(_HOME)  # noqa: PLE0605

# A name that is not among them is an error for type checkers too.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
