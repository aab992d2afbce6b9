"""TLS of listeners: contexts, the choice of a certificate by name, session tickets.

:class:`ServerTls` is what all connections of one listener start TLS with. It shows the certificate that is for
the name which the client asks for (SNI, RFC 6066 §3), and the listener's own to everybody else: a client that
names nothing or somebody else is never refused, since the names of mail servers are mostly not looked at. New
certificates take the place of the old ones in a running server (:meth:`ServerTls.use`); sessions keep what they
began with.

TLS 1.2 is the least that is spoken; no compression, no renegotiation. Session tickets are given, without which no
client resumes. Their keys are made with the contexts, for one listener, and never leave the process: a ticket is
worth nothing at another listener, after a reload or after a restart, and it carries no login anywhere.

What is wrong with files leaves as `mailserver.net.certificates.CertificateProblem`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from OpenSSL import SSL, crypto
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from mailserver.net.certificates import CertificateProblem, KeyPair, read_pair

# The longest that OpenSSL takes (SSL_MAX_SID_CTX_LENGTH).
_SESSION_ID = 32


def server_context(chain_file: str | Path, key_file: str | Path) -> ssl.CertificateOptions:
    """One certificate for everybody, as a Twisted context factory. Raises CertificateProblem."""
    return _options(read_pair(chain_file, key_file))


def usable_pair(chain_file: str | Path, key_file: str | Path) -> KeyPair:
    """A pair of which a context can be made. Raises CertificateProblem."""
    pair = read_pair(chain_file, key_file)
    _options(pair)
    return pair


def _options(pair: KeyPair) -> ssl.CertificateOptions:
    # Twisted's annotations still want X509 objects, which pyOpenSSL deprecates.
    leaf, *others = cast(Any, pair.chain)
    try:
        options = ssl.CertificateOptions(
            privateKey=pair.key,
            certificate=leaf,
            extraCertChain=others,
            enableSessionTickets=True,
        )
        # CVE-2011-1473: one client, any number of handshakes. Off by itself only since OpenSSL 3.
        options.getContext().set_options(SSL.OP_NO_RENEGOTIATION)
    except (TypeError, SSL.Error, crypto.Error) as problem:
        name = pair.chain[0].subject.rfc4514_string()
        raise CertificateProblem(f"the certificate of {name} cannot be used for TLS: {problem}") from problem
    return options


class Contexts:
    """What one listener has for one set of certificates. Making them takes milliseconds and no reactor."""

    def __init__(self, own: KeyPair, others: Iterable[KeyPair]) -> None:
        """`own` is for whoever asks for no name that another is for. Raises CertificateProblem."""
        session_id = secrets.token_bytes(_SESSION_ID)
        self.default = _context(own, session_id)
        by_name: dict[str, SSL.Context] = dict.fromkeys(own.names, self.default)
        for pair in others:
            fresh = [name for name in pair.names if name not in by_name]
            if fresh:
                by_name |= dict.fromkeys(fresh, _context(pair, session_id))
        self.default.set_tlsext_servername_callback(_chooser(by_name, self.default))


def _context(pair: KeyPair, session_id: bytes) -> SSL.Context:
    context = _options(pair).getContext()
    # Of tickets, OpenSSL compares it whenever it could open one.
    context.set_session_id(session_id)
    return context


def _chooser(by_name: Mapping[str, SSL.Context], default: SSL.Context) -> Any:
    def choose(connection: SSL.Connection) -> None:
        chosen = _chosen(by_name, connection.get_servername())
        if chosen is not None and chosen is not default:
            connection.set_context(chosen)

    return choose


def _chosen(by_name: Mapping[str, SSL.Context], name: bytes | None) -> SSL.Context | None:
    """OpenSSL has refused names that hold NUL or are longer than 255 octets; other octets are just unknown."""
    if not name or not name.isascii() or name.startswith(b"*"):
        return None
    wanted = name.decode("ascii").lower().removesuffix(".")
    # RFC 6125 §6.4.3: the star is one label, the whole of it and the first.
    return by_name.get(wanted) or by_name.get(f"*.{wanted.partition('.')[2]}")


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """The TLS of one listener: a context factory for Twisted, whose certificates can be replaced."""

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts

    def use(self, contexts: Contexts) -> None:
        """For connections from now on."""
        self._contexts = contexts

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """Twisted asks for each connection."""
        return SSL.Connection(self._contexts.default, None)
