"""XCLIENT: what is read, what is refused, and where the session stands afterwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.smtp import events, replies, states
from mailserver.smtp.command import Refused
from mailserver.smtp.limits import Profile
from mailserver.smtp.reply import Reply
from mailserver.smtp.sasl import PASSWORD_MECHANISMS
from mailserver.smtp.server import ServerCore
from mailserver.smtp.xclient import UNKNOWN, StatedClient, read
from mailserver.smtp.xtext import encode_xtext


@pytest.mark.parametrize(
    ("argument", "client"),
    [
        ("ADDR=192.0.2.7", StatedClient(address="192.0.2.7")),
        ("addr=192.0.2.7", StatedClient(address="192.0.2.7")),
        ("ADDR=IPV6:2001:DB8::7", StatedClient(address="2001:db8::7")),
        ("ADDR=ipv6:2001:db8:0:0::7", StatedClient(address="2001:db8::7")),
        ("ADDR=IPV6:::ffff:192.0.2.7", StatedClient(address="192.0.2.7")),
        ("ADDR=[UNAVAILABLE]", StatedClient(address=UNKNOWN)),
        ("ADDR=[tempunavail]", StatedClient(address=UNKNOWN)),
        ("NAME=mail.example PORT=4000", StatedClient(name="mail.example", port=4000)),
        ("NAME=[UNAVAILABLE]  PORT=[TEMPUNAVAIL]", StatedClient(name="", port=0)),
        ("PROTO=esmtp HELO=[192.0.2.7]", StatedClient(protocol="ESMTP", helo="[192.0.2.7]")),
        ("PORT=+32+35", StatedClient(port=25)),
        ("HELO=c+2Eexample", StatedClient(helo="c.example")),
        ("LOGIN=anna+2Bx+40mail.test", StatedClient(login="anna+x@mail.test")),
        ("LOGIN=[UNAVAILABLE]", StatedClient(login="")),
        (
            "DESTADDR=198.51.100.1 DESTPORT=25",
            StatedClient(destination="198.51.100.1", destination_port=25),
        ),
    ],
)
def test_what_is_read(argument: str, client: StatedClient) -> None:
    assert read(argument) == client


@pytest.mark.parametrize(
    "argument",
    [
        "",
        "ADDR",
        "ADDR=",
        "=192.0.2.7",
        "WHO=me",
        "ADDR=192.0.2.7 ADDR=192.0.2.8",
        "ADDR=192.0.2.7 addr=[UNAVAILABLE]",
        "ADDR=192.0.2.07",
        "ADDR=2001:db8::7",
        "ADDR=IPV6:192.0.2.7",
        "ADDR=IPV6:fe80::1%25eth0",
        "ADDR=IPV6:fe80::1+25eth0",
        "ADDR=mail.example",
        "ADDR=unknown",
        "ADDR=[192.0.2.7]",
        "ADDR=192.0.2.7+0A",
        "ADDR=192.0.2.7+0D+0A",
        "NAME=mail.example+0Areceived:",
        "NAME=mail.example+0D",
        "NAME=mail+00example",
        "NAME=mail+20example",
        "NAME=mail(example)",
        "NAME=" + "m" * 256,
        "NAME=mäil.example",
        "PORT=65536",
        "PORT=-1",
        "PORT=x",
        "PORT=000025",
        "PORT=²",
        "PROTO=LMTP",
        "HELO=a+20b",
        "HELO=a+0Ab",
        "HELO=(x)",
        "LOGIN=anna+0A",
        "LOGIN=anna+E2+80+A8",
        "LOGIN=anna+4",
        "LOGIN=anna+4g",
        "LOGIN=anna+FF",
        "DESTADDR=198.51.100.1.",
        "DESTPORT=99999",
    ],
)
def test_what_is_refused(argument: str) -> None:
    with pytest.raises(Refused) as refused:
        read(argument)
    assert refused.value.reply is replies.BAD_XCLIENT


@given(st.text())
def test_anything_is_a_client_or_refused(text: str) -> None:
    for argument in (text, f"LOGIN={text}", f"NAME={text}", f"ADDR={text}", f"PORT={text}"):
        try:
            client = read(argument)
        except Refused:
            continue
        words = (client.name, client.helo, client.login, client.address)
        assert all(word is None or word.isprintable() for word in words)


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1))
def test_a_login_comes_through_xtext(login: str) -> None:
    if login.upper() not in ("[UNAVAILABLE]", "[TEMPUNAVAIL]"):
        assert read(f"LOGIN={encode_xtext(login)}").login == login


def core(**more: bool) -> ServerCore:
    made = ServerCore(Profile("mx.example.org", xclient=True, **more), PASSWORD_MECHANISMS)
    assert made.next_event() == events.Opened()
    made.answer(replies.greeting("mx.example.org"))
    return made


def test_a_refused_argument_changes_nothing() -> None:
    made = core()
    made.receive(b"EHLO c\r\n")
    made.next_event()
    made.answer(replies.OK)
    made.receive(b"XCLIENT NAME=a+0Ab\r\n")
    assert made.next_event() is None
    assert made.data_to_send().endswith(replies.BAD_XCLIENT.wire)
    assert made.state is states.READY


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (replies.greeting("mx.example.org"), states.GREETED),
        (replies.NO_SERVICE, states.REFUSED),
        (replies.SHUTTING_DOWN, states.CLOSED),
    ],
)
def test_the_answer_is_a_greeting_or_the_end(answer: Reply, state: states.State) -> None:
    made = core()
    made.receive(b"XCLIENT ADDR=192.0.2.7\r\nNOOP\r\n")
    assert made.next_event() == events.ClientStated(StatedClient(address="192.0.2.7"))
    made.answer(answer)
    assert made.state is state


def test_what_was_understood_is_forgotten() -> None:
    made = core()
    made.receive(b"EHLO c\r\n")
    made.next_event()
    made.answer(replies.OK)
    assert made.understood
    made.receive(b"XCLIENT ADDR=192.0.2.7\r\n")
    made.next_event()
    made.answer(replies.greeting("mx.example.org"))
    assert not made.understood
    assert not made.authenticated


def test_octets_before_the_greeting_are_noticed() -> None:
    made = ServerCore(Profile("mx.example.org"))
    assert made.next_event() == events.Opened()
    assert not made.early_talker
    made.receive(b"E")
    assert made.early_talker
    made.answer(replies.greeting("mx.example.org"))
    made.receive(b"HLO c\r\n")
    made.next_event()
    made.answer(replies.OK)
    made.receive(b"RSET\r\n")
    made.next_event()
    assert made.early_talker


def test_octets_after_the_greeting_are_not_early() -> None:
    made = core()
    made.receive(b"EHLO c\r\n")
    assert not made.early_talker


def test_a_proxy_header_out_of_place_ends_the_session() -> None:
    made = core()
    made.receive(b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 25\r\nEHLO c\r\n")
    assert isinstance(made.next_event(), events.Closing)
    assert made.next_event() is None
    assert made.data_to_send().endswith(replies.UNKNOWN_COMMAND.wire)
    assert made.state is states.CLOSED


def test_the_header_of_version_2_out_of_place_ends_the_session_at_once() -> None:
    made = core()
    made.receive(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12))
    closing = made.next_event()
    assert isinstance(closing, events.Closing)
    assert "proxy_from" in closing.reason
    assert made.state is states.CLOSED


def test_a_client_is_stated_once() -> None:
    """A proxy that says XCLIENT and then passes its client on: the client says it, too."""
    made = core()
    made.receive(b"XCLIENT ADDR=192.0.2.7\r\n")
    made.next_event()
    made.answer(replies.greeting("mx.example.org"))
    made.receive(b"XCLIENT PORT=4000\r\n")
    assert isinstance(made.next_event(), events.ClientStated), "in several commands, where one is too short"
    made.answer(replies.greeting("mx.example.org"))
    made.receive(b"EHLO c\r\n")
    made.next_event()
    made.answer(replies.OK)
    made.receive(b"XCLIENT ADDR=10.0.0.1\r\n")
    assert made.next_event() is None
    assert made.data_to_send().endswith(replies.STATED_ALREADY.wire)
