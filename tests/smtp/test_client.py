"""The client core against a scripted host: no I/O, every reply in its place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mailserver.smtp.address import Mailbox
from mailserver.smtp.client import ClientCore
from mailserver.smtp.clientstates import State, WrongState
from mailserver.smtp.plan import (
    Answered,
    ClientTimeouts,
    Ended,
    Event,
    Login,
    Ready,
    SendContent,
    SessionPlan,
    StartTls,
)
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Answer, ForwardPath, Phase, Transaction

CLEAR = SessionPlan("me.example.org", tls="off")
PATHS = tuple(ForwardPath(Mailbox.parse(f"{name}@b.example")) for name in ("anna", "bob", "carl"))
MAIL = Transaction(Mailbox.parse("me@example.org"), PATHS)
ONE = Transaction(MAIL.reverse_path, PATHS[:1])
PIPELINING = b"250-b.example\r\n250 PIPELINING\r\n"
PLAIN_EHLO = b"250 b.example\r\n"


class Host:
    """Both ends of a session: what the core says, and what it is told."""

    def __init__(self, plan: SessionPlan = CLEAR) -> None:
        self.core = ClientCore(plan)

    def says(self, *replies: bytes) -> list[Event]:
        for reply in replies:
            self.core.receive(reply)
        return self.events()

    def events(self) -> list[Event]:
        return list(iter(self.core.next_event, None))

    @property
    def heard(self) -> bytes:
        return self.core.data_to_send()


def ready(ehlo: bytes = PIPELINING, plan: SessionPlan = CLEAR) -> Host:
    host = Host(plan)
    assert host.says(b"220 hi\r\n") == []
    assert host.heard == b"EHLO me.example.org\r\n"
    assert host.says(ehlo) == [Ready()]
    return host


def decided(events: list[Event]) -> list[tuple[Phase, int]]:
    """Phase and code for each recipient of the one transaction that ended."""
    (answered,) = (event for event in events if isinstance(event, Answered))
    return [(answer.phase, answer.reply.code if answer.reply else 0) for answer in answered.answers]


def ended(events: list[Event]) -> Answer:
    last = events[-1]
    assert isinstance(last, Ended)
    assert last.answer is not None
    return last.answer


# The beginning of a session


def test_greeting_refused() -> None:
    host = Host()
    answer = ended(host.says(b"554 5.7.1 go away\r\n"))
    assert (answer.phase, answer.reply and answer.reply.code) == (Phase.GREETING, 554)
    assert host.core.state is State.CLOSED
    assert host.heard == b""


def test_offers_are_read_in_any_case() -> None:
    host = ready(b"250-b.example\r\n250-size 1000\r\n250 8BitMime\r\n")
    assert host.core.offers == {"SIZE": "1000", "8BITMIME": ""}


@pytest.mark.parametrize("code", [500, 501, 502, 504, 550, 554])
def test_helo_where_ehlo_is_unknown(code: int) -> None:
    host = Host()
    host.says(b"220 hi\r\n", b"%d what?\r\n" % code)
    assert host.heard == b"EHLO me.example.org\r\nHELO me.example.org\r\n"
    assert host.says(b"250-x\r\n250 PIPELINING\r\n") == [Ready()]
    assert host.core.offers == {}


@pytest.mark.parametrize("replies", [(b"450 later\r\n",), (b"500 no\r\n", b"550 no\r\n")])
def test_ehlo_refused(replies: tuple[bytes, ...]) -> None:
    host = Host()
    assert ended(host.says(b"220 hi\r\n", *replies)).phase is Phase.HELLO


# TLS

TLS_OFFERED = b"250-b.example\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n"


def test_starttls_forgets_the_offers() -> None:
    host = Host(SessionPlan("me", tls="opportunistic"))
    host.says(b"220 hi\r\n", TLS_OFFERED)
    assert host.heard == b"EHLO me\r\nSTARTTLS\r\n"
    assert host.says(b"220 go\r\n") == [StartTls()]
    assert host.core.waiting_for == (Phase.TLS, 300)
    host.core.tls_established(False)
    assert host.core.offers == {}
    assert host.heard == b"EHLO me\r\n"
    assert host.says(PLAIN_EHLO) == [Ready()]


@pytest.mark.parametrize("behind", [b"250 x\r\n", b"2", b"220-more\r\n"])
def test_text_behind_starttls_is_a_protocol_failure(behind: bytes) -> None:
    """CVE-2011-0411."""
    host = Host(SessionPlan("me"))
    answer = ended(host.says(b"220 hi\r\n", TLS_OFFERED, b"220 go\r\n" + behind))
    assert "behind" in answer.text
    assert host.core.state is State.CLOSED


def test_the_reply_to_starttls_may_not_come_first() -> None:
    host = Host(SessionPlan("me"))
    assert "before the command" in ended(host.says(b"220 hi\r\n", TLS_OFFERED + b"220 go\r\n")).text


@pytest.mark.parametrize("implicit", [False, True])
def test_text_in_clear_where_tls_should_begin(implicit: bool) -> None:
    """CVE-2011-0411: half a reply in clear, to be completed over TLS."""
    host = Host(SessionPlan("me"))
    if implicit:
        host.core.tls_begun()
    else:
        host.says(b"220 hi\r\n", TLS_OFFERED, b"220 go\r\n")
    answer = ended(host.says(b"250-injected\r\n25"))
    assert (answer.phase, "in clear" in answer.text) == (Phase.TLS, True)
    assert host.core.state is State.CLOSED


def test_the_second_ehlo_may_be_refused() -> None:
    host = Host(SessionPlan("me"))
    host.says(b"220 hi\r\n", TLS_OFFERED, b"220 go\r\n")
    host.core.tls_established(True)
    assert host.says(b"502 what?\r\n", b"250 b\r\n") == [Ready()]
    assert host.core.offers == {}


@pytest.mark.parametrize("replies", [(PLAIN_EHLO,), (TLS_OFFERED, b"454 no TLS now\r\n")])
def test_verified_tls_not_to_be_had(replies: tuple[bytes, ...]) -> None:
    host = Host(SessionPlan("me", tls="verified"))
    assert ended(host.says(b"220 hi\r\n", *replies)).phase is Phase.TLS


def test_pinned_demands_tls_too() -> None:
    answer = ended(Host(SessionPlan("me", tls="pinned")).says(b"220 hi\r\n", PLAIN_EHLO))
    assert (answer.phase, answer.status) == (Phase.TLS, Status(4, 7, 4))


def test_tls_that_is_used_where_it_is_offered() -> None:
    assert Host(SessionPlan("me", tls="offered")).says(b"220 hi\r\n", PLAIN_EHLO) == [Ready()]
    refused = Host(SessionPlan("me", tls="offered")).says(b"220 hi\r\n", TLS_OFFERED, b"454 no TLS now\r\n")
    assert ended(refused).phase is Phase.TLS


def test_tls_before_the_greeting() -> None:
    host = Host(SessionPlan("me", tls="verified"))
    host.core.tls_begun()
    assert host.core.waiting_for == (Phase.TLS, 300)
    host.core.tls_established(True)
    assert (host.heard, host.core.waiting_for) == (b"", (Phase.GREETING, 300))
    assert host.says(b"220 hi\r\n", TLS_OFFERED) == [Ready()]
    assert host.heard == b"EHLO me\r\n"


def test_a_handshake_before_the_greeting_that_fails() -> None:
    host = Host(SessionPlan("me", tls="verified"))
    host.core.tls_begun()
    host.core.connection_lost("no shared cipher")
    answer = ended(host.events())
    assert (answer.phase, answer.text) == (Phase.TLS, "the TLS handshake failed: no shared cipher")


@pytest.mark.parametrize("replies", [(PLAIN_EHLO,), (TLS_OFFERED, b"454 no TLS now\r\n")])
def test_opportunistic_goes_on_in_clear(replies: tuple[bytes, ...]) -> None:
    assert Host(SessionPlan("me")).says(b"220 hi\r\n", *replies) == [Ready()]


def test_handshake_failed() -> None:
    host = Host(SessionPlan("me"))
    host.says(b"220 hi\r\n", TLS_OFFERED, b"220 go\r\n")
    host.core.connection_lost("expired")
    answer = ended(host.events())
    assert (answer.phase, answer.status) == (Phase.TLS, Status(4, 7, 5))
    assert "expired" in answer.text


# AUTH


def logging_in(ehlo: bytes, login: Login, verified: bool = True) -> Host:
    host = Host(SessionPlan("me", tls="verified" if verified else "opportunistic", login=login))
    host.says(b"220 hi\r\n", TLS_OFFERED, b"220 go\r\n")
    host.core.tls_established(verified)
    assert host.heard
    host.says(ehlo)
    return host


def test_auth_plain() -> None:
    host = logging_in(b"250-b\r\n250 AUTH LOGIN PLAIN\r\n", Login("user", "secret"))
    assert host.heard == b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n"
    assert host.says(b"235 2.7.0 ok\r\n") == [Ready()]


def test_auth_login() -> None:
    host = logging_in(b"250-b\r\n250 AUTH LOGIN\r\n", Login("user", "secret"))
    assert host.heard == b"AUTH LOGIN\r\n"
    host.says(b"334 VXNlcm5hbWU6\r\n")
    assert host.heard == b"dXNlcg==\r\n"
    host.says(b"334 UGFzc3dvcmQ6\r\n")
    assert host.heard == b"c2VjcmV0\r\n"
    assert host.says(b"235 ok\r\n") == [Ready()]


def test_auth_refused() -> None:
    host = logging_in(b"250-b\r\n250 AUTH PLAIN\r\n", Login("user", "wrong"))
    assert ended(host.says(b"535 5.7.8 no\r\n")).phase is Phase.AUTH


def test_endless_challenges_end() -> None:
    host = logging_in(b"250-b\r\n250 AUTH PLAIN\r\n", Login("user", "secret"))
    assert ended(host.says(b"334 more\r\n")).phase is Phase.AUTH


@pytest.mark.parametrize("ehlo", [b"250-b\r\n250 AUTH CRAM-MD5\r\n", PLAIN_EHLO])
def test_no_mechanism_in_common(ehlo: bytes) -> None:
    host = logging_in(ehlo, Login("user", "secret"))
    assert host.heard == b""
    assert host.core.state is State.CLOSED


def test_a_login_that_is_optional() -> None:
    login = Login("user", "secret", optional=True)
    assert logging_in(PLAIN_EHLO, login).core.state is State.READY
    assert b"AUTH PLAIN" in logging_in(b"250-b\r\n250 AUTH PLAIN\r\n", login).heard


def test_xoauth2_refused() -> None:
    host = logging_in(b"250-b\r\n250 AUTH XOAUTH2\r\n", Login.xoauth2("user", "token"))
    assert host.heard.startswith(b"AUTH XOAUTH2 dXNlcj11c2VyAWF1dGg9")
    assert host.says(b"334 eyJzdGF0dXMiOiI0MDEifQ==\r\n") == []
    assert host.heard == b"\r\n"
    answer = ended(host.says(b"535 5.7.8 token expired\r\n"))
    assert (answer.phase, str(answer.reply)) == (Phase.AUTH, "535 5.7.8 token expired")


def test_a_challenge_that_is_none() -> None:
    login = Login("user", "secret", mechanisms=("CRAM-MD5",))
    host = logging_in(b"250-b\r\n250 AUTH CRAM-MD5\r\n", login)
    answer = ended(host.says(b"334 what?\r\n"))
    assert (answer.phase, answer.status) == (Phase.AUTH, Status(4, 7, 8))


def test_no_password_over_unverified_tls() -> None:
    host = logging_in(b"250-b\r\n250 AUTH PLAIN\r\n", Login("user", "secret"), verified=False)
    assert host.heard == b""
    assert host.core.state is State.CLOSED


def test_a_password_over_unverified_tls_when_told_to() -> None:
    login = Login("user", "secret", unprotected=True)
    assert b"AUTH PLAIN" in logging_in(b"250-b\r\n250 AUTH PLAIN\r\n", login, verified=False).heard


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(SessionPlan("me", login=Login("user", "secret")))


# Transactions


def test_pipelined_envelope_is_one_write_and_the_content_follows() -> None:
    host = ready()
    host.core.start(MAIL)
    assert host.heard == (
        b"MAIL FROM:<me@example.org>\r\nRCPT TO:<anna@b.example>\r\nRCPT TO:<bob@b.example>\r\n"
        b"RCPT TO:<carl@b.example>\r\nDATA\r\n"
    )
    assert host.says(b"250 a\r\n250 b\r\n250 c\r\n250 d\r\n354 go\r\n") == [SendContent()]
    host.core.content(b"Subject: x\n\n.dot\n")
    host.core.content(b".\nend")
    host.core.content_end()
    assert host.heard == b"Subject: x\r\n\r\n..dot\r\n..\r\nend\r\n.\r\n"
    assert decided(host.says(b"250 2.0.0 kept\r\n")) == [(Phase.FINAL, 250)] * 3
    assert host.core.state is State.READY


def test_one_at_a_time_without_pipelining() -> None:
    host = ready(PLAIN_EHLO)
    host.core.start(ONE)
    assert host.heard == b"MAIL FROM:<me@example.org>\r\n"
    host.says(b"250 a\r\n")
    assert host.heard == b"RCPT TO:<anna@b.example>\r\n"
    host.says(b"250 a\r\n")
    assert host.heard == b"DATA\r\n"
    assert host.says(b"354 a\r\n") == [SendContent()]


@pytest.mark.parametrize("ehlo", [PIPELINING, PLAIN_EHLO])
def test_each_recipient_has_the_reply_that_decided(ehlo: bytes) -> None:
    host = ready(ehlo)
    host.core.start(MAIL)
    assert host.says(b"250 m\r\n", b"550 no\r\n", b"250 yes\r\n", b"450 later\r\n", b"354 go\r\n") == [
        SendContent()
    ]
    host.core.content_end()
    assert decided(host.says(b"250 ok\r\n")) == [(Phase.RCPT, 550), (Phase.FINAL, 250), (Phase.RCPT, 450)]


@pytest.mark.parametrize("ehlo", [PIPELINING, PLAIN_EHLO])
def test_mail_refused(ehlo: bytes) -> None:
    host = ready(ehlo)
    host.core.start(ONE)
    pipelined = (b"503 x\r\n", b"503 x\r\n") if ehlo is PIPELINING else ()
    assert decided(host.says(b"451 m\r\n", *pipelined)) == [(Phase.MAIL, 451)]
    assert host.core.state is State.READY


@pytest.mark.parametrize("ehlo", [PIPELINING, PLAIN_EHLO])
def test_every_recipient_refused(ehlo: bytes) -> None:
    host = ready(ehlo)
    host.core.start(ONE)
    pipelined = (b"554 none\r\n",) if ehlo is PIPELINING else ()
    assert decided(host.says(b"250 m\r\n", b"550 no\r\n", *pipelined)) == [(Phase.RCPT, 550)]
    assert (b"DATA" in host.heard) is (ehlo is PIPELINING)


def test_data_taken_although_every_recipient_was_refused() -> None:
    host = ready()
    host.core.start(ONE)
    assert host.heard
    assert host.says(b"250 m\r\n550 no\r\n354 go\r\n") == []
    assert host.heard == b".\r\n"
    assert decided(host.says(b"554 nobody\r\n")) == [(Phase.RCPT, 550)]
    assert host.core.state is State.READY


def test_data_refused() -> None:
    host = ready()
    host.core.start(MAIL)
    assert decided(host.says(b"250 m\r\n250 a\r\n550 b\r\n250 c\r\n452 full\r\n")) == [
        (Phase.DATA, 452),
        (Phase.RCPT, 550),
        (Phase.DATA, 452),
    ]


def test_content_refused() -> None:
    host = ready()
    host.core.start(ONE)
    host.says(b"250 m\r\n250 a\r\n354 go\r\n")
    host.core.content_end()
    assert decided(host.says(b"552 5.3.4 big\r\n")) == [(Phase.FINAL, 552)]
    assert host.core.state is State.READY


def test_rset_only_after_a_transaction_that_did_not_end_well() -> None:
    host = ready()
    for first in (b"MAIL", b"MAIL"):
        host.core.start(ONE)
        assert host.heard.startswith(first)
        host.says(b"250 m\r\n250 a\r\n354 go\r\n")
        host.core.content_end()
        host.says(b"250 ok\r\n")
        assert host.heard
    host.core.start(ONE)
    host.says(b"250 m\r\n550 no\r\n554 none\r\n")
    assert host.heard.startswith(b"MAIL")
    host.core.start(ONE)
    assert host.heard.startswith(b"RSET\r\nMAIL")
    assert host.says(b"250 reset\r\n250 m\r\n250 a\r\n354 go\r\n") == [SendContent()]


def test_rset_refused_ends_the_session() -> None:
    host = ready()
    host.core.start(ONE)
    host.says(b"250 m\r\n550 no\r\n554 none\r\n")
    host.core.start(ONE)
    assert ended(host.says(b"500 what\r\n")).phase is Phase.RESET


def test_refused_unasked_leaves_the_session_ready() -> None:
    host = ready()
    host.core.start(Transaction(MAIL.reverse_path, PATHS, smtputf8=True))
    (answered,) = host.events()
    assert isinstance(answered, Answered)
    assert {answer.status for answer in answered.answers} == {Status(5, 6, 7)}
    assert host.heard == b""
    assert host.core.state is State.READY


# The end of a session

STEPS = [b"250 m\r\n", b"250 a\r\n", b"550 b\r\n", b"250 c\r\n", b"354 go\r\n"]


def in_the_middle(steps: int) -> Host:
    host = ready()
    host.core.start(MAIL)
    host.says(*STEPS[:steps])
    return host


@pytest.mark.parametrize("steps", range(len(STEPS) + 1))
def test_421_at_any_time(steps: int) -> None:
    host = in_the_middle(steps)
    events = host.says(b"421 4.3.2 going down\r\n")
    codes = [code for _, code in decided(events)]
    assert codes == [421, 550 if steps >= 3 else 421, 421]
    assert ended(events).reply
    assert host.core.state is State.CLOSED


@pytest.mark.parametrize("steps", range(len(STEPS) + 1))
def test_connection_lost_before_the_final_dot_is_certain(steps: int) -> None:
    host = in_the_middle(steps)
    host.core.connection_lost("gone")
    answered, last = host.events()
    assert isinstance(answered, Answered)
    assert isinstance(last, Ended)
    assert not any(answer.uncertain for answer in answered.answers)
    assert answered.answers[0].status == Status(4, 4, 2)


def test_connection_lost_after_the_final_dot_is_uncertain() -> None:
    host = in_the_middle(len(STEPS))
    host.core.content_end()
    host.core.connection_lost()
    answered = host.events()[0]
    assert isinstance(answered, Answered)
    assert [answer.uncertain for answer in answered.answers] == [True, False, True]


def test_nonsense_after_the_final_dot_is_uncertain() -> None:
    host = in_the_middle(len(STEPS))
    host.core.content_end()
    answered = host.says(b"huh?\r\n")[0]
    assert isinstance(answered, Answered)
    assert answered.answers[0].uncertain


def test_421_after_the_final_dot_is_certain() -> None:
    host = in_the_middle(len(STEPS))
    host.core.content_end()
    answered = host.says(b"421 no\r\n")[0]
    assert isinstance(answered, Answered)
    assert not answered.answers[0].uncertain


def test_refused_in_the_middle_of_the_content() -> None:
    host = in_the_middle(len(STEPS))
    host.core.content(b"some\n")
    assert decided(host.says(b"552 stop it\r\n"))[0] == (Phase.CONTENT, 552)
    assert host.core.state is State.CLOSED


@pytest.mark.parametrize("reply", [b"250 early\r\n", b"nonsense\r\n"])
def test_no_other_reply_in_the_middle_of_the_content(reply: bytes) -> None:
    host = in_the_middle(len(STEPS))
    assert ended(host.says(reply)).status == Status(4, 5, 0)


@pytest.mark.parametrize("reply", [b"250 2.0.0 unasked\r\n", b"451 unasked\r\n", b"421 idle\r\n"])
def test_an_idle_session_ends_with_any_reply(reply: bytes) -> None:
    host = ready()
    ended(host.says(reply))
    assert host.core.state is State.CLOSED


def test_too_many_replies() -> None:
    host = ready()
    host.core.start(ONE)
    host.says(b"250 m\r\n250 a\r\n354 go\r\n")
    host.core.content_end()
    assert decided(host.says(b"250 ok\r\n250 ok\r\n")) == [(Phase.FINAL, 250)]
    assert host.core.state is State.CLOSED


@pytest.mark.parametrize("reply", [b"354 go\r\n", b"250 ok\r\n"])
def test_replies_of_the_wrong_kind(reply: bytes) -> None:
    host = in_the_middle(4)
    if reply.startswith(b"354"):
        host.says(reply)
        host.core.content_end()
    assert ended(host.says(reply)).status == Status(4, 5, 0)


def test_quit() -> None:
    host = ready()
    host.core.quit()
    assert host.heard == b"QUIT\r\n"
    assert host.says(b"221 bye\r\n") == [Ended(None)]


def test_quit_and_the_host_just_closes() -> None:
    host = ready()
    host.core.quit()
    host.core.connection_lost()
    assert host.events() == [Ended(None)]


def test_a_session_ends_once() -> None:
    host = Host()
    host.says(b"554 no\r\n")
    host.core.connection_lost()
    host.core.receive(b"220 again\r\n")
    assert host.events() == []


@pytest.mark.parametrize("call", ["content_end", "quit"])
def test_a_call_out_of_place_raises(call: str) -> None:
    with pytest.raises(WrongState):
        getattr(Host().core, call)()


# Time

LIMITS = ClientTimeouts(1, 2, 3, 4, 5, 6)


def waits() -> Iterator[tuple[Phase, float] | None]:
    host = Host(SessionPlan("me", "off", None, LIMITS))
    yield host.core.waiting_for
    host.says(b"220 hi\r\n")
    yield host.core.waiting_for
    host.says(PLAIN_EHLO)
    yield host.core.waiting_for
    host.core.start(ONE)
    for reply in (b"250 m\r\n", b"250 a\r\n", b"354 go\r\n"):
        yield host.core.waiting_for
        host.says(reply)
    yield host.core.waiting_for
    host.core.content_end()
    yield host.core.waiting_for
    host.says(b"250 ok\r\n")
    host.core.quit()
    yield host.core.waiting_for


def test_what_is_waited_for_and_how_long() -> None:
    assert list(waits()) == [
        (Phase.GREETING, 1),
        (Phase.HELLO, 2),
        None,
        (Phase.MAIL, 2),
        (Phase.RCPT, 2),
        (Phase.DATA, 3),
        (Phase.CONTENT, 4),
        (Phase.FINAL, 5),
        (Phase.QUIT, 6),
    ]


def test_half_a_reply_is_no_progress() -> None:
    host = Host()
    before = host.core.progress
    host.says(b"220-a\r\n220-")
    assert host.core.progress == before
    host.says(b"b\r\n220 c\r\n")
    assert host.core.progress == before + 1


def test_time_out() -> None:
    host = in_the_middle(1)
    host.core.timed_out()
    answer = ended(host.events())
    assert answer.text == "no answer to RCPT within 300 s"
    assert not answer.uncertain


def test_time_out_after_the_final_dot_is_uncertain() -> None:
    host = in_the_middle(len(STEPS))
    host.core.content_end()
    host.core.timed_out()
    assert ended(host.events()).uncertain
