"""Delivering agents: into Maildirs, to other hosts, to a function of the application. Names come lazily."""

from __future__ import annotations

from importlib import import_module

_HOME = {
    "FunctionTransport": "function",
    "MaildirTransport": "maildir",
    "PermanentFailure": "function",
    "SmtpTransport": "smtp",
    "TransientFailure": "function",
}
__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
