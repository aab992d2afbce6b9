"""The realm: who has logged in gets a delivery.

The portal of the server asks for ``(IMessageDeliveryFactory, IMessageDelivery)``, in this order, with a mind of
None; this realm answers with an IMessageDelivery, made by the function it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.portal import IRealm
from twisted.mail.interfaces import IMessageDelivery
from zope.interface import implementer

from mailserver.message.identity import Identity

__all__ = ["Identity", "MailRealm"]


def _own_only(account: str) -> bool:
    return False


@implementer(IRealm)
class MailRealm:
    """`delivery_for` makes the IMessageDelivery of an identity; `sends_as_any` says of an account's address
    whether it may use any sender (`AccountStore.sends_as_any`). ``extensions``: what the deliveries honour beside
    what every listener can, ``DSN`` and ``SMTPUTF8`` (`mailserver.reception.extensions`)."""

    extensions: frozenset[str] = frozenset()

    def __init__(
        self, delivery_for: Callable[[Identity], object], sends_as_any: Callable[[str], bool] = _own_only
    ) -> None:
        self._delivery_for = delivery_for
        self._sends_as_any = sends_as_any

    def requestAvatar(
        self, avatarId: Any, mind: object, *interfaces: Any
    ) -> tuple[Any, object, Callable[[], None]]:
        """An IMessageDelivery for an account's address (octets), or for a stranger (ANONYMOUS)."""
        if IMessageDelivery not in interfaces:
            raise NotImplementedError("this realm has nothing but an IMessageDelivery")
        return IMessageDelivery, self._delivery_for(self._identity(avatarId)), _logout

    def _identity(self, avatar_id: Any) -> Identity:
        if avatar_id is ANONYMOUS or avatar_id == ANONYMOUS:
            return Identity()
        account = avatar_id.decode()
        return Identity(account, self._sends_as_any(account))


def _logout() -> None:
    """Nothing is held for a login."""
