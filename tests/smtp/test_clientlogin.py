"""Exchanges of AUTH: the octets of each mechanism, and what a peer may do wrong."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest

from mailserver.smtp.client import ClientCore
from mailserver.smtp.clientlogin import Exchange, LoginFailure, exchanges
from mailserver.smtp.clientstates import State
from mailserver.smtp.plan import Derive, Ended, Login, Ready, SessionPlan
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Phase
from tests.smtp.test_scramclient import CLIENT_FINAL, NONCE, SERVER_FINAL, SERVER_FIRST

ALL = ("PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2")


def only(login: Login, offered: str, nonce: str = "") -> Exchange:
    (exchange,) = exchanges(login, offered, nonce)
    return exchange


def names(login: Login, offered: str, nonce: str = NONCE) -> list[str]:
    return [exchange.name for exchange in exchanges(login, offered, nonce)]


def test_the_first_of_ours_that_is_offered() -> None:
    offered = "login cram-md5 PLAIN"
    for wanted, verb in ((ALL, b"AUTH PLAIN "), (ALL[2:], b"AUTH CRAM-MD5\r\n"), (ALL[1:], b"AUTH LOGIN\r\n")):
        assert only(Login("u", "p", mechanisms=wanted), offered).command.startswith(verb)


def test_scram_first_and_then_the_first_of_the_others() -> None:
    assert names(Login("u", "p"), "LOGIN PLAIN SCRAM-SHA-256") == ["SCRAM-SHA-256", "PLAIN"]
    assert names(Login("u", "p"), "LOGIN SCRAM-SHA-256") == ["SCRAM-SHA-256", "LOGIN"]
    assert names(Login("u", "p"), "SCRAM-SHA-256 SCRAM-SHA-256-PLUS SCRAM-SHA-1") == ["SCRAM-SHA-256"]
    assert names(Login("u", "p"), "LOGIN PLAIN") == ["PLAIN"]
    assert names(Login("u", "p", mechanisms=("SCRAM-SHA-256",)), "PLAIN SCRAM-SHA-256") == ["SCRAM-SHA-256"]


def test_no_scram_without_a_nonce_or_with_a_password_that_it_cannot_have() -> None:
    assert names(Login("u", "p"), "PLAIN SCRAM-SHA-256", nonce="") == ["PLAIN"]
    assert names(Login("u", "p\tw"), "PLAIN SCRAM-SHA-256") == ["PLAIN"]
    assert names(Login("u", "p\tw"), "SCRAM-SHA-256") == []


def test_scram_only_where_it_is_the_logins_first_choice() -> None:
    assert names(Login("u", "p", mechanisms=("PLAIN", "SCRAM-SHA-256")), "SCRAM-SHA-256 PLAIN") == ["PLAIN"]


@pytest.mark.parametrize("offered", ["", "GSSAPI", "PLAINER"])
def test_none_in_common(offered: str) -> None:
    assert names(Login("u", "p"), offered) == []


def test_nobody_gets_cram_md5_or_a_token_without_asking() -> None:
    assert names(Login("u", "p"), "CRAM-MD5 XOAUTH2") == []


def test_plain_and_login() -> None:
    assert only(Login("me", "pw"), "PLAIN").command == b"AUTH PLAIN " + b64encode(b"\0me\0pw") + b"\r\n"
    login = only(Login("me", "pw"), "LOGIN")
    assert login.command == b"AUTH LOGIN\r\n"
    # Hosts ask in many ways; nobody looks.
    assert login.respond("VXNlciBOYW1lAA==") == b64encode(b"me") + b"\r\n"
    assert login.respond("Password:") == b64encode(b"pw") + b"\r\n"
    assert not login.more
    login.accepted()


def test_xoauth2_and_the_answer_to_its_error() -> None:
    exchange = only(Login.xoauth2("me@example.org", "tökén"), "PLAIN XOAUTH2")
    verb, name, initial = exchange.command.split()
    assert (verb, name) == (b"AUTH", b"XOAUTH2")
    assert b64decode(initial).decode() == "user=me@example.org\x01auth=Bearer tökén\x01\x01"
    assert exchange.respond("eyJzdGF0dXMiOiI0MDEifQ==") == b"\r\n"
    assert not exchange.more


def test_cram_md5_as_in_rfc_2195() -> None:
    challenge = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"
    login = Login("tim", "tanstaaftanstaaf", mechanisms=("CRAM-MD5",))
    expected = b64encode(b"tim b913a602c7eda7a495b4e6e7334d3890") + b"\r\n"
    assert only(login, "CRAM-MD5").respond(challenge) == expected
    with pytest.raises(LoginFailure, match="not base64"):
        only(login, "CRAM-MD5").respond("what?")


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(Login.xoauth2("me", "secret"))


# The core: a host's replies, and what comes of them.

SCRAM = b"250-b.example\r\n250 AUTH PLAIN SCRAM-SHA-256\r\n"


def code(code: int, octets: bytes = b"") -> bytes:
    return b"%d %s\r\n" % (code, b64encode(octets))


class Host:
    """A scripted host before a client core; TLS was verified before the greeting."""

    def __init__(self, login: Login = Login("user", "pencil"), offers: bytes = SCRAM) -> None:  # noqa: B008 - a value
        self.core = ClientCore(SessionPlan("me.example", implicit_tls=True, tls="verified", login=login), NONCE)
        self.core.tls_begun()
        self.core.tls_established(True)
        self.says(b"220 hi\r\n")
        self.sent = self.says(offers)

    def says(self, octets: bytes) -> bytes:
        self.core.receive(octets)
        return self.core.data_to_send()

    def challenges(self, octets: bytes) -> bytes:
        """The client's line, base64 off; the work that it may want is done."""
        line = self.says(code(334, octets))
        if self.core.state is State.AUTH and not line:
            work = self.core.next_event()
            assert isinstance(work, Derive)
            assert self.core.waiting_for is None
            self.core.derived(work.work())
            line = self.core.data_to_send()
        return b64decode(line)

    def refused(self) -> int:
        """The code of the reply that ended it."""
        event = self.core.next_event()
        assert isinstance(event, Ended)
        assert event.answer is not None
        assert event.answer.reply is not None
        return event.answer.reply.code

    def ended(self) -> tuple[Status, str]:
        event = self.core.next_event()
        assert isinstance(event, Ended)
        assert event.answer is not None
        assert event.answer.phase is Phase.AUTH
        assert self.core.next_event() is None
        return event.answer.status, event.answer.text


def test_a_login_by_scram() -> None:
    host = Host()
    assert host.sent == b"AUTH SCRAM-SHA-256 " + b64encode(b"n,,n=user,r=" + NONCE.encode()) + b"\r\n"
    assert host.challenges(SERVER_FIRST) == CLIENT_FINAL
    assert host.says(code(334, SERVER_FINAL)) == b"\r\n"
    host.says(b"235 2.7.0 Ok\r\n")
    assert isinstance(host.core.next_event(), Ready)
    assert host.core.state is State.READY


@pytest.mark.parametrize("final", [SERVER_FINAL.replace(b"6r", b"7r"), b"e=other-error", b"", b"v=AAAA"])
def test_a_wrong_signature_ends_it_whatever_the_host_says_then(final: bytes) -> None:
    host = Host()
    host.challenges(SERVER_FIRST)
    assert host.says(code(334, final) + b"235 2.7.0 Ok\r\n") == b""
    status, text = host.ended()
    assert status == Status(4, 7, 8)
    assert "host" in text
    assert host.core.state is State.CLOSED


@pytest.mark.parametrize("steps", [0, 1])
def test_a_235_without_the_signature_is_no_login(steps: int) -> None:
    host = Host()
    if steps:
        host.challenges(SERVER_FIRST)
    host.says(b"235 2.7.0 Ok\r\n")
    assert host.ended() == (
        Status(4, 7, 8),
        "the host accepted the login without showing that it knows the account",
    )


def test_a_235_while_the_work_is_done_is_no_login() -> None:
    host = Host()
    host.says(code(334, SERVER_FIRST))
    work = host.core.next_event()
    assert isinstance(work, Derive)
    host.says(b"235 2.7.0 Ok\r\n")
    ended = host.core.next_event()
    assert isinstance(ended, Ended)
    host.core.derived(work.work())
    assert host.core.data_to_send() == b""


def test_a_connection_lost_while_the_work_is_done() -> None:
    host = Host()
    host.says(code(334, SERVER_FIRST))
    work = host.core.next_event()
    assert isinstance(work, Derive)
    host.core.connection_lost("gone")
    assert host.ended() == (Status(4, 4, 2), "gone")
    host.core.derived(work.work())
    assert host.core.data_to_send() == b""


@pytest.mark.parametrize("steps", [0, 1])
def test_where_scram_is_refused_the_next_is_tried_once(steps: int) -> None:
    host = Host()
    if steps:
        host.challenges(SERVER_FIRST)
    assert host.says(b"535 5.7.8 No\r\n") == b"AUTH PLAIN " + b64encode(b"\0user\0pencil") + b"\r\n"
    host.says(b"535 5.7.8 No\r\n")
    assert host.refused() == 535


def test_a_temporary_refusal_is_not_a_reason_to_show_the_password() -> None:
    host = Host()
    assert host.says(b"454 4.7.0 Later\r\n") == b""
    assert host.refused() == 454


def test_a_hostile_number_of_iterations_costs_nothing_and_shows_nothing() -> None:
    host = Host()
    assert host.says(code(334, SERVER_FIRST.replace(b"4096", b"99999999"))) == b""
    assert host.ended()[1].startswith("the host wants 99999999 iterations")


def test_a_challenge_that_is_no_base64() -> None:
    host = Host()
    assert host.says(b"334 what?\r\n") == b""
    assert host.ended() == (Status(4, 7, 8), "the challenge of AUTH SCRAM-SHA-256 is not base64")


def test_one_challenge_too_many() -> None:
    host = Host()
    host.challenges(SERVER_FIRST)
    host.says(code(334, SERVER_FINAL))
    # 334 is no end of a login: what is not expected ends the session.
    assert host.says(code(334, b"more?")) == b""
    assert isinstance(host.core.next_event(), Ended)
