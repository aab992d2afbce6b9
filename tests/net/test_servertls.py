"""The TLS of listeners: which certificate a client gets, what is refused, and what a session ticket is worth."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from OpenSSL import SSL

from mailserver.net.certificates import CertificateProblem, KeyPair, read_pair
from mailserver.net.servertls import Contexts, ServerTls, usable_pair
from tests.harness.handshake import Handshake, any_server, der_of, issue, write_pair

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class Shop:
    """Certificates by the names of their files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pairs: dict[str, KeyPair] = {}

    def make(self, name: str, *names: str) -> KeyPair:
        self.pairs[name] = read_pair(*write_pair(self.directory, name, *names))
        return self.pairs[name]

    def listener(self, own: str) -> ServerTls:
        return ServerTls(self.contexts(own))

    def contexts(self, own: str) -> Contexts:
        return Contexts(self.pairs[own], self.pairs.values())

    def shown(self, handshake: Handshake) -> str:
        [name] = [name for name in self.pairs if der_of(self.directory / f"{name}.crt") == handshake.shown]
        return name


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.make("default", "mx.example.org", "both.example")
    shop.make("other", "mail.example.net", "*.example.net", "xn--bcher-kva.example", "both.example")
    shop.make("exact", "exact.example.net", "ABC.Example.")
    shop.make("nameless")
    return shop


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (None, "default"),
        ("mx.example.org", "default"),
        ("mail.example.net", "other"),
        ("MAIL.Example.NET", "other"),
        ("mail.example.net.", "other"),
        ("anything.example.net", "other"),
        ("exact.example.net", "exact"),
        ("abc.example", "exact"),
        ("bücher.example", "other"),
        ("xn--bcher-kva.example", "other"),
        # The star is one label, a whole one.
        ("example.net", "default"),
        ("a.b.example.net", "default"),
        ("unknown.example", "default"),
        # Of two, the listener's own.
        ("both.example", "default"),
        # No name of a certificate counts but its alternative names.
        ("common.example", "default"),
        ("localhost", "default"),
    ],
)
def test_the_certificate_that_a_client_asks_for(shop: Shop, name: str | None, shown: str) -> None:
    handshake = Handshake(shop.listener("default"), any_server(), name)
    assert shop.shown(handshake) == shown


def test_each_listener_has_its_own_default(shop: Shop) -> None:
    assert shop.shown(Handshake(shop.listener("exact"), any_server())) == "exact"
    assert shop.shown(Handshake(shop.listener("exact"), any_server(), "mx.example.org")) == "default"
    assert shop.shown(Handshake(shop.listener("other"), any_server(), "both.example")) == "other"
    assert shop.shown(Handshake(shop.listener("nameless"), any_server(), "nobody.example")) == "nameless"


def test_the_rest_of_the_chain_goes_with_its_certificate(shop: Shop) -> None:
    chain, key = write_pair(shop.directory, "long", "long.example")
    between = issue(["ca.example"])[0]
    chain.write_bytes(chain.read_bytes() + between)
    tls = ServerTls(Contexts(shop.pairs["default"], [read_pair(chain, key)]))
    context = SSL.Context(SSL.TLS_METHOD)
    client = SSL.Connection(context, None)
    client.set_tlsext_host_name(b"long.example")
    shake(client, tls)
    shown = client.get_peer_cert_chain(as_cryptography=True)
    assert shown is not None
    assert tuple(shown) == read_pair(chain, key).chain
    assert len(shown) == 2


def shake(client: SSL.Connection, tls: ServerTls) -> SSL.Connection:
    """A handshake with a client of pyOpenSSL, which can do what the ssl module refuses. Raises SSL.Error."""
    server = tls.serverConnectionForTLS(None)
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(3):
        for one, other in ((client, server), (server, client)):
            with suppress(SSL.WantReadError):
                one.do_handshake()
            carry(one, other)
    return server


def carry(one: SSL.Connection, other: SSL.Connection) -> None:
    with suppress(SSL.WantReadError):
        other.bio_write(one.bio_read(1 << 20))


# What no client of good will sends: the hello of one, with other octets in the place of the name.

NAME = b"n" * 200


def hello() -> bytes:
    client = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    client.set_tlsext_host_name(NAME)
    client.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    octets: bytes = client.bio_read(1 << 16)
    assert octets.count(NAME) == 1
    return octets


def answer_to(tls: ServerTls, octets: bytes) -> tuple[SSL.Connection, bytes]:
    server = tls.serverConnectionForTLS(None)
    server.set_accept_state()
    server.bio_write(octets)
    with pytest.raises(SSL.Error):  # WantReadError is one: the rest of the handshake, or a refusal
        server.do_handshake()
    return server, server.bio_read(1 << 16)


@pytest.mark.parametrize(
    "name",
    [
        b"\xff\xfe" * 100,
        "bücher.example".encode().ljust(200, b"."),
        b"*.example.net".ljust(200, b"."),
        b"." * 200,
        b"*" * 200,
        b"a." * 100,
        b"<script>\r\n\x1b[2J".ljust(200, b" "),
    ],
)
def test_a_name_of_any_octets_gets_the_default(shop: Shop, name: bytes) -> None:
    tls = shop.listener("default")
    server, answer = answer_to(tls, hello().replace(NAME, name))
    assert server.get_servername() == name
    # A handshake record with the server's hello: no alert.
    assert answer[0] == 22
    assert server.get_context() is answer_to(tls, hello())[0].get_context()


def test_the_star_itself_is_no_name_to_ask_for(shop: Shop) -> None:
    client = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    client.set_tlsext_host_name(b"*.example.net")
    shake(client, shop.listener("default"))
    certificate = client.get_peer_certificate(as_cryptography=True)
    assert certificate == shop.pairs["default"].chain[0]


def test_an_extension_that_is_broken_is_refused_by_an_alert_and_nothing_more(shop: Shop) -> None:
    good, tls = hello(), shop.listener("default")
    start = good.index(NAME)
    for at in range(start - 9, start + 2):  # the type, the lengths, the kind of name, its first octets
        for octet in (0, 1, 127, 255):
            bad = good[:at] + bytes([octet]) + good[at + 1 :]
            _, answer = answer_to(tls, bad)
            assert answer[0] in (21, 22)


# Versions, ciphers and what else is refused.


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.parametrize("name", [None, "mail.example.net"])
def test_nothing_older_than_tls_1_2(shop: Shop, version: ssl.TLSVersion, name: str | None) -> None:
    old = any_server()
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = old.maximum_version = version
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((SSL.Error, ssl.SSLError)) as refused:
        Handshake(shop.listener("default"), old, name)
    assert "protocol" in str(refused.value)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_spoken(shop: Shop, version: ssl.TLSVersion) -> None:
    handshake = Handshake(shop.listener("default"), only(version), "mail.example.net")
    assert handshake.client.version() == version.name.replace("_", ".")
    assert handshake.client.compression() is None
    cipher = handshake.client.cipher()
    assert cipher is not None
    assert cipher[2] >= 128


@pytest.mark.parametrize(
    "ciphers", ["aNULL", "eNULL", "RC4", "3DES", "MD5", "EXPORT", "PSK", "SRP", "CAMELLIA", "ARIA", "SEED", "IDEA"]
)
def test_no_cipher_that_is_worth_nothing(shop: Shop, ciphers: str) -> None:
    listener = shop.listener("default").serverConnectionForTLS(None)
    context = SSL.Context(SSL.TLS_METHOD)
    try:
        context.set_cipher_list(f"{ciphers}:@SECLEVEL=0".encode())
    except SSL.Error:
        return  # this OpenSSL has none of the kind
    of_the_kind = set(SSL.Connection(context, None).get_cipher_list())
    for name in of_the_kind & set(listener.get_cipher_list()):
        assert name.startswith("TLS_")  # those of TLS 1.3 are in every list


def test_a_client_cannot_renegotiate(shop: Shop) -> None:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    client = SSL.Connection(context, None)
    server = shake(client, shop.listener("default"))
    assert client.renegotiate()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    carry(client, server)
    with pytest.raises(SSL.WantReadError):
        server.recv(100)
    carry(server, client)
    with pytest.raises(SSL.Error, match="no renegotiation"):
        client.do_handshake()
    assert server.total_renegotiations() == 0
    # By option, too: an older OpenSSL would go along.
    assert server.set_options(0) & SSL.OP_NO_RENEGOTIATION


# Session tickets.


def only(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = any_server()
    context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [None, "mx.example.org", "mail.example.net"])
def test_a_ticket_is_good_at_its_listener_alone(shop: Shop, version: ssl.TLSVersion, name: str | None) -> None:
    client, here, there = only(version), shop.listener("default"), shop.listener("default")
    first = Handshake(here, client, name)
    assert not first.client.session_reused
    ticket = first.client.session
    assert ticket is not None
    assert ticket.has_ticket
    again = Handshake(here, client, name, ticket)
    assert again.client.session_reused
    elsewhere = Handshake(there, client, name, ticket)
    assert not elsewhere.client.session_reused
    assert elsewhere.shown == first.shown


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ticket_of_another_name_is_good_at_no_other_listener(shop: Shop, version: ssl.TLSVersion) -> None:
    client, here, there = only(version), shop.listener("default"), shop.listener("other")
    ticket = Handshake(here, client, "mail.example.net").client.session
    for name in (None, "mail.example.net", "mx.example.org"):
        assert not Handshake(there, client, name, ticket).client.session_reused


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ticket_from_before_a_reload_is_a_full_handshake(shop: Shop, version: ssl.TLSVersion) -> None:
    client, tls = only(version), shop.listener("default")
    ticket = Handshake(tls, client, "mail.example.net").client.session
    shop.make("other", "mail.example.net")
    tls.use(shop.contexts("default"))
    after = Handshake(tls, client, "mail.example.net", ticket)
    assert not after.client.session_reused
    assert shop.shown(after) == "other"


# Replacing.


def test_new_certificates_are_for_new_connections(shop: Shop) -> None:
    tls = shop.listener("default")
    before = Handshake(tls, any_server())
    shop.make("default", "mx.example.org")
    tls.use(shop.contexts("default"))
    after = Handshake(tls, any_server())
    assert shop.shown(after) == "default"
    assert before.shown != after.shown
    before.server.send(b"y")
    before.to_client()
    assert before.client.read() == b"y"


def test_a_key_that_openssl_refuses_is_a_problem_with_its_name(tmp_path: Path) -> None:
    chain, key = tmp_path / "c", tmp_path / "k"
    for file, octets in zip((chain, key), issue(["mx.example.org"], bits=1024), strict=True):
        file.write_bytes(octets)
    with pytest.raises(CertificateProblem, match=r"common\.example cannot be used for TLS: .*too small"):
        usable_pair(chain, key)


def test_pairs_are_equal_when_their_files_say_the_same(shop: Shop) -> None:
    files = shop.directory / "default.crt", shop.directory / "default.key"
    assert read_pair(*files) == shop.pairs["default"]
    assert shop.pairs["default"] != shop.pairs["other"]
