"""Certificates: what is made, what is read, and the sentences for what is wrong."""

from __future__ import annotations

import datetime
import warnings
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator

from mailserver.net.tls import (
    CertificateProblem,
    certificate_pin,
    client_context,
    parse_pin,
    pin_problem,
    self_signed,
    server_context,
)

NOW = 1_800_000_000.0
PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    certificate, key = self_signed("mx.example.org", NOW)
    chain_file, key_file = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain_file.write_bytes(certificate)
    key_file.write_bytes(key)
    return chain_file, key_file


def test_self_signed() -> None:
    certificate = x509.load_pem_x509_certificate(self_signed("mx.example.org", NOW)[0])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mx.example.org", "localhost"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    now = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    assert certificate.not_valid_before_utc == now - datetime.timedelta(minutes=5)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == datetime.timedelta(days=3650)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


def test_a_host_name_longer_than_a_common_name() -> None:
    name = "x" * 60 + ".example.org"
    certificate = x509.load_pem_x509_certificate(self_signed(name, NOW)[0])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert name in names.get_values_for_type(x509.DNSName)


def test_server_context(pair: tuple[Path, Path]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        context = server_context(*pair)
    assert IOpenSSLServerConnectionCreator.providedBy(context)
    assert not context.getContext().set_options(0) & SSL.OP_NO_TICKET


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
def test_nothing_older_than_tls_1_2(pair: tuple[Path, Path], version: int) -> None:
    old = SSL.Context(SSL.TLS_METHOD)
    old.set_cipher_list(b"ALL:@SECLEVEL=0")
    old.set_max_proto_version(version)
    server = SSL.Connection(server_context(*pair).getContext(), None)
    server.set_accept_state()
    client = SSL.Connection(old, None)
    client.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    server.bio_write(client.bio_read(4096))
    with pytest.raises(SSL.Error) as refused:
        server.do_handshake()
    assert "unsupported protocol" in str(refused.value)


def test_missing_files(pair: tuple[Path, Path], tmp_path: Path) -> None:
    absent = tmp_path / "absent.pem"
    with pytest.raises(CertificateProblem, match=r"the certificate file .*absent\.pem does not exist"):
        server_context(absent, pair[1])
    with pytest.raises(CertificateProblem, match=r"the key file .*absent\.pem does not exist"):
        server_context(pair[0], absent)


def test_a_file_that_cannot_be_read(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(CertificateProblem, match="cannot be read: Is a directory"):
        server_context(tmp_path, pair[1])


@pytest.mark.parametrize(
    "octets", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_not_pem(pair: tuple[Path, Path], tmp_path: Path, octets: bytes) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(octets)
    with pytest.raises(CertificateProblem, match="has no certificate in PEM form"):
        server_context(wrong, pair[1])
    with pytest.raises(CertificateProblem, match="has no private key in PEM form"):
        server_context(pair[0], wrong)


def test_swapped_files(pair: tuple[Path, Path]) -> None:
    with pytest.raises(CertificateProblem, match="has no certificate"):
        server_context(pair[1], pair[0])


def test_another_key(pair: tuple[Path, Path]) -> None:
    pair[1].write_bytes(self_signed("mx.example.org", NOW)[1])
    with pytest.raises(CertificateProblem, match="does not belong to the certificate"):
        server_context(*pair)


def test_a_key_of_another_kind(pair: tuple[Path, Path]) -> None:
    other = ed25519.Ed25519PrivateKey.generate()
    pair[1].write_bytes(other.private_bytes(PEM, PKCS8, serialization.NoEncryption()))
    with pytest.raises(CertificateProblem, match="does not belong"):
        server_context(*pair)


def test_an_encrypted_key(pair: tuple[Path, Path]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pair[1].write_bytes(key.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"x")))
    with pytest.raises(CertificateProblem, match="is encrypted"):
        server_context(*pair)


def test_client_authorities(pair: tuple[Path, Path], tmp_path: Path) -> None:
    client_context("verified", "mx.example.org", str(pair[0]))
    with pytest.raises(CertificateProblem, match="does not exist"):
        client_context("verified", "mx.example.org", str(tmp_path / "absent.pem"))
    # Who verifies nothing reads no authorities.
    client_context("opportunistic", "mx.example.org", str(tmp_path / "absent.pem"))


def test_a_pin_as_people_and_openssl_write_it() -> None:
    pem = self_signed("mx.example.org", NOW)[0]
    certificate = crypto.load_certificate(crypto.FILETYPE_PEM, pem)
    pin = certificate_pin(pem)
    shown = certificate.digest("sha256").decode()
    assert shown.count(":") == 31
    assert parse_pin(shown) == parse_pin(pin.upper()) == pin
    assert pin_problem(certificate, frozenset({"0" * 64, pin})) == ""
    assert pin in pin_problem(certificate, frozenset({"0" * 64}))
    assert "no certificate" in pin_problem(None, frozenset({pin}))


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "0" * 63, "sha256//AAAA"])
def test_no_pin(text: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        parse_pin(text)
