"""The contract of a realm (`twisted.cred.portal.IRealm`) whose avatars take mail::

class TestAcme(RealmContract):
    avatar_id = b"anna"

    def make(self):
        return AcmeRealm()
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.error import LoginFailed
from twisted.cred.portal import IRealm
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory

from mailserver.testing.contracts.answers import Waiting

ASKED = (IMessageDeliveryFactory, IMessageDelivery)


class RealmContract(Waiting):
    """Override :meth:`make`, and say what a checker answers for somebody who has an avatar."""

    avatar_id: Any = b"anna@example.org"

    def make(self) -> Any:
        """A new realm."""
        raise NotImplementedError

    def _holds(self, answer: Any) -> None:
        interface, avatar, logout = answer
        assert interface in ASKED, f"the realm was not asked for {interface!r}"
        assert interface.providedBy(avatar)
        assert callable(logout)
        logout()

    def test_it_says_what_it_is(self) -> None:
        assert IRealm.providedBy(self.make())

    def test_an_avatar_takes_mail(self) -> None:
        self._holds(self.wait(self.make().requestAvatar(self.avatar_id, None, *ASKED)))

    def test_two_logins_have_avatars_of_their_own(self) -> None:
        realm = self.make()
        for _ in range(2):
            self._holds(self.wait(realm.requestAvatar(self.avatar_id, None, *ASKED)))

    def test_a_stranger_has_an_avatar_or_is_refused(self) -> None:
        try:
            answer = self.wait(self.make().requestAvatar(ANONYMOUS, None, *ASKED))
        except (LoginFailed, NotImplementedError):
            return
        self._holds(answer)
