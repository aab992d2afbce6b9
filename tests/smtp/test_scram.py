"""The server's side of SCRAM-SHA-256: the vectors of the RFC, a foreign client, and every malformed message."""

from __future__ import annotations

from base64 import b64encode
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient as ForeignClient
from scramp.core import ScramException

from mailserver.smtp.sasl import Challenge, Finished, KeysNeeded, Malformed
from mailserver.smtp.scram import ITERATIONS, ScramKeys, ScramLogin, ScramSha256, derive, escaped

# RFC 7677 §3.
USER, PENCIL = b"user", b"pencil"
SALT = bytes.fromhex("5b6d99689d12358eeca04b141236fa81")
OURS = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
WITHOUT_PROOF = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CLIENT_FINAL = WITHOUT_PROOF + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
KEYS = derive(PENCIL, SALT, 4096)


def exchange() -> ScramSha256:
    return ScramSha256(lambda: OURS)


def halfway() -> ScramSha256:
    mechanism = exchange()
    assert mechanism.start(CLIENT_FIRST) == KeysNeeded(USER)
    assert mechanism.found(KEYS) == Challenge(SERVER_FIRST)
    return mechanism


def test_the_exchange_of_rfc_7677() -> None:
    mechanism = halfway()
    assert mechanism.respond(CLIENT_FINAL) == Challenge(SERVER_FINAL)
    assert mechanism.respond(b"") == Finished(ScramLogin(b"", USER, KEYS, proved=True))


def test_without_an_initial_response() -> None:
    mechanism = exchange()
    assert mechanism.start(None) == Challenge(b"")
    assert mechanism.respond(CLIENT_FIRST) == KeysNeeded(USER)


def test_a_wrong_proof_ends_the_exchange_without_the_servers_signature() -> None:
    for keys in (derive(b"pencils", SALT, 4096), ScramKeys(SALT, 4096, bytes(32), bytes(32))):
        mechanism = exchange()
        mechanism.start(CLIENT_FIRST)
        mechanism.found(keys)
        assert mechanism.respond(CLIENT_FINAL) == Finished(ScramLogin(b"", USER, keys, proved=False))


def test_who_has_stolen_the_keys_cannot_log_in_with_them() -> None:
    proof = b64encode(KEYS.stored_key)
    assert halfway().respond(WITHOUT_PROOF + b",p=" + proof) == Finished(ScramLogin(b"", USER, KEYS, proved=False))


def test_each_octet_of_a_proof_counts() -> None:
    place = CLIENT_FINAL.index(b",p=") + 3
    for at in range(place, len(CLIENT_FINAL) - 2):
        other = b"A" if CLIENT_FINAL[at : at + 1] != b"A" else b"B"
        step = halfway().respond(CLIENT_FINAL[:at] + other + CLIENT_FINAL[at + 1 :])
        assert step == Finished(ScramLogin(b"", USER, KEYS, proved=False)), at


@pytest.mark.parametrize(
    ("first", "authzid", "username"),
    [
        (b"n,,n=user,r=x", b"", b"user"),
        (b"y,,n=user,r=x", b"", b"user"),
        (b"n,a=user,n=user,r=x", b"user", b"user"),
        (b"n,a=b=2Co=3Ds,n=user,r=x", b"b,o=s", b"user"),
        (b"n,,n=a=2Cb=3D2C,r=x", b"", b"a,b=2C"),
        ("n,,n=ａnna@example.org,r=x".encode(), b"", b"anna@example.org"),
        ("n,,n=u\u0308,r=x".encode(), b"", "ü".encode()),
        (b"n,,n=user,r=x,x=ignored", b"", b"user"),
        ("n,,n=user,r=x,X=ü=,q= ".encode(), b"", b"user"),
    ],
)
def test_names(first: bytes, authzid: bytes, username: bytes) -> None:
    mechanism = exchange()
    assert mechanism.start(first) == KeysNeeded(username)
    challenge = mechanism.found(KEYS)
    assert isinstance(challenge, Challenge)
    assert challenge.data.startswith(b"r=x" + OURS.encode() + b",s=")
    assert mechanism._authzid == authzid


MALFORMED_FIRST = [
    b"", b"=", b",", b"n", b"n,,", b"user", b"\0user\0pencil",
    b"p=tls-unique,,n=user,r=x", b"p=tls-exporter,,n=user,r=x",
    b"n,,m=must,n=user,r=x", b"n,,n=user,r=x,m=must",
    b"n,,r=x,n=user", b"n,,n=user", b"n,,r=x", b"n,,n=,r=x", b"n,,n=user,r=", b"n,,n=user,r=x,",
    b"n,,n=user,r=x,y", b"n,,n=user,r=x,y=", b"n,,n=user,r=x,1=y", b"n,,n=user,r=x,r=y", b"n,,n=user,r=x,n=z",
    b"n,,n=user,r=x,p=y", b"n,n=user,r=x", b"n=user,r=x", b"N,,n=user,r=x", b"N,,N=user,R=x", b" n,,n=user,r=x",
    b"n,user,n=user,r=x", b"n,a=,n=user,r=x", b"n,a=a=b,n=user,r=x", b"n,b=a,n=user,r=x",
    b"n,,n=us=er,r=x", b"n,,n=us=2c,r=x", b"n,,n=us=3d,r=x", b"n,,n=us=,r=x", b"n,,n=us\0er,r=x",
    b"n,,n=us\ner,r=x", b"n,,n=us\x7fer,r=x", b"n,,n=\xc2\xad,r=x", b"n,,n=\xff,r=x", b"n,,n=\xe2\x80\xa8,r=x",
    b"n,,n=user,r=a b", b"n,,n=user,r=\x7f", b"n,,n=user,r=\xc3\xbc", b"n,,n=user,r=x\n", b"n,,n=user,r=x\0",
]  # fmt: skip


@pytest.mark.parametrize("message", MALFORMED_FIRST)
def test_malformed_first_messages(message: bytes) -> None:
    assert exchange().start(message) == Malformed()


MALFORMED_FINAL = [
    b"", b"=", WITHOUT_PROOF, WITHOUT_PROOF + b",", WITHOUT_PROOF + b",p=", WITHOUT_PROOF + b",p=AAAA",
    WITHOUT_PROOF + b",p=!", CLIENT_FINAL + b",x=y", CLIENT_FINAL + b"\n", b" " + CLIENT_FINAL, CLIENT_FINAL[:-1],
    CLIENT_FINAL + b"=", CLIENT_FINAL.replace(b"p=", b"P="), CLIENT_FINAL.replace(b"c=", b"C="),
    CLIENT_FINAL.replace(b"c=biws", b"c=eSws"),  # the header y,,
    CLIENT_FINAL.replace(b"c=biws", b"c=cD10bHMtdW5pcXVlLCw="),  # the header p=tls-unique,,
    CLIENT_FINAL.replace(b"c=biws", b"c="), CLIENT_FINAL.replace(b"c=biws", b"c=biw"),
    CLIENT_FINAL.replace(b"c=biws,", b""), CLIENT_FINAL.replace(b"c=biws,r=", b"r="),
    CLIENT_FINAL.replace(b",r=r", b",r=R"), CLIENT_FINAL.replace(b"$k0", b"$k1"),
    CLIENT_FINAL.replace(b"$k0", b""),
    CLIENT_FINAL.replace(b",p=", b",m=x,p="), CLIENT_FINAL.replace(b",p=", b",p=AAAA,p="),
    CLIENT_FINAL.replace(b",p=", b",r=x,p="), CLIENT_FINAL.replace(b",p=", b",\xff=x,p="), CLIENT_FIRST,
]  # fmt: skip


@pytest.mark.parametrize("message", MALFORMED_FINAL)
def test_malformed_final_messages(message: bytes) -> None:
    assert halfway().respond(message) == Malformed()


def test_the_answer_to_the_signature_is_empty() -> None:
    mechanism = halfway()
    mechanism.respond(CLIENT_FINAL)
    assert mechanism.respond(b"x") == Malformed()


def test_an_extension_is_part_of_what_is_proved() -> None:
    client = ForeignClient(["SCRAM-SHA-256"], "user", "pencil", c_nonce="abc")
    mechanism = exchange()
    mechanism.start(b"n,,n=user,r=abc,x=y")
    first = mechanism.found(KEYS)
    assert isinstance(first, Challenge)
    client.get_client_first()
    client.set_server_first(first.data.decode())
    # The foreign client knows of no extension: its proof is one of another message.
    assert mechanism.respond(client.get_client_final().encode()) == Finished(
        ScramLogin(b"", USER, KEYS, proved=False)
    )


def test_no_secret_shows() -> None:
    for shown in (repr(KEYS), repr(ScramLogin(b"", USER, KEYS, proved=True))):
        assert repr(KEYS.stored_key) not in shown
        assert repr(KEYS.server_key) not in shown


def test_iterations_are_more_than_the_least_and_bearable() -> None:
    # Cyrus SASL's bound, which Postfix's client meets: tests/interop/test_postfix.py.
    assert 4_096 < ITERATIONS <= 65_536


numbers = count()


@given(
    st.text(
        st.characters(codec="utf-8", min_codepoint=32, max_codepoint=0x17F, categories=("L", "N", "P")), min_size=1
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
    st.binary(min_size=12, max_size=24),
)
def test_a_foreign_client_logs_in(name: str, password: str, salt: bytes) -> None:
    number = next(numbers)
    client = ForeignClient(["SCRAM-SHA-256"], name, password)
    mechanism = ScramSha256(lambda: f"server{number}")
    step = mechanism.start(client.get_client_first().encode())
    assert isinstance(step, KeysNeeded)
    keys = derive(password.encode(), salt, 4096)
    first = mechanism.found(keys)
    assert isinstance(first, Challenge)
    client.set_server_first(first.data.decode())
    final = mechanism.respond(client.get_client_final().encode())
    assert isinstance(final, Challenge)
    client.set_server_final(final.data.decode())
    assert mechanism.respond(b"") == Finished(ScramLogin(b"", step.username, keys, proved=True))


def test_a_foreign_client_with_a_wrong_password_does_not() -> None:
    client = ForeignClient(["SCRAM-SHA-256"], "user", "pencils")
    mechanism = exchange()
    mechanism.start(client.get_client_first().encode())
    first = mechanism.found(KEYS)
    assert isinstance(first, Challenge)
    client.set_server_first(first.data.decode())
    assert mechanism.respond(client.get_client_final().encode()) == Finished(
        ScramLogin(b"", USER, KEYS, proved=False)
    )
    with pytest.raises(ScramException):
        client.set_server_final("v=" + b64encode(bytes(32)).decode())


@given(st.binary(), st.binary(), st.binary())
def test_no_octets_raise(one: bytes, two: bytes, three: bytes) -> None:
    for message in (one, b"n,,n=" + one + b",r=" + two):
        mechanism = exchange()
        if isinstance(mechanism.start(message), KeysNeeded):
            mechanism.found(KEYS)
            mechanism.respond(two)
    assert isinstance(halfway().respond(WITHOUT_PROOF + b",p=" + three), (Malformed, Finished))


@given(st.text())
def test_names_are_escaped_and_back(name: str) -> None:
    inside = escaped(name)
    assert "," not in inside
    assert inside.replace("=2C", ",").replace("=3D", "=") == name
