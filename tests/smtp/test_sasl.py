"""PLAIN and LOGIN."""

from base64 import b64encode

import pytest

from mailserver.smtp import replies
from mailserver.smtp.command import Refused
from mailserver.smtp.sasl import (
    PASSWORD_MECHANISMS,
    Challenge,
    Finished,
    Login,
    Malformed,
    PasswordCredentials,
    Plain,
    begin,
    encode_challenge,
)

OFFERED = ("PLAIN", "LOGIN")
ANNA = PasswordCredentials(b"", b"anna", b"secret")


def start(argument):
    return begin(argument, OFFERED, PASSWORD_MECHANISMS)


def refusal(call, *args):
    with pytest.raises(Refused) as refused:
        call(*args)
    return refused.value.reply


def test_plain():
    assert Plain().start(None) == Challenge(b"")
    assert Plain().start(b"\0anna\0secret") == Finished(ANNA)
    assert Plain().respond(b"boss\0anna\0") == Finished(PasswordCredentials(b"boss", b"anna", b""))


@pytest.mark.parametrize("response", [b"", b"anna", b"\0anna", b"\0\0secret", b"\0a\0b\0c"])
def test_malformed_plain(response):
    assert Plain().respond(response) == Malformed()


def test_login():
    mechanism = Login()
    assert mechanism.start(None) == Challenge(b"Username:")
    assert mechanism.respond(b"anna") == Challenge(b"Password:")
    assert mechanism.respond(b"secret") == Finished(ANNA)


def test_login_with_the_name_at_once():
    mechanism = Login()
    assert mechanism.start(b"anna") == Challenge(b"Password:")
    assert mechanism.respond(b"secret") == Finished(ANNA)
    assert Login().start(b"") == Malformed()


def test_the_password_never_shows():
    assert "secret" not in repr(ANNA)
    assert "secret" not in repr(Finished(ANNA))


def test_begin():
    exchange, step = start("plain " + b64encode(b"\0anna\0secret").decode())
    assert (exchange.name, step) == ("PLAIN", Finished(ANNA))
    assert start("LOGIN")[1] == Challenge(b"Username:")
    assert refusal(start, "PLAIN =") is replies.BAD_BASE64
    assert refusal(start, "") is replies.BAD_ARGUMENT
    assert refusal(start, "CRAM-MD5") is replies.UNKNOWN_MECHANISM
    assert refusal(begin, "LOGIN", ("PLAIN",), PASSWORD_MECHANISMS) is replies.UNKNOWN_MECHANISM


@pytest.mark.parametrize(
    "line", [b"YW5uYQ", b"YW5u YQ==", b"YW5uYQ==x", b"!", b"YW5uYQ===", b"\xff", b"=YW5uYQ=", b"="]
)
def test_base64_is_strict(line):
    exchange, _ = start("LOGIN")
    assert refusal(exchange.respond, line) is replies.BAD_BASE64


def test_a_star_cancels():
    exchange, _ = start("LOGIN")
    assert refusal(exchange.respond, b"*") is replies.AUTH_CANCELLED


def test_challenges_are_base64():
    assert encode_challenge(b"") == b"334 \r\n"
    assert encode_challenge(b"Username:") == b"334 VXNlcm5hbWU6\r\n"
