"""Row 10: challengers are the credentials; checkers written for Twisted work unchanged."""

from __future__ import annotations

import base64
import hmac
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import CramMD5Credentials, IUsernamePassword
from twisted.cred.portal import Portal
from twisted.cred.strcred import makeChecker
from twisted.mail.interfaces import IChallengeResponse
from zope.interface import implementer

from tests.contract.application import PASSWORD, USER, Application, Realm
from tests.contract.differences import differs
from tests.contract.servers import BAD_PLAIN, CHALLENGERS, FROM, HELLO, PLAIN, Ours, Server, Stock, codes, same

B64 = base64.b64encode


def login_with_login(server: Server, password: bytes = PASSWORD) -> list[str]:
    server.talk(HELLO)
    return server.talk(b"AUTH LOGIN", B64(USER), B64(password))


@pytest.mark.parametrize(("password", "code"), [(PASSWORD, 235), (b"wrong", 535)])
def test_plain_and_login(password: bytes, code: int) -> None:
    said = []
    for kind in (Stock, Ours):
        server = kind(Application())
        said.append(login_with_login(server, password))
        assert server.app.arguments("login")[0][0] == "LOGINCredentials"
        assert codes(kind(Application()).talk(HELLO, PLAIN if code == 235 else BAD_PLAIN))[1] == code
        plain = kind(Application())
        command, _, response = (PLAIN if code == 235 else BAD_PLAIN).rpartition(b" ")
        assert codes(plain.talk(HELLO, command, response)) == [250, 334, code]
    assert said[0][:2] == said[1][:2]
    assert codes(said[0]) == codes(said[1]) == [334, 334, code]


def test_cram_md5_is_the_default_and_goes_in_clear() -> None:
    app_calls = []
    for kind in (Stock, Ours):
        server = kind(Application(), challengers={b"CRAM-MD5": CramMD5Credentials}, clear_auth=False)
        server.talk(HELLO)
        [line] = server.talk(b"AUTH CRAM-MD5")
        challenge = base64.b64decode(line.partition(" ")[2])
        digest = hmac.new(PASSWORD, challenge, "md5").hexdigest().encode()
        assert codes(server.talk(B64(USER + b" " + digest), FROM)) == [235, 250]
        app_calls.append(server.app.calls)
    assert app_calls[0] == app_calls[1]
    assert app_calls[1][0][1] == "CramMD5Credentials"


def test_a_checker_gets_octets() -> None:
    seen: list[Any] = []

    @implementer(ICredentialsChecker)
    class Checker:
        credentialInterfaces = (IUsernamePassword,)

        def requestAvatarId(self, credentials: Any) -> bytes:
            seen.append((credentials.username, credentials.password, credentials.checkPassword(PASSWORD)))
            return credentials.username

    for kind in (Stock, Ours):
        server = kind(Application(), portal=Portal(Realm(Application()), [Checker()]))
        server.connect()
        assert codes(server.talk(HELLO, PLAIN))[1] == 235
    assert seen == [(USER, PASSWORD, True)] * 2


@pytest.mark.parametrize("kind", [Stock, Ours])
def test_checkers_found_by_strcred(kind: type[Server], tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text(f"{USER.decode()}:{PASSWORD.decode()}\n")
    # The one called `memory:` keeps its names as text, and no octets of a client are ever equal to them.
    for description, code in ((f"file:{passwords}", 235), (f"memory:{USER.decode()}:{PASSWORD.decode()}", 535)):
        server = kind(Application(), portal=Portal(Realm(Application()), [makeChecker(description)]))
        server.connect()
        assert codes(server.talk(HELLO, BAD_PLAIN, PLAIN)) == [250, 535, code]


@differs(
    10,
    "PLAIN and LOGIN are offered on a clear connection (class: passwords in clear)",
    "under TLS only (538), unless `factory.clear_auth = True`; CRAM-MD5 as before",
    security=True,
)
def test_no_password_on_a_clear_connection() -> None:
    challengers = {**CHALLENGERS, b"CRAM-MD5": CramMD5Credentials}
    stock = Stock(Application(), challengers=challengers)
    assert any("PLAIN" in line for line in stock.send(HELLO + b"\r\n"))
    ours = Ours(Application(), clear_auth=False, challengers=challengers, context=object())
    lines = ours.send(HELLO + b"\r\n")
    assert [line[4:] for line in lines if "AUTH" in line] == ["AUTH CRAM-MD5"]
    assert codes(ours.talk(PLAIN, b"AUTH LOGIN", b"AUTH plain", b"AUTH NTLM")) == [538, 538, 538, 504]
    assert ours.app.calls == []
    ours.talk(b"STARTTLS")
    lines = ours.send(HELLO + b"\r\n")
    assert [line[4:] for line in lines if "AUTH" in line] == ["AUTH PLAIN LOGIN CRAM-MD5"]
    assert codes(ours.talk(PLAIN)) == [235]
    only_passwords = Ours(Application(), clear_auth=False)
    assert not any("AUTH" in line for line in only_passwords.send(HELLO + b"\r\n"))


@differs(10, "`AUTH` without a mechanism ends the connection", "501")
def test_auth_without_a_mechanism() -> None:
    assert codes(Stock(Application()).talk(HELLO, b"AUTH")) == [250]
    assert codes(Ours(Application()).talk(HELLO, b"AUTH", b"NOOP")) == [250, 501, 250]


@differs(10, "a response that the mechanism cannot read ends the connection", "501")
@pytest.mark.parametrize("response", [B64(b"no parts"), B64(b"\0a\0b\0c"), b"****"])
def test_a_response_that_is_none(response: bytes) -> None:
    command = b"AUTH PLAIN " + response
    assert codes(Stock(Application()).talk(HELLO, command)) == [250]
    ours = Ours(Application())
    assert codes(ours.talk(HELLO, command, b"NOOP")) == [250, 501, 250]
    assert "login" not in ours.app.names()


def test_a_cancelled_exchange_and_an_unknown_mechanism() -> None:
    for kind in (Stock, Ours):
        server = kind(Application())
        assert codes(server.talk(HELLO, b"AUTH LOGIN", b"*", b"AUTH NTLM")) == [250, 334, 501, 504]
        assert server.app.calls == []


def test_one_login_for_each_session() -> None:
    assert same(Application, HELLO, PLAIN, PLAIN).names().count("login") == 1
    assert codes(Ours(Application()).talk(HELLO, PLAIN, PLAIN)) == [250, 235, 503]


@implementer(IChallengeResponse)
class Broken:
    def getChallenge(self) -> Any:
        return None

    def setResponse(self, response: bytes) -> None:
        raise AssertionError("not reached")

    def moreChallenges(self) -> bool:
        return False


@pytest.mark.parametrize("challenger", [Broken, lambda: None, lambda: 1 / 0])
def test_a_challenger_that_is_broken(challenger: Any) -> None:
    ours = Ours(Application(), challengers={b"X": challenger})
    assert codes(ours.talk(HELLO, b"AUTH X", b"NOOP")) == [250, 454, 250]
    assert len(ours.culprits) == 1


def test_no_portal_no_auth() -> None:
    ours = Ours(Application(), portal=None)
    ours.connect()
    assert not any("AUTH" in line for line in ours.send(HELLO + b"\r\n"))
    assert codes(ours.talk(PLAIN)) == [502]
