"""Which mechanisms of AUTH a portal can take, and what its checkers are given by them.

PLAIN and LOGIN need a checker for ``IUsernamePassword``, SCRAM-SHA-256 one for
:class:`~mailserver.interfaces.IScramCredentials` that keeps keys. A portal with a ``login`` of its own does not
show what it takes: it is offered passwords, which everybody can check. XOAUTH2, CRAM-MD5 and whatever else an
application brings are challengers (:mod:`mailserver.reception.challengers`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from twisted.cred.credentials import ICredentials, UsernamePassword
from twisted.cred.portal import Portal
from zope.interface import implementer

from mailserver.interfaces import IScramCredentials, IScramKeys
from mailserver.smtp import sasl, scram
from mailserver.smtp.scram import ScramKeys

_PASSWORDS = ("PLAIN", "LOGIN")


@implementer(ICredentials, IScramCredentials)
@dataclass(frozen=True, slots=True)
class ScramCredentials:
    """What a checker is asked about; see :class:`~mailserver.interfaces.IScramCredentials`."""

    username: bytes
    keys: ScramKeys = field(repr=False)
    proved: bool


def _scram() -> scram.ScramSha256:
    return scram.ScramSha256(_nonce)


def _nonce() -> str:
    # RFC 5802 §5.1: printable, no commas, never twice. These are 144 bits.
    return secrets.token_urlsafe(18)


MECHANISMS: Mapping[str, Callable[[], sasl.Mechanism]] = MappingProxyType(
    {**sasl.PASSWORD_MECHANISMS, scram.NAME: _scram}
)


def mechanisms_for(portal: Any) -> tuple[str, ...]:
    """The names to offer. The old ones stand first: a client that takes the first that it knows gets one that
    works for every account, those without keys too."""
    if not shows_checkers(portal):
        return _PASSWORDS
    passwords = _PASSWORDS if checker_for(portal, UsernamePassword) is not None else ()
    return (*passwords, scram.NAME) if keeper_of(portal) is not None else passwords


def keeper_of(portal: Any) -> Any:
    """The checker of a portal that keeps keys for SCRAM, or None."""
    if not shows_checkers(portal):
        return None
    checker = checker_for(portal, ScramCredentials)
    return checker if IScramKeys.providedBy(checker) else None


def checker_for(portal: Any, credentials: type) -> Any:
    """Whom Twisted's portal asks about credentials of that class, or None."""
    return next((one for kind, one in portal.checkers.items() if kind.implementedBy(credentials)), None)


def shows_checkers(portal: Any) -> bool:
    """Is it Twisted's own ``login``, by the portal's ``checkers``?"""
    return getattr(getattr(portal, "login", None), "__func__", None) is Portal.login
