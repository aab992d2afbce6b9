"""Listening sockets: from ``ADDRESS:PORT`` to something that Twisted can adopt.

:func:`bind` makes the sockets of one listening address, bound and not yet listening, so that binding (which
may need root) and accepting are two steps; the caller listens and hands them to ``adoptStreamPort``.
:func:`try_bind` finds out before a start whether that will work, and keeps nothing. Names are looked up by
the system, at start, and every address of a name is bound. ``*`` is every address of the machine, in two
sockets, one for each family: one socket for both would show IPv4 clients as ``::ffff:192.0.2.1``.

:func:`accept` does all of it for one listener. A reactor that adopts no sockets, such as the one in memory of the
test kit, is asked to listen itself.

What fails leaves as :class:`BindProblem`, one sentence that says what to do.

When the process runs out of descriptors, accepting is Twisted's business and needs nothing here: it keeps one
descriptor in reserve, closes with it whatever is waiting, logs that, and does not spin (seen in 26.10:
``twisted.internet.tcp._accept``; CVE class: denial of service by EMFILE).
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Sequence
from typing import Any

from mailserver.interfaces import MailServerError
from mailserver.settings.forms import HostPort

# Connections that wait to be accepted.
BACKLOG = 511


class BindProblem(MailServerError):
    """The address cannot be listened on; ``str()`` says why and what to do."""


def bind(address: HostPort, setting: str = "listen") -> list[socket.socket]:
    """Bound sockets for `address`, not blocking and not inherited. Raises BindProblem, and keeps none then.

    `setting` is the name to be changed if it fails (``listeners.mx.listen``).
    """
    bound: list[socket.socket] = []
    try:
        for family, place in _places(address, setting):
            try:
                bound.append(_bound(family, place))
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT and address.host == "*" and family == socket.AF_INET6:
                    continue  # a machine without IPv6
                raise BindProblem(_sentence(HostPort(place[0], place[1]), setting, error)) from error
    except BindProblem:
        for each in bound:
            each.close()
        raise
    return bound


def accept(reactor: Any, addresses: Iterable[HostPort], setting: str, factory: Any) -> list[Any]:
    """Listen on all `addresses` with `factory`; answers the ports. Raises BindProblem before any of them takes
    a connection."""
    if not hasattr(reactor, "adoptStreamPort"):
        return [reactor.listenTCP(each.port, factory, BACKLOG, each.host) for each in addresses]
    bound: list[socket.socket] = []
    ports = []
    try:
        for address in addresses:
            bound += bind(address, setting)
        for one in bound:
            one.listen(BACKLOG)
            ports.append(reactor.adoptStreamPort(one.fileno(), one.family, factory))
    finally:
        for one in bound:
            one.close()
    return ports


def _places(address: HostPort, setting: str) -> Sequence[tuple[socket.AddressFamily, tuple[str, int]]]:
    if address.host == "*":
        return [(socket.AF_INET, ("0.0.0.0", address.port)), (socket.AF_INET6, ("::", address.port))]  # noqa: S104 - asked for
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise BindProblem(
            f"{address.host} is not a name of this machine: name one of its addresses in {setting}"
        ) from None
    return list(dict.fromkeys((family, (str(place[0]), address.port)) for family, _, _, _, place in found))


def _bound(family: socket.AddressFamily, place: tuple[str, int]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        # A port whose last connections are in TIME_WAIT may be taken at once; one that listens may not.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(place)
    except OSError:
        made.close()
        raise
    return made


def _sentence(address: HostPort, setting: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{address} is in use by another program: stop it or change {setting}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"{address} needs a privilege: ports below 1024 belong to root, or to a program with "
            f"CAP_NET_BIND_SERVICE; start as root with a user to change to, or change {setting}"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address.host} is not an address of this machine: change {setting}"
    return f"{address} cannot be listened on ({os.strerror(error.errno or 0)}): change {setting}"


def try_bind(addresses: Iterable[tuple[HostPort, str]]) -> list[str]:
    """One sentence for each of the (address, setting) pairs that cannot be listened on now."""
    problems = []
    held: list[socket.socket] = []
    try:
        for address, setting in addresses:
            try:
                held += bind(address, setting)
            except BindProblem as problem:
                problems.append(str(problem))
                continue
    finally:
        for each in held:
            each.close()
    return problems
