"""Logging in through the cred portal, and out of it again.

The portal is asked for ``(IMessageDeliveryFactory, IMessageDelivery)`` with a mind of None, and only what
provides one of them is a login: ``True``, ``None`` or a forgotten coroutine is a refusal. ``logout`` is called
exactly once for each login: when another takes its place, at STARTTLS, and at the end of the session.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.credentials import Anonymous, ICredentials, UsernamePassword
from twisted.cred.error import LoginFailed
from twisted.cred.portal import Portal
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory

from mailserver.message.identity import Identity
from mailserver.reception.delivery import IIdentified
from mailserver.smtp.sasl import PasswordCredentials


class Refused(Exception):
    """The credentials are no login; the text is for the log and never holds them."""


class Login:
    """The avatar of one session."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._logout: Callable[[], object] | None = None
        self.identity: Identity | None = None

    async def with_credentials(self, credentials: object) -> Identity:
        """Log in. Raises Refused; what else is raised is a fault of a checker, and no refusal."""
        if isinstance(credentials, PasswordCredentials):
            if credentials.authzid not in (b"", credentials.username):
                raise Refused("asked to act as another account")
            return await self._login(UsernamePassword(credentials.username, credentials.password))
        return await self._login(credentials)

    async def anonymously(self) -> Identity:
        """What a session without AUTH is. Raises Refused."""
        return await self._login(Anonymous())

    async def _login(self, credentials: Any) -> Identity:
        if not ICredentials.providedBy(credentials):
            raise Refused("credentials of an unknown kind")
        try:
            answer: Any = await self._portal.login(credentials, None, IMessageDeliveryFactory, IMessageDelivery)
        except LoginFailed as error:
            raise Refused(type(error).__name__) from None
        interface, avatar, logout = answer
        if interface not in (IMessageDelivery, IMessageDeliveryFactory) or not interface.providedBy(avatar):
            raise Refused("the realm answered what was not asked for")
        identified = IIdentified(avatar, None)
        if identified is None:
            logout()
            raise Refused("the realm's delivery does not say who it is")
        self.forget()
        self._logout = logout
        identity: Identity = identified.identity
        self.identity = identity
        return identity

    def forget(self) -> None:
        """Log out, if anybody is logged in."""
        logout, self._logout, self.identity = self._logout, None, None
        if logout is not None:
            logout()
