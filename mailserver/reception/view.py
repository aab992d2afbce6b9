"""What an application sees of a session: ``user.protocol``.

It is a small view, and not the engine. It offers what deliveries have always read from the protocol of
``twisted.mail.smtp``: ``transport.getPeer()``, ``transport.getHost()``, ``transport.getPeerCertificate()``,
``factory``, ``portal``, ``host``, ``delivery``, ``authenticated`` and ``startedTLS``. There is one for each
session, so that an application may leave notes of its own on it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address

from mailserver.reception.login import Login
from mailserver.smtp.xclient import StatedClient


class TransportView:
    """The addresses of a connection, and its certificate; nothing can be written through it."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def getPeer(self) -> Any:
        """The client's address; behind a proxy, that of the client which the proxy stated."""
        return self._protocol.stated_peer or self._protocol.transport.getPeer()

    def getHost(self) -> Any:
        """The address it connected to; behind a proxy, at the proxy."""
        return self._protocol.stated_host or self._protocol.transport.getHost()

    def getPeerCertificate(self) -> Any:
        """The client's certificate; None without TLS, and where the client showed none."""
        get = getattr(self._protocol.transport, "getPeerCertificate", None)
        return None if get is None else get()


class SessionView:
    """``delivery`` is the one of the transaction, ``startedTLS`` whether the client asked for STARTTLS."""

    def __init__(self, protocol: Any, factory: Any, portal: Any, host: bytes, login: Login) -> None:
        self.transport = TransportView(protocol)
        self.factory = factory
        self.portal = portal
        self.host = host
        self.delivery: Any = None
        self.startedTLS = False
        self._login = login

    @property
    def authenticated(self) -> bool:
        """Whether the client has logged in with AUTH."""
        return self._login.authenticated


def state(protocol: Any, client: StatedClient) -> None:
    """What XCLIENT named is what the view shows; what it did not name stays."""
    view = TransportView(protocol)
    if client.address is not None or client.port is not None:
        before = view.getPeer()
        port = before.port if client.port is None else client.port
        protocol.stated_peer = address_of(client.address or before.host, port)
    if client.destination is not None or client.destination_port is not None:
        before = view.getHost()
        port = before.port if client.destination_port is None else client.destination_port
        protocol.stated_host = address_of(client.destination or before.host, port)


def address_of(host: str, port: int) -> Any:
    """The Twisted address of an IP address and a port."""
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)


def host_of(address: Any) -> str:
    """The IP address in a Twisted address; the address itself, as text, where it has none (a UNIX socket)."""
    return str(getattr(address, "host", address))
