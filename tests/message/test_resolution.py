"""What a directory answers."""

from __future__ import annotations

from mailserver.message.resolution import Found, Resolution
from mailserver.smtp.address import Mailbox


def test_only_an_alias_has_targets() -> None:
    anna = Mailbox.parse("anna@here.example")
    assert Resolution(Found.ACCOUNT, anna).targets == ()
    assert Resolution(Found.ALIAS, anna, (anna,)).targets == (anna,)
    assert {found.value for found in Found} == {"account", "alias", "unknown", "elsewhere"}
