"""A message and its replies: BDAT in one flight, LMTP, and every class of reply wherever one is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.smtp.address import Mailbox
from mailserver.smtp.client import ClientCore
from mailserver.smtp.clientstates import State, WrongState
from mailserver.smtp.framing import ChunkDecoder, ContentDecoder
from mailserver.smtp.plan import Answered, Ended, Event, Login, SendContent, SessionPlan
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Answer, ForwardPath, Phase, Transaction
from tests.smtp.test_client import CLEAR, MAIL, ONE, PIPELINING, PLAIN_EHLO, Host, decided, ended, ready

CHUNKING = b"250-b.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
LMTP = replace(CLEAR, lmtp=True)
BODY = b"Subject: x\n\n.dot\n"
FLIGHT = (
    b"MAIL FROM:<me@example.org>\r\nRCPT TO:<anna@b.example>\r\nRCPT TO:<bob@b.example>\r\n"
    b"RCPT TO:<carl@b.example>\r\nBDAT 20 LAST\r\nSubject: x\r\n\r\n.dot\r\n"
)


def flown(mail: Transaction = MAIL, content: bytes = BODY, ehlo: bytes = CHUNKING, lmtp: bool = False) -> Host:
    host = lmtp_host(ehlo) if lmtp else ready(ehlo)
    host.core.start(mail, content)
    return host


def lmtp_host(ehlo: bytes = PIPELINING) -> Host:
    host = Host(LMTP)
    host.says(b"220 hi LMTP\r\n")
    assert host.heard == b"LHLO me.example.org\r\n"
    host.says(ehlo)
    return host


def lmtp_content(*replies: bytes) -> Host:
    """Up to the end of the content; `replies` are those to the three RCPTs."""
    host = lmtp_host()
    host.core.start(MAIL)
    host.says(b"250 m\r\n", *replies, b"354 go\r\n")
    host.core.content_end()
    assert host.heard
    return host


def answers(events: Sequence[Event]) -> tuple[Answer, ...]:
    (answered,) = (event for event in events if isinstance(event, Answered))
    return answered.answers


# BDAT


def test_one_flight() -> None:
    host = flown()
    assert host.core.one_flight
    assert host.heard == FLIGHT
    assert host.core.waiting_for == (Phase.MAIL, 300)
    assert host.says(b"250 m\r\n250 a\r\n550 b\r\n250 c\r\n") == []
    assert host.core.waiting_for == (Phase.FINAL, 600)
    assert decided(host.says(b"250 2.0.0 kept\r\n")) == [(Phase.FINAL, 250), (Phase.RCPT, 550), (Phase.FINAL, 250)]
    host.core.start(ONE)
    assert host.heard.startswith(b"MAIL")


def test_no_flight_behind_a_login() -> None:
    """Where the octets of a refused BDAT are read as commands, they would be run with our login."""
    core = ClientCore(SessionPlan("me.example.org", tls="off", login=Login("a", "b", unprotected=True)))
    core.offers = {"CHUNKING": "", "PIPELINING": ""}
    assert not core.one_flight


@pytest.mark.parametrize("ehlo", [PIPELINING, PLAIN_EHLO, b"250-b\r\n250 CHUNKING\r\n"])
def test_no_flight_without_both_extensions(ehlo: bytes) -> None:
    host = flown(ehlo=ehlo)
    assert not host.core.one_flight
    assert b"BDAT" not in host.heard
    host.says(*[b"250 ok\r\n"] * 4)
    assert host.says(b"354 go\r\n") == [SendContent()]


def test_no_flight_where_it_is_switched_off() -> None:
    host = ready(CHUNKING, replace(CLEAR, chunking=False))
    host.core.start(MAIL, BODY)
    assert host.heard.endswith(b"DATA\r\n")


@pytest.mark.parametrize(
    ("content", "flown_as"),
    [
        (b"", b"BDAT 0 LAST\r\n"),
        (b"\n", b"BDAT 2 LAST\r\n\r\n"),
        (b"no end", b"BDAT 8 LAST\r\nno end\r\n"),
        (b".\n..\n", b"BDAT 7 LAST\r\n.\r\n..\r\n"),
    ],
)
def test_content_by_bdat(content: bytes, flown_as: bytes) -> None:
    assert flown(ONE, content).heard.endswith(b"RCPT TO:<anna@b.example>\r\n" + flown_as)


def test_a_content_with_cr_never_leaves() -> None:
    host = ready(CHUNKING)
    with pytest.raises(ValueError, match="has a CR"):
        host.core.start(MAIL, b"a\rb\n")
    assert (host.heard, host.core.state) == (b"", State.READY)
    host.core.start(MAIL, BODY)  # and nothing is left of it
    assert host.heard == FLIGHT


@given(st.lists(st.sampled_from([b".", b"..", b"\n", b"x", b"\n.", b"\n..\n", b"\xc3\xbc"])).map(b"".join))
def test_a_content_comes_back_by_bdat(content: bytes) -> None:
    command, _, octets = flown(ONE, content).heard.partition(b"BDAT ")[2].partition(b"\r\n")
    assert command == b"%d LAST" % len(octets)
    decoder = ChunkDecoder()
    text = decoder.feed(octets) + decoder.end()
    assert decoder.fault is None
    assert text == content + (b"\n" if content and not content.endswith(b"\n") else b"")


@given(
    st.lists(
        st.lists(st.sampled_from([b".", b"..", b"\n", b"x", b"\n.", b"\n..\n"]), max_size=4).map(b"".join),
        max_size=8,
    )
)
def test_dots_are_stuffed_right_at_every_border_of_two_pieces(pieces: list[bytes]) -> None:
    host = ready()
    host.core.start(ONE)
    host.says(b"250 m\r\n250 r\r\n354 go\r\n")
    assert host.heard
    for piece in pieces:
        host.core.content(piece)
    host.core.content_end()
    decoder = ContentDecoder()
    text = decoder.feed(host.heard)
    assert (decoder.ended, decoder.surplus, decoder.fault) == (True, 0, None)
    whole = b"".join(pieces)
    assert text == whole + (b"\n" if whole and not whole.endswith(b"\n") else b"")


def test_everybody_refused_in_one_flight() -> None:
    host = flown(ONE)
    assert decided(host.says(b"250 m\r\n550 5.1.1 no\r\n554 5.5.1 nobody\r\n")) == [(Phase.RCPT, 550)]
    assert host.heard
    host.core.start(ONE)
    assert host.heard.startswith(b"RSET\r\nMAIL")  # RFC 3030 §2: after a refused BDAT only that is safe


def test_mail_refused_in_one_flight() -> None:
    host = flown()
    assert decided(host.says(b"451 4.7.1 later\r\n", *[b"503 x\r\n"] * 4)) == [(Phase.MAIL, 451)] * 3
    assert host.core.state is State.READY


@pytest.mark.parametrize("code", [452, 521, 550, 552, 554])
def test_a_content_refused_in_one_flight(code: int) -> None:
    host = flown(ONE)
    assert decided(host.says(b"250 m\r\n250 r\r\n%d no\r\n" % code)) == [(Phase.FINAL, code)]
    assert host.heard
    host.core.start(ONE)
    assert host.heard.startswith(b"RSET\r\n")


@pytest.mark.parametrize("code", [500, 501, 502, 503, 504])
def test_bdat_is_offered_and_not_known(code: int) -> None:
    """What follows are replies to the content, taken for commands."""
    host = flown(ONE)
    events = host.says(b"250 m\r\n250 r\r\n%d what?\r\n500 what?\r\n" % code)
    (answer,) = answers(events)
    assert (answer.reply, answer.status, answer.uncertain) == (None, Status(4, 5, 1), False)
    assert f"answered BDAT with {code} what?" in answer.text
    assert host.core.state is State.CLOSED


@pytest.mark.parametrize("replies", range(4))
def test_a_flight_that_is_lost_is_uncertain_for_whom_nothing_was_said(replies: int) -> None:
    host = flown()
    host.says(*(b"250 m\r\n", b"550 a\r\n", b"250 b\r\n")[:replies])
    host.core.connection_lost()
    assert [one.uncertain for one in answers(host.events())] == [replies < 2, True, True]


def test_421_to_a_flight_is_certain() -> None:
    host = flown()
    given = answers(host.says(b"250 m\r\n421 4.3.2 closing\r\n"))
    assert [(one.uncertain, str(one.reply)) for one in given] == [(False, "421 4.3.2 closing")] * 3


def test_content_is_not_asked_for_in_a_flight() -> None:
    host = flown()
    with pytest.raises(WrongState):
        host.core.content(b"x\n")
    assert ended(host.says(b"250 m\r\n250 r\r\n250 r\r\n250 r\r\n354 go\r\n")).uncertain


def test_only_those_who_need_no_smtputf8_are_asked() -> None:
    paths = tuple(ForwardPath(Mailbox.parse(f"{name}@b.example")) for name in ("ä", "anna", "ö", "bob"))
    host = flown(replace(MAIL, recipients=paths))
    assert host.heard.count(b"RCPT") == 2
    events = host.says(b"250 m\r\n250 anna\r\n550 bob\r\n250 kept\r\n")
    assert decided(events) == [(Phase.RCPT, 0), (Phase.FINAL, 250), (Phase.RCPT, 0), (Phase.RCPT, 550)]


# LMTP


def test_lmtp_has_no_helo() -> None:
    host = Host(LMTP)
    host.says(b"220 hi\r\n", b"500 what?\r\n")
    assert host.core.state is State.CLOSED
    assert host.heard == b"LHLO me.example.org\r\n"


def test_each_recipient_of_lmtp_has_an_answer_of_his_own() -> None:
    host = lmtp_content(b"250 a\r\n", b"550 b\r\n", b"250 c\r\n")
    assert host.says(b"250 2.0.0 anna\r\n") == []
    assert host.core.waiting_for == (Phase.FINAL, 600)
    given = answers(host.says(b"452 4.2.2 carl is full\r\n"))
    assert [(one.phase, str(one.reply), one.own) for one in given] == [
        (Phase.FINAL, "250 2.0.0 anna", True),
        (Phase.RCPT, "550 b", False),
        (Phase.FINAL, "452 4.2.2 carl is full", True),
    ]
    host.core.start(ONE)
    assert host.heard.startswith(b"MAIL")


def test_nobody_is_left_in_lmtp() -> None:
    host = lmtp_host()
    host.core.start(ONE)
    assert decided(host.says(b"250 m\r\n550 no\r\n503 5.5.1 no valid recipients\r\n")) == [(Phase.RCPT, 550)]
    assert host.core.state is State.READY


def test_lmtp_in_one_flight() -> None:
    host = flown(ehlo=CHUNKING, lmtp=True)
    assert host.heard == FLIGHT
    events = host.says(b"250 m\r\n250 a\r\n550 b\r\n250 c\r\n250 a\r\n552 5.2.2 c\r\n")
    assert decided(events) == [(Phase.FINAL, 250), (Phase.RCPT, 550), (Phase.FINAL, 552)]
    host.core.start(ONE, BODY)
    assert host.heard.startswith(b"MAIL")
    assert decided(host.says(b"250 m\r\n250 a\r\n451 4.3.0 not now\r\n")) == [(Phase.FINAL, 451)]
    host.core.start(ONE)
    assert host.heard.startswith(b"RSET\r\n")


def test_nobody_is_left_in_a_flight_of_lmtp() -> None:
    host = flown(ONE, ehlo=CHUNKING, lmtp=True)
    assert decided(host.says(b"250 m\r\n550 no\r\n503 5.5.1 none\r\n")) == [(Phase.RCPT, 550)]
    assert host.core.state is State.READY


@pytest.mark.parametrize("told", range(3))
@pytest.mark.parametrize("how", ["lost", "silent", "nonsense", "421"])
def test_who_has_his_answer_keeps_it_when_the_session_breaks(told: int, how: str) -> None:
    host = lmtp_content(b"250 a\r\n", b"250 b\r\n", b"250 c\r\n")
    host.says(*[b"250 2.0.0 kept\r\n"] * told)
    if how == "lost":
        host.core.connection_lost()
    elif how == "silent":
        host.core.timed_out()
    else:
        host.core.receive(b"421 4.3.2 bye\r\n" if how == "421" else b"what?\r\n")
    given = answers(host.events())
    assert [one.reply is not None and one.reply.code == 250 for one in given] == [n < told for n in range(3)]
    assert [one.uncertain for one in given] == [n >= told and how != "421" for n in range(3)]


def test_more_replies_than_recipients_end_the_session() -> None:
    host = lmtp_content(b"250 a\r\n", b"550 b\r\n", b"250 c\r\n")
    events = host.says(b"250 a\r\n250 c\r\n250 who?\r\n")
    assert decided(events) == [(Phase.FINAL, 250), (Phase.RCPT, 550), (Phase.FINAL, 250)]
    assert host.core.state is State.CLOSED


# Every class of reply, wherever one is due

# How far the session is, and what has been said so far.
PLACES: dict[str, tuple[bytes, ...]] = {
    "greeting": (),
    "EHLO": (b"220 hi\r\n",),
    "MAIL": (b"220 hi\r\n", PIPELINING),
    "RCPT": (b"220 hi\r\n", PIPELINING, b"250 m\r\n"),
    "DATA": (b"220 hi\r\n", PIPELINING, b"250 m\r\n", b"250 r\r\n"),
    "content": (b"220 hi\r\n", PIPELINING, b"250 m\r\n", b"250 r\r\n", b"354 go\r\n"),
    "final": (b"220 hi\r\n", PIPELINING, b"250 m\r\n", b"250 r\r\n", b"354 go\r\n"),
}
# Where the session stands after the reply, by its first digit.
TABLE = {
    "greeting": ("HELLO", "CLOSED", "CLOSED", "CLOSED"),
    "EHLO": ("READY", "CLOSED", "CLOSED", "HELLO"),
    "MAIL": ("ENVELOPE", "ENVELOPE", "ENVELOPE", "ENVELOPE"),
    "RCPT": ("ENVELOPE", "ENVELOPE", "ENVELOPE", "ENVELOPE"),
    "DATA": ("CLOSED", "CONTENT", "READY", "READY"),
    "content": ("CLOSED", "CLOSED", "CLOSED", "CLOSED"),
    "final": ("READY", "CLOSED", "READY", "READY"),
}


@pytest.mark.parametrize("digit", [2, 3, 4, 5])
@pytest.mark.parametrize("place", PLACES)
def test_every_class_in_every_place(place: str, digit: int) -> None:
    host = Host()
    for reply in PLACES[place]:
        host.says(reply)
        if host.core.state is State.READY:
            host.core.start(ONE)
    if place == "final":
        host.core.content_end()
    events = host.says(b"%d50 reply\r\n" % digit)
    assert host.core.state.name == TABLE[place][digit - 2]
    endings = [event for event in events if isinstance(event, Ended)]
    assert len(endings) == (host.core.state is State.CLOSED)
    if place in ("content", "final"):
        assert len([event for event in events if isinstance(event, Answered)]) == 1


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "reply", [b"421 4.3.2 closing\r\n", b"huh\r\n", b"199 x\r\n", b"600 x\r\n", b"250-a\r\n251 b\r\n"]
)
def test_what_ends_a_session_anywhere(place: str, reply: bytes) -> None:
    host = Host()
    for said in PLACES[place]:
        host.says(said)
        if host.core.state is State.READY:
            host.core.start(ONE)
    assert isinstance(host.says(reply)[-1], Ended)
    assert host.core.state is State.CLOSED


@pytest.mark.parametrize("code", [500, 501, 502, 504])
def test_a_host_that_does_not_know_bdat_is_left_though_nobody_waits(code: int) -> None:
    """It may be reading the content as commands, and its replies would be taken for those to the next message."""
    host = flown(ONE)
    events = host.says(b"250 m\r\n550 no\r\n%d what?\r\n" % code)
    assert decided(events) == [(Phase.RCPT, 550)]
    assert isinstance(events[-1], Ended)
    assert host.core.state is State.CLOSED


@pytest.mark.parametrize("code", [500, 503])
@pytest.mark.parametrize("place", range(3))
def test_lmtp_the_word_about_one_recipient_is_not_about_the_others(code: int, place: int) -> None:
    host = flown(ehlo=CHUNKING, lmtp=True)
    said = [b"250 kept\r\n"] * 3
    said[place] = b"%d what?\r\n" % code
    events = host.says(b"250 m\r\n", *[b"250 r\r\n"] * 3, *said)
    found = answers(events)
    assert [answer.reply is not None for answer in found] == [number != place for number in range(3)]
    assert (found[place].status, found[place].uncertain) == (Status(4, 5, 1), False)
    assert isinstance(events[-1], Ended), "the session is not used again"
