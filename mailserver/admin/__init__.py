"""What an administrator uses: the commands, the control socket, the command line. Public names come lazily."""

from __future__ import annotations

from importlib import import_module

# What the names are, for type checkers; `typing` itself would be an import. (tests/test_lazy_roots.py)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailserver.admin.command import Argument as Argument
    from mailserver.admin.command import Command as Command
    from mailserver.admin.command import ControlError as ControlError
    from mailserver.admin.control import Control as Control
    from mailserver.admin.socketserver import ControlSocket as ControlSocket
    from mailserver.admin.world import World as World

_HOME = {
    "Argument": "command", "Command": "command", "Control": "control", "ControlError": "command",
    "ControlSocket": "socketserver", "World": "world",
}  # fmt: skip
__all__ = sorted(_HOME)  # noqa: PLE0605

# A name that is not among them is an error for type checkers too.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
