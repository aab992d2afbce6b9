"""The console: pages about the server in a browser, mounted by an application under its own login.

`ConsoleResource` is a ``twisted.web`` resource over `mailserver.admin.control.Control`, `Operator` what the
application's login answers. ``twisted.web`` is imported here and nowhere else in the server, and the daemon
imports nothing of this package. Public names come lazily.
"""

from __future__ import annotations

from importlib import import_module

# What the names are, for type checkers; `typing` itself would be an import. (tests/test_lazy_roots.py)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailserver.admin.console.resource import ConsoleResource as ConsoleResource
    from mailserver.admin.console.visit import Operator as Operator

_HOME = {"ConsoleResource": "resource", "Operator": "visit"}
__all__ = sorted(_HOME)  # noqa: PLE0605

# A name that is not among them is an error for type checkers too.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
