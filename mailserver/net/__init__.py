"""Sockets: the one package that opens them. Public names come lazily."""

from __future__ import annotations

from importlib import import_module

_HOME = {"ServerProtocol": "server"}
__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
