"""Exchanges of AUTH: the octets of each mechanism, and what a peer may do wrong."""

from __future__ import annotations

from base64 import b64decode

import pytest

from mailserver.smtp.clientlogin import LoginFailure, begin
from mailserver.smtp.plan import Login

ALL = ("PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2")


def test_the_first_of_ours_that_is_offered() -> None:
    offered = "login cram-md5 PLAIN"
    for wanted, verb in ((ALL, b"AUTH PLAIN "), (ALL[2:], b"AUTH CRAM-MD5\r\n"), (ALL[1:], b"AUTH LOGIN\r\n")):
        exchange = begin(Login("u", "p", mechanisms=wanted), offered)
        assert exchange is not None
        assert exchange[0].startswith(verb)


@pytest.mark.parametrize("offered", ["", "GSSAPI", "PLAINER"])
def test_none_in_common(offered: str) -> None:
    assert begin(Login("u", "p"), offered) is None


def test_nobody_gets_cram_md5_or_a_token_without_asking() -> None:
    assert begin(Login("u", "p"), "CRAM-MD5 XOAUTH2") is None


def test_xoauth2_and_the_answer_to_its_error() -> None:
    exchange = begin(Login.xoauth2("me@example.org", "tökén"), "PLAIN XOAUTH2")
    assert exchange is not None
    command, responses = exchange
    verb, name, initial = command.split()
    assert (verb, name) == (b"AUTH", b"XOAUTH2")
    assert b64decode(initial).decode() == "user=me@example.org\x01auth=Bearer tökén\x01\x01"
    assert [respond("eyJzdGF0dXMiOiI0MDEifQ==") for respond in responses] == [b""]


def test_cram_md5_as_in_rfc_2195() -> None:
    exchange = begin(Login("tim", "tanstaaftanstaaf", mechanisms=("CRAM-MD5",)), "CRAM-MD5")
    assert exchange is not None
    (respond,) = exchange[1]
    challenge = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"
    assert respond(challenge) == b"tim b913a602c7eda7a495b4e6e7334d3890"
    with pytest.raises(LoginFailure, match="not base64"):
        respond("what?")


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(Login.xoauth2("me", "secret"))
