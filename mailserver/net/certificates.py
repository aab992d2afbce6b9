"""Certificates and their keys: read from files, or made where there is none yet.

:func:`read_pair` reads the chain and the key of a server and proves that they belong together; :func:`read_chain`
reads certificates alone. :func:`self_signed` makes the certificate of a new instance.

What is wrong with files leaves as :class:`CertificateProblem`, one sentence that says what to do.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from mailserver.interfaces import MailServerError

# A certificate that is valid from the very second it is made is refused by a client whose clock is behind.
_CLOCK_SKEW = datetime.timedelta(minutes=5)
_VALIDITY = datetime.timedelta(days=3650)
# The bound of X.520 for a common name.
_MAX_COMMON_NAME = 64


class CertificateProblem(MailServerError):
    """A certificate, key or authority file cannot be used; ``str()`` says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The certificates of a server, its own first, and the key to that one. Equal when the files say the same."""

    chain: tuple[x509.Certificate, ...]
    # It follows from the certificate, and key objects compare by identity.
    key: Any = field(compare=False)

    @property
    def expires(self) -> float:
        """When the certificate of the server does, in seconds since 1970."""
        return self.chain[0].not_valid_after_utc.timestamp()

    @property
    def names(self) -> tuple[str, ...]:
        """The DNS names that the certificate is for, in lower case; one may begin with ``*.``. The common name
        counts for nothing (RFC 6125 §6.4.4)."""
        try:
            found = self.chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
            return ()
        return tuple(name.lower().removesuffix(".") for name in found.get_values_for_type(x509.DNSName))


def read_pair(chain_file: str | Path, key_file: str | Path) -> KeyPair:
    """What a server shows and proves. Raises CertificateProblem."""
    chain = read_chain(chain_file)
    key = _private_key(key_file)
    if key.public_key() != chain[0].public_key():
        raise CertificateProblem(
            f"the key {key_file} does not belong to the certificate {chain_file}: "
            "name the key that it was made with, and put the server's own certificate first in the chain"
        )
    return KeyPair(tuple(chain), key)


def read_chain(file: str | Path) -> list[x509.Certificate]:
    """All certificates of a PEM file, one at least. Raises CertificateProblem."""
    octets = _read(file, "certificate")
    try:
        return x509.load_pem_x509_certificates(octets)
    except ValueError:
        raise CertificateProblem(
            f"the certificate file {file} has no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
        ) from None


def _private_key(file: str | Path) -> Any:
    octets = _read(file, "key")
    try:
        return serialization.load_pem_private_key(octets, password=None)
    except TypeError:
        raise CertificateProblem(
            f"the key {file} is encrypted: store it without a pass phrase, readable by the server alone"
        ) from None
    except ValueError:
        raise CertificateProblem(
            f"the key file {file} has no private key in PEM form (-----BEGIN PRIVATE KEY-----)"
        ) from None


def _read(file: str | Path, what: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except FileNotFoundError:
        raise CertificateProblem(
            f"the {what} file {file} does not exist: make it, or correct the setting"
        ) from None
    except OSError as error:
        raise CertificateProblem(f"the {what} file {file} cannot be read: {error.strerror}") from None


def self_signed(host_name: str, now: float) -> tuple[bytes, bytes]:
    """A certificate for `host_name` and this machine's loopback names, and its key, both PEM.

    Valid for ten years from `now` (seconds since 1970). The key is on P-256 and not encrypted.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    begin = datetime.datetime.fromtimestamp(now, datetime.UTC) - _CLOCK_SKEW
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host_name[:_MAX_COMMON_NAME])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + _VALIDITY)
    )
    for extension, critical in _extensions(host_name, key.public_key()):
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _extensions(host_name: str, key: ec.EllipticCurvePublicKey) -> list[tuple[x509.ExtensionType, bool]]:
    names: list[x509.GeneralName] = [x509.DNSName(each) for each in dict.fromkeys((host_name, "localhost"))]
    names += [x509.IPAddress(ip_address(each)) for each in ("127.0.0.1", "::1")]
    identifier = x509.SubjectKeyIdentifier.from_public_key(key)
    return [
        (x509.SubjectAlternativeName(names), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (identifier, False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
    ]
