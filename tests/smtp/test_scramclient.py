"""The client's side of SCRAM-SHA-256: the vectors of the RFC, a foreign server, and hosts that lie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramMechanism

from mailserver.smtp.plan import Derive
from mailserver.smtp.saslprep import Unprepared
from mailserver.smtp.scramclient import ScramClient, ScramFailure

# RFC 7677 §3.
NONCE = "rOprNGfwEbeRWgbNEkqO"
BOTH = NONCE + "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SERVER_FIRST = f"r={BOTH},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode()
CLIENT_FINAL = f"c=biws,r={BOTH},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode()
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def client() -> ScramClient:
    return ScramClient("user", "pencil", NONCE)


def proved() -> ScramClient:
    scram = client()
    assert scram.final(scram.challenge(SERVER_FIRST).work()) == CLIENT_FINAL
    return scram


def test_the_exchange_of_rfc_7677() -> None:
    assert client().first == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    proved().verify(SERVER_FINAL)


def test_name_and_password_are_prepared_and_escaped() -> None:
    scram = ScramClient("ａ,b=c", "p\u00adass", NONCE)
    assert scram.first == f"n,,n=a=2Cb=3Dc,r={NONCE}".encode()
    assert scram.challenge(SERVER_FIRST).work() == ScramClient("x", "pass", NONCE).challenge(SERVER_FIRST).work()


@pytest.mark.parametrize(("user", "password"), [("a\x07", "pw"), ("anna", "p\tw"), ("anna", "\U0001f600")])
def test_what_cannot_be_prepared(user: str, password: str) -> None:
    with pytest.raises(Unprepared):
        ScramClient(user, password, NONCE)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"", "not one of SCRAM"),
        (b"Username:", "not one of SCRAM"),
        (b"\xff", "not text"),
        (SERVER_FIRST.replace(b"r=", b"x="), "not one of SCRAM"),
        (b"m=must," + SERVER_FIRST, "not one of SCRAM"),
        (SERVER_FIRST + b",m=must", "not one of SCRAM"),
        (SERVER_FIRST.replace(b"s=W22", b"s=!"), "not one of SCRAM"),
        (SERVER_FIRST.replace(b"gQ==", b"gQ="), "not one of SCRAM"),
        (SERVER_FIRST.replace(b"4096", b"04096"), "not one of SCRAM"),
        (SERVER_FIRST.replace(b"4096", b"-4096"), "not one of SCRAM"),
        (SERVER_FIRST.replace(b"4096", b"9999999999"), "not one of SCRAM"),
        (SERVER_FIRST.replace(b"4096", "４０９６".encode()), "not one of SCRAM"),
        (SERVER_FIRST.replace(BOTH.encode(), NONCE.encode()), "another login"),
        (SERVER_FIRST.replace(BOTH.encode(), b"other" + BOTH.encode()), "another login"),
        (SERVER_FIRST.replace(b"4096", b"4095"), "wants 4095 iterations"),
        (SERVER_FIRST.replace(b"4096", b"1"), "wants 1 iterations"),
        (SERVER_FIRST.replace(b"4096", b"1000001"), "wants 1000001 iterations"),
    ],
)
def test_challenges_that_are_not_met(message: bytes, words: str) -> None:
    with pytest.raises(ScramFailure, match=words):
        client().challenge(message)


@pytest.mark.parametrize("iterations", [b"4096", b"1000000"])
def test_the_bounds_themselves_are_met(iterations: bytes) -> None:
    assert isinstance(client().challenge(SERVER_FIRST.replace(b"4096", iterations)), Derive)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"", "does not know this account"),
        (b"v=", "does not know this account"),
        (b"v=AAAA", "does not know this account"),
        (b"v=!!", "does not know this account"),
        (SERVER_FINAL[:-3] + b"A4=", "does not know this account"),
        (SERVER_FINAL.replace(b"6r", b"7r"), "does not know this account"),
        (b"x=y," + SERVER_FINAL, "does not know this account"),
        (SERVER_FINAL + b"\0", "does not know this account"),
        (b"\xff", "not text"),
        (b"e=invalid-proof", r"refused the login \(invalid-proof\)"),
        (b"e=\r\n250 fine", "does not know this account"),
    ],
)
def test_a_host_that_cannot_show_that_it_knows_the_account(message: bytes, words: str) -> None:
    with pytest.raises(ScramFailure, match=words) as caught:
        proved().verify(message)
    assert "\n" not in str(caught.value)


def test_the_password_does_not_show() -> None:
    assert "pencil" not in repr(client().challenge(SERVER_FIRST))


@given(
    st.text(
        st.characters(codec="utf-8", min_codepoint=32, max_codepoint=0x17F, categories=("L", "N", "P")), min_size=1
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
)
def test_a_foreign_server_lets_us_in(user: str, password: str) -> None:
    mechanism = ScramMechanism()
    info = mechanism.make_auth_info(password, iteration_count=4096)
    server = mechanism.make_server(lambda _: info)
    scram = ScramClient(user, password, NONCE)
    server.set_client_first(scram.first.decode())
    root = scram.challenge(server.get_server_first().encode()).work()
    server.set_client_final(scram.final(root).decode())
    scram.verify(server.get_server_final().encode())


@given(st.binary())
def test_no_octets_raise_anything_else(octets: bytes) -> None:
    for take in (client().challenge, proved().verify):
        with pytest.raises(ScramFailure):
            take(octets)
