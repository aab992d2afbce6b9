"""Certificates for any names, and TLS handshakes in memory: a client of the ssl module against a ServerTls."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL

from mailserver.net.servertls import ServerTls

_DAY = datetime.timedelta(days=1)
PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


def issue(names: Sequence[str], *, days: int = 30, bits: int = 0) -> tuple[bytes, bytes]:
    """A self-signed certificate for `names` and its key, PEM; an RSA key where `bits` says how long."""
    key = rsa.generate_private_key(65_537, bits) if bits else ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "common.example")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + days * _DAY)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
        builder = builder.add_extension(alternatives, critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    return certificate.public_bytes(PEM), key.private_bytes(PEM, PKCS8, serialization.NoEncryption())


def write_pair(directory: Path, name: str, *names: str) -> tuple[Path, Path]:
    """The files of a certificate for `names`: its chain and its key."""
    chain, key = directory / f"{name}.crt", directory / f"{name}.key"
    for file, octets in zip((chain, key), issue(names), strict=True):
        file.write_bytes(octets)
    return chain, key


def der_of(chain: Path) -> bytes:
    """What a client sees of it."""
    return x509.load_pem_x509_certificates(chain.read_bytes())[0].public_bytes(serialization.Encoding.DER)


def any_server() -> ssl.SSLContext:
    """A client that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Handshake:
    """One connection in memory, whose handshake is done when it is made. Raises ssl.SSLError and SSL.Error."""

    def __init__(
        self,
        tls: ServerTls,
        context: ssl.SSLContext,
        name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.server = tls.serverConnectionForTLS(None)
        self.server.set_accept_state()
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self._in, self._out, server_hostname=name, session=session)
        self._shake()
        self._tickets()

    def _shake(self) -> None:
        done = False
        while not done:
            try:
                self.client.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            self._to_server()
            try:
                self.server.do_handshake()
            except SSL.WantReadError:
                pass
            finally:
                self.to_client()

    def _tickets(self) -> None:
        """TLS 1.3 gives them after the handshake, to be read with the next octets."""
        self.server.send(b"x")
        self.to_client()
        assert self.client.read() == b"x"

    def _to_server(self) -> None:
        if octets := self._out.read():
            self.server.bio_write(octets)

    def to_client(self) -> None:
        """What the server has said so far."""
        with suppress(SSL.WantReadError):
            self._in.write(self.server.bio_read(1 << 20))

    @property
    def shown(self) -> bytes:
        """The certificate that the client got, DER."""
        shown = self.client.getpeercert(binary_form=True)
        assert shown is not None
        return shown
