"""TLS of outgoing connections, and what a certificate is worth.

:class:`ClientContexts` makes what an outgoing connection starts TLS with: ``opportunistic`` encrypts to whoever
answers, ``verified`` (and ``offered``) demands a chain to a known authority and the name of the host in the
certificate (RFC 6125, by service_identity, as Twisted's own client does). With ``pinned`` the certificate itself
is known beforehand: :func:`parse_pin` reads its fingerprint, :func:`pin_problem` compares. The server's side is
`mailserver.net.servertls`; what reads and makes files is `mailserver.net.certificates`.

TLS 1.2 is the least that is spoken.

What is wrong with files leaves as :class:`CertificateProblem`, one sentence that says what to do. A peer whose
certificate is refused ends its connection with :class:`CertificateRefused`, with the reason in words.
"""

from __future__ import annotations

import datetime
import weakref
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL, crypto
from OpenSSL.SSL import X509VerificationCodes as Codes
from service_identity import VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.net.certificates import CertificateProblem, read_chain, self_signed
from mailserver.net.servertls import server_context

# With what is known here of old.
__all__ = [
    "CertificateProblem",
    "CertificateRefused",
    "ClientContexts",
    "certificate_doubts",
    "certificate_pin",
    "client_context",
    "parse_pin",
    "pin_problem",
    "self_signed",
    "server_context",
]

_HEX = frozenset("0123456789abcdef")


class CertificateRefused(Exception):
    """The certificate of a peer is not good enough for a verified connection; ``str()`` says why."""


def certificate_doubts(chain_file: str | Path, host_name: str, now: float) -> list[str]:
    """Why a client that looks would refuse the certificate of a server called `host_name`, at `now` (seconds since
    1970). Whether its authority is known is the client's affair, and so is the name where `host_name` is "".
    Raises CertificateProblem."""
    leaf = read_chain(chain_file)[0]
    wall = datetime.datetime.fromtimestamp(now, datetime.UTC)
    doubts = []
    if wall > leaf.not_valid_after_utc:
        doubts.append(f"{chain_file} has expired on {leaf.not_valid_after_utc:%Y-%m-%d}; renew it")
    elif wall < leaf.not_valid_before_utc:
        doubts.append(f"{chain_file} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}; check the clock")
    if host_name and (problem := _name_problem(crypto.X509.from_cryptography(leaf), host_name)):
        doubts.append(f"{chain_file} does not name this host: {problem}, and host_name is {host_name}")
    return doubts


class ClientContexts:
    """Contexts for outgoing connections. The authorities of a file are read once and kept."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[bool, str], SSL.Context] = {}

    def creator(self, mode: str, host_name: str, ca_file: str = "") -> IOpenSSLClientConnectionCreator:
        """For one connection to `host_name` (a name or an IP address). Raises CertificateProblem.

        `mode` is one of :class:`~mailserver.smtp.plan.SessionPlan`; `ca_file` "" means the authorities of the
        system. A pin is not looked at here: the certificate is compared once the handshake is done.
        """
        verified = mode in ("verified", "offered")
        key = (verified, ca_file if verified else "")
        context = self._contexts.get(key)
        if context is None:
            context = self._contexts[key] = _client_context(*key)
        return _Creator(context, host_name, verified)


def _client_context(verified: bool, ca_file: str) -> SSL.Context:
    if not verified:
        return ssl.CertificateOptions().getContext()
    if not ca_file:
        return ssl.CertificateOptions(trustRoot=ssl.platformTrust()).getContext()
    authorities = [ssl.Certificate(crypto.X509.from_cryptography(each)) for each in read_chain(ca_file)]
    return ssl.CertificateOptions(trustRoot=ssl.trustRootFromCertificates(authorities)).getContext()


def parse_pin(text: str) -> str:
    """The SHA-256 of a certificate in DER, as ``openssl x509 -fingerprint -sha256`` shows it (colons and case do
    not matter), in the form in which we compare. Raises ValueError."""
    digits = text.replace(":", "").lower()
    if len(digits) != 64 or not _HEX.issuperset(digits):
        raise ValueError(f"{text!r} is no SHA-256 fingerprint of a certificate: 64 hexadecimal digits")
    return digits


def certificate_pin(pem: bytes) -> str:
    """The pin of the first certificate in `pem`. Raises ValueError."""
    return x509.load_pem_x509_certificates(pem)[0].fingerprint(hashes.SHA256()).hex()


def pin_problem(certificate: crypto.X509 | None, pins: frozenset[str]) -> str:
    """Why the certificate that a peer showed is none of the pinned ones, naming its pin; "" when it is one."""
    if certificate is None:
        return "the host showed no certificate"
    pin = certificate.to_cryptography().fingerprint(hashes.SHA256()).hex()
    return "" if pin in pins else f"its SHA-256 is {pin}, which is not pinned"


def client_context(mode: str, host_name: str, ca_file: str = "") -> IOpenSSLClientConnectionCreator:
    """The same as :meth:`ClientContexts.creator`, where it is needed once."""
    return ClientContexts().creator(mode, host_name, ca_file)


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    def __init__(self, context: SSL.Context, host_name: str, verified: bool) -> None:
        self._context = context
        self._host_name = host_name
        self._verified = verified

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if not _is_address(self._host_name):
            # RFC 6066 §3: never an address.
            connection.set_tlsext_host_name(_a_labels(self._host_name))
        if self._verified:
            callback = _verify_callback(weakref.ref(tlsProtocol), self._host_name)
            connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, callback)
        return connection


# OpenSSL's own words are not within reach of pyOpenSSL here. RFC 5280 §6 is what is checked.
_WORDS: Mapping[int, str] = MappingProxyType(
    {
        Codes.ERR_CERT_NOT_YET_VALID: "it is not valid yet",
        Codes.ERR_CERT_HAS_EXPIRED: "it has expired",
        Codes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: "it is self-signed and not among the known authorities",
        Codes.ERR_SELF_SIGNED_CERT_IN_CHAIN: "its authority is not known here",
        Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its authority is not known here",
        Codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its authority is not known here",
        Codes.ERR_CERT_REVOKED: "it is revoked",
        Codes.ERR_CERT_SIGNATURE_FAILURE: "its signature is wrong",
        Codes.ERR_INVALID_PURPOSE: "it is not for servers",
    }
)


def _verify_callback(tls_protocol: weakref.ref[Any], host_name: str) -> Callable[..., bool]:
    def verify(_: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
        problem = ""
        if not ok:
            problem = _WORDS.get(error, f"OpenSSL refuses it (verify error {error})")
        elif depth == 0:
            problem = _name_problem(certificate, host_name)
        protocol = tls_protocol()
        if problem and protocol is not None:
            refused = CertificateRefused(f"the certificate of {host_name} is refused: {problem}")
            protocol.failVerification(Failure(refused))
        return not problem

    return verify


def _name_problem(certificate: crypto.X509, host_name: str) -> str:
    try:
        is_address = _is_address(host_name)
        identity = IPAddress_ID(host_name) if is_address else DNS_ID(_a_labels(host_name).decode())
        verify_service_identity(extract_patterns(certificate), [identity], [])
    except (VerificationError, ValueError):
        return f"it is for {_names_of(certificate)}"
    # In a callback of OpenSSL an exception would vanish, and with it the refusal.
    except Exception as error:
        return f"its names cannot be read ({error})"
    return ""


def _names_of(certificate: crypto.X509) -> str:
    try:
        names = certificate.to_cryptography().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return "no name at all"
    return ", ".join([repr(str(name.value))[1:-1] for name in names][:5]) or "no name at all"


def _a_labels(host_name: str) -> bytes:
    try:
        return host_name.encode("idna")
    except UnicodeError:
        # No name that a certificate could hold, but it was reached.
        return host_name.encode("ascii", "replace")


def _is_address(host_name: str) -> bool:
    try:
        ip_address(host_name)
    except ValueError:
        return False
    return True
