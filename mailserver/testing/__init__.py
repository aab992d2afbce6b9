"""The public test kit: :class:`MailKit`, the fixture of `mailserver.testing.plugin`, and the contract suites.

The public names come lazily, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module

# What the names are, for type checkers; `typing` itself would be an import. (tests/test_lazy_roots.py)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailserver.testing.client import Submitted as Submitted
    from mailserver.testing.host import ScriptedHost as ScriptedHost
    from mailserver.testing.kit import MailKit as MailKit
    from mailserver.testing.names import ScriptedNames as ScriptedNames
    from mailserver.testing.people import KitMailbox as KitMailbox
    from mailserver.testing.port import LoopbackPort as LoopbackPort
    from mailserver.testing.received import ReceivedMessage as ReceivedMessage
    from mailserver.testing.script import Act as Act

_HOME = {
    "Act": "script", "KitMailbox": "people", "LoopbackPort": "port", "MailKit": "kit", "ReceivedMessage":
    "received", "ScriptedHost": "host", "ScriptedNames": "names", "Submitted": "client",
}  # fmt: skip
__all__ = sorted(_HOME)  # noqa: PLE0605

# A name that is not among them is an error for type checkers too.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
