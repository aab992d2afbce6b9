"""How a :class:`~mailserver.transport.client.Client` connects: its options, and what they come to.

:func:`peer_of` says where to, :func:`plan_of` how the session is held. What does not fit together raises
ValueError with a sentence that says what to do, before anything is connected.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from mailserver.net.client import Peer
from mailserver.net.tls import parse_pin
from mailserver.settings.forms import HOST_PORT, HostPort
from mailserver.smtp.plan import ClientTimeouts, Login, SessionPlan

# RFC 8314 §3.3: the one port where TLS comes before the greeting.
IMPLICIT_TLS_PORT = 465
# The name of a policy, and how a session plan says it.
_MODES: Mapping[str, str] = MappingProxyType(
    {
        "off": "off",
        "opportunistic": "opportunistic",
        "offered": "offered",
        "required": "verified",
        "pinned": "pinned",
    }
)
# What errors call a server that is an endpoint without a name.
NAMELESS = "the server"


class Endpoint(Protocol):
    """What is used of twisted.internet.interfaces.IStreamClientEndpoint."""

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """A Deferred that fires with the connected protocol."""


Server = str | HostPort | Endpoint
LoginSource = Login | Callable[[], Login | Awaitable[Login]]


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How a :class:`Client` connects. Times in seconds.

    ``helo_name``: our name in EHLO, "" for this machine's. ``server_name``: the name in the server's certificate
    and in errors, "" for the host of ``"host:port"``; an endpoint has none of its own. ``ca_file``: a PEM file of
    the authorities that are trusted instead of the system's. ``implicit_tls``: TLS before the greeting; None means
    on port 465. ``lmtp``: the server is spoken to in LMTP (RFC 2033); each recipient has an answer of his own.
    ``chunking``: small messages go in one round trip by BDAT where the server offers CHUNKING (RFC 3030), else by
    DATA. ``any_octets``: those above 127 go to a server without 8BITMIME, too. ``connections`` at most at a time,
    ``reuse`` messages over each. ``bind_address`` "" lets the system choose. ``reactor`` None is the installed
    one; ``threads`` (IThreads), where contents in files are read, None is the reactor's own pool.
    """

    helo_name: str = ""
    server_name: str = ""
    ca_file: str = ""
    implicit_tls: bool | None = None
    lmtp: bool = False
    chunking: bool = True
    any_octets: bool = False
    connections: int = 4
    reuse: int = 100
    connect_timeout: float = 30
    timeouts: ClientTimeouts = field(default_factory=ClientTimeouts)
    bind_address: str = ""
    reactor: Any = None
    threads: Any = None


def peer_of(server: Server, options: ClientOptions) -> Peer:
    """Where to connect to. Raises ValueError."""
    if isinstance(server, str):
        server = _host_port(server)
    if not isinstance(server, HostPort):
        return Peer(options.server_name or NAMELESS, "", 0, server)
    address = server.host if _is_address(server.host) else ""
    return Peer(options.server_name or server.host, address, server.port)


def plan_of(peer: Peer, tls: str, pins: Iterable[str], options: ClientOptions) -> SessionPlan:
    """How sessions with `peer` are held, but for the login. Raises ValueError."""
    if tls not in _MODES:
        raise ValueError(f"tls: {tls!r} is none of {', '.join(_MODES)}")
    if tls != "off" and peer.host == NAMELESS:
        raise ValueError("an endpoint has no name of its own: options.server_name says whose certificate is good")
    pinned = frozenset(map(parse_pin, [pins] if isinstance(pins, str) else pins))
    if bool(pinned) is not (tls == "pinned"):
        raise ValueError('pins are given with tls="pinned", and only there')
    implicit = peer.port == IMPLICIT_TLS_PORT if options.implicit_tls is None else options.implicit_tls
    if implicit and tls == "off":
        raise ValueError('tls="off" does not go with a port where TLS comes before the greeting')
    return SessionPlan(
        options.helo_name or own_name(),
        _MODES[tls],
        timeouts=options.timeouts,
        implicit_tls=implicit,
        pins=pinned,
        chunking=options.chunking,
        lmtp=options.lmtp,
        any_octets=options.any_octets,
    )


def own_name() -> str:
    """This machine's name for EHLO, without asking DNS; an address literal where it has none (RFC 5321 §4.1.4)."""
    name = socket.gethostname()
    return name if "." in name and name.isascii() else "[127.0.0.1]"


def installed_reactor() -> Any:
    """The reactor of the process. Importing it installs one, so that is not done before it is needed."""
    from twisted.internet import reactor  # noqa: PLC0415

    return reactor


def _host_port(text: str) -> HostPort:
    try:
        found = HOST_PORT.parse(text)
    except ValueError:
        raise ValueError(f"{text!r} is no server to send to: {HOST_PORT.allowed}") from None
    assert isinstance(found, HostPort)
    return found


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
