"""Trace fields: exact octets, and strangers' words that can do nothing."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.message.envelope import Envelope
from mailserver.message.trace import Hop, date, received, safe
from mailserver.smtp.address import Mailbox

SENDER = Mailbox.parse("s@a.example")
HOP = Hop("mx.here.example", "0queueid", 1_764_000_000.9)


def envelope(helo: str = "client.example", address: str = "192.0.2.1") -> Envelope:
    return Envelope(SENDER, helo=helo, client_address=address, protocol="ESMTPS")


def test_received() -> None:
    hop = Hop(HOP.host_name, HOP.queue_id, HOP.arrived, Mailbox.parse("anna@here.example"))
    assert received(envelope(), hop) == (
        b"Received: from client.example ([192.0.2.1])\n"
        b"\tby mx.here.example with ESMTPS id 0queueid\n"
        b"\tfor <anna@here.example>;\n"
        b"\tMon, 24 Nov 2025 16:00:00 +0000\n"
    )


def test_received_with_many_recipients_names_none() -> None:
    assert received(envelope(), HOP) == (
        b"Received: from client.example ([192.0.2.1])\n"
        b"\tby mx.here.example with ESMTPS id 0queueid;\n"
        b"\tMon, 24 Nov 2025 16:00:00 +0000\n"
    )


@pytest.mark.parametrize("name", ["postmaster", "ä@here.example"])
def test_a_recipient_that_would_not_fit_is_not_named(name: str) -> None:
    hop = Hop(HOP.host_name, HOP.queue_id, HOP.arrived, Mailbox.parse(name))
    assert received(envelope(), hop) == received(envelope(), HOP)


def test_an_ipv6_client_is_tagged() -> None:
    assert b"([IPv6:2001:db8::1])" in received(envelope(address="2001:db8::1"), HOP)


def test_without_a_helo_name() -> None:
    assert received(envelope(helo=""), HOP).startswith(b"Received: from unknown (")


HOSTILE = [
    "evil\r\nBcc: all@here.example",
    "evil\n\nbody",
    "x) by mx.bank.example (trust me",
    'a;b"c\\d<e>f',
    "nul\0tab\tspace here",
    "bücher.example",
    "\udcff",
    "x" * 5000,
]


@pytest.mark.parametrize("helo", HOSTILE)
def test_a_hostile_helo_begins_no_line_and_ends_no_comment(helo: str) -> None:
    octets = received(envelope(helo=helo), HOP)
    first, *rest = octets.split(b"\n")
    assert rest == received(envelope(), HOP).split(b"\n")[1:]
    assert first.isascii()
    assert b"\r" not in first
    assert b"\0" not in first
    assert len(first) < 300
    # One word, then our own comment.
    assert first.split(b" ")[-1] == b"([192.0.2.1])"
    assert len(first.split(b" ")) == 4
    assert first.count(b"(") == first.count(b")") == 1


@given(st.text())
def test_safe_words(word: str) -> None:
    assert set(safe(word)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]?")
    assert len(safe(word)) == min(len(word), 255)


@pytest.mark.parametrize("word", ["mx.example.org", "[192.0.2.1]", "[IPv6:::1]", "under_score-1"])
def test_harmless_words_stay(word: str) -> None:
    assert safe(word) == word


@given(st.integers(0, 253_402_300_799))
def test_date_is_read_back(wall: int) -> None:
    assert parsedate_to_datetime(date(wall)).timestamp() == wall
    assert date(wall + 0.9) == date(wall)
