"""Binding, and the sentences for what cannot be bound."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from mailserver.net.listener import BindProblem, _sentence, accept, bind, try_bind
from mailserver.settings.forms import HostPort


@pytest.fixture
def taken() -> Iterator[HostPort]:
    """An address on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield HostPort("127.0.0.1", server.getsockname()[1])


@pytest.mark.parametrize(("text", "family"), [("127.0.0.1:0", socket.AF_INET), ("[::1]:0", socket.AF_INET6)])
def test_bound_and_ready_to_listen(text: str, family: socket.AddressFamily) -> None:
    (bound,) = bind(HostPort.parse(text))
    with bound:
        assert bound.family == family
        assert not bound.getblocking()
        assert not bound.get_inheritable()
        bound.listen()
        with socket.create_connection(bound.getsockname()[:2]):
            pass


def test_every_address_is_a_socket_for_each_family() -> None:
    bound = bind(HostPort("*", 0))
    try:
        assert [each.family for each in bound] == [socket.AF_INET, socket.AF_INET6]
        assert bound[1].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    finally:
        for each in bound:
            each.close()


def test_a_name_is_looked_up() -> None:
    bound = bind(HostPort("localhost", 0))
    try:
        assert {each.getsockname()[0] for each in bound} <= {"127.0.0.1", "::1"}
        assert bound
    finally:
        for each in bound:
            each.close()


def test_in_use(taken: HostPort) -> None:
    with pytest.raises(BindProblem) as problem:
        bind(taken, "listeners.mx.listen")
    assert str(problem.value) == f"{taken} is in use by another program: stop it or change listeners.mx.listen"


def test_half_a_wildcard_is_none(taken: HostPort) -> None:
    with pytest.raises(BindProblem, match="in use"):
        bind(HostPort("*", taken.port))
    # The IPv6 half is free again.
    for each in bind(HostPort("::1", taken.port)):
        each.close()


def test_an_address_of_another_machine() -> None:
    with pytest.raises(BindProblem, match=r"192\.0\.2\.1 is not an address of this machine: change listen"):
        bind(HostPort("192.0.2.1", 2525))


def test_a_name_of_nobody() -> None:
    with pytest.raises(BindProblem, match="is not a name of this machine"):
        bind(HostPort("absent.invalid", 2525))


def test_a_privileged_port() -> None:
    text = _sentence(HostPort("127.0.0.1", 25), "listeners.mx.listen", PermissionError(errno.EACCES, "x"))
    assert text.startswith("127.0.0.1:25 needs a privilege")
    assert text.endswith("or change listeners.mx.listen")


def test_try_bind_says_all_and_keeps_nothing(taken: HostPort) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = HostPort("127.0.0.1", server.getsockname()[1])
    wrong = HostPort("192.0.2.1", 2525)
    problems = try_bind(
        [(taken, "listeners.a.listen"), (free, "listeners.b.listen"), (wrong, "listeners.c.listen")]
    )
    assert len(problems) == 2
    assert "listeners.a.listen" in problems[0]
    assert "listeners.c.listen" in problems[1]
    (again,) = bind(free)
    again.close()


class Adopting:
    """A reactor with real sockets, as far as listening goes."""

    def __init__(self) -> None:
        self.adopted: list[tuple[str, int]] = []

    def adoptStreamPort(self, descriptor: int, family: int, factory: object) -> object:
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            assert copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            self.adopted.append(copy.getsockname())
        return factory


def test_all_addresses_of_a_listener_are_accepted_on() -> None:
    reactor = Adopting()
    assert accept(reactor, [HostPort("127.0.0.1", 0)] * 2, "listen", "factory") == ["factory"] * 2
    assert len({port for _, port in reactor.adopted}) == 2


def test_none_is_when_one_cannot_be_bound(taken: HostPort) -> None:
    reactor = Adopting()
    with pytest.raises(BindProblem):
        accept(reactor, [HostPort("127.0.0.1", 0), taken], "listen", None)
    assert reactor.adopted == []


def test_a_reactor_that_adopts_no_sockets_listens_itself() -> None:
    from mailserver.testing.reactor import MemoryReactor

    (port,) = accept(MemoryReactor(), [HostPort("192.0.2.1", 25)], "listen", None)
    assert (port.getHost().host, port.getHost().port) == ("192.0.2.1", 25)
