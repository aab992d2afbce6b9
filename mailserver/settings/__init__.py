"""The settings: one typed, immutable tree. Public names come lazily."""

from __future__ import annotations

from importlib import import_module

# What the names are, for type checkers; `typing` itself would be an import. (tests/test_lazy_roots.py)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mailserver.settings.forms import HostPort as HostPort
    from mailserver.settings.listener import Certificate as Certificate
    from mailserver.settings.listener import Listener as Listener
    from mailserver.settings.model import Accounts as Accounts
    from mailserver.settings.model import Control as Control
    from mailserver.settings.model import Dns as Dns
    from mailserver.settings.model import Limits as Limits
    from mailserver.settings.model import Log as Log
    from mailserver.settings.model import Queue as Queue
    from mailserver.settings.model import Reception as Reception
    from mailserver.settings.model import Relay as Relay
    from mailserver.settings.model import Settings as Settings
    from mailserver.settings.model import Spool as Spool
    from mailserver.settings.model import StaticRoute as StaticRoute
    from mailserver.settings.model import Timeouts as Timeouts
    from mailserver.settings.options import Option as Option
    from mailserver.settings.options import option as option
    from mailserver.settings.plugin import BrokenPlugin as BrokenPlugin
    from mailserver.settings.plugin import Plugin as Plugin
    from mailserver.settings.problem import Problem as Problem
    from mailserver.settings.problem import SettingsError as SettingsError

_HOME = {
    "Accounts": "model", "Certificate": "listener", "Control": "model", "Dns": "model", "HostPort": "forms",
    "Limits": "model", "Listener": "listener", "Log": "model", "Option": "options", "Problem": "problem",
    "Queue": "model", "Reception": "model", "Relay": "model", "Settings": "model", "SettingsError": "problem",
    "Spool": "model", "StaticRoute": "model", "Timeouts": "model", "option": "options",
    "BrokenPlugin": "plugin", "Plugin": "plugin",
}  # fmt: skip
__all__ = sorted(_HOME)  # noqa: PLE0605

# A name that is not among them is an error for type checkers too.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
