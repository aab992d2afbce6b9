"""Certificates for the kit: an authority of its own, made once in a process, and what it issues.

Valid by the machine's clock and not by the virtual one, because OpenSSL asks no other.
"""

from __future__ import annotations

import datetime
import tempfile
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mailserver.net.tls import ClientContexts, server_context

_DAY = datetime.timedelta(days=1)
KINDS = ("valid", "expired", "self-signed", "other-name")


class Certificates:
    """Files in a directory that goes with the object. ``clients`` makes connections that check or do not."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="mailkit-")
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("the authority of the test kit")
        now = datetime.datetime.now(datetime.UTC)
        self._authority = _certificate(
            self._name, (self._name, self._key), self._key, (now - _DAY, now + 365 * _DAY)
        )
        self._files: dict[tuple[str, str], tuple[Path, Path]] = {}
        self._contexts: dict[tuple[str, str], Any] = {}
        # What clients start TLS with: reading the authority for each test would take longer than its handshakes.
        self.clients = ClientContexts()

    @cached_property
    def ca_file(self) -> Path:
        """The authority, PEM: what verifies the certificates that are ``valid``."""
        return self._written("ca.pem", self._authority.public_bytes(serialization.Encoding.PEM))

    def files(self, host: str, kind: str = "valid") -> tuple[Path, Path]:
        """A certificate for `host` and its key, PEM, the same ones each time. Raises ValueError for an unknown
        kind."""
        if (host, kind) not in self._files:
            self._files[host, kind] = self._issued(host, kind)
        return self._files[host, kind]

    def _issued(self, host: str, kind: str) -> tuple[Path, Path]:
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of certificate; there are {', '.join(KINDS)}")
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        valid = (now - 30 * _DAY, now - _DAY) if kind == "expired" else (now - _DAY, now + 365 * _DAY)
        named = "other.invalid" if kind == "other-name" else host
        issuer = (_name(named), key) if kind == "self-signed" else (self._name, self._key)
        certificate = _certificate(_name(named), issuer, key, valid, named)
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return (
            self._written(f"{host}-{kind}.pem", certificate.public_bytes(pem)),
            self._written(f"{host}-{kind}.key", key.private_bytes(pem, pkcs8, serialization.NoEncryption())),
        )

    def context(self, host: str, kind: str = "valid") -> Any:
        """What a server starts TLS with, the same one each time."""
        if (host, kind) not in self._contexts:
            self._contexts[host, kind] = server_context(*self.files(host, kind))
        return self._contexts[host, kind]

    def _written(self, name: str, octets: bytes) -> Path:
        path = Path(self._directory.name) / name
        path.write_bytes(octets)
        return path


@cache
def shared_certificates() -> Certificates:
    """Those of this process: making an authority for each test would take longer than most tests."""
    return Certificates()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _certificate(
    subject: x509.Name, issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey], key: ec.EllipticCurvePrivateKey,
    valid: tuple[datetime.datetime, datetime.datetime], host: str = "",
) -> x509.Certificate:  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.BasicConstraints(ca=not host, path_length=None), critical=True)
    )
    if host:
        names = x509.SubjectAlternativeName([x509.DNSName(host), x509.DNSName("localhost")])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(names, critical=False).add_extension(usage, critical=False)
    return builder.sign(issuer[1], hashes.SHA256())
