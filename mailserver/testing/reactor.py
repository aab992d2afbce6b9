"""A reactor without sockets, threads or waiting: connections are pairs of objects, and time is a number.

:class:`MemoryReactor` offers what our code asks of a reactor: ``callLater``, ``callFromThread``,
``callWhenRunning``, ``connectTCP`` and ``listenTCP``. Nothing happens by itself. :meth:`MemoryReactor.settle`
does all there is to do at this moment, in the order in which it was asked for; :meth:`MemoryReactor.pass_time`
goes from one moment to the next at which something is due, so that five days without an event cost nothing.

What a protocol raises leaves :meth:`~MemoryReactor.settle`: a bug should end the test that found it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError, ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.interfaces import IClock
from mailserver.testing.connection import Connection

# Monday, 5 January 2026, noon UTC: a test that prints a time prints the same one every day.
START = 1_767_614_400.0
# A loop of calls that each ask for the next one at once would go on for ever.
_MOST_CALLS = 1_000_000
_FIRST_PORT = 49_152


@implementer(IReactorTime)
class MemoryReactor(Clock):
    """Also knows who listens where, in a network of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._soon: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._listening: dict[tuple[str, int], _Port] = {}
        self._silent: set[str] = set()
        self._next_port = _FIRST_PORT

    # Calls.

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        """`function` runs when the calls that were asked for before have run."""
        self._soon.append((function, args))

    def callWhenRunning(self, function: Callable[..., Any], *args: Any) -> None:
        """It always runs."""
        self.callFromThread(function, *args)

    def settle(self) -> None:
        """Do all there is to do without time passing."""
        for _ in range(_MOST_CALLS):
            if self._soon:
                function, args = self._soon.popleft()
                function(*args)
            elif self.calls and self.calls[0].getTime() <= self.seconds():
                # One by one: `advance` would go on for ever with a call that asks for the next one at once.
                call = self.calls.pop(0)
                call.called = 1
                call.func(*call.args, **call.kw)
            else:
                return
        raise RuntimeError("calls that ask for further calls, without end")

    def next_call(self) -> float:
        """When the next timer runs out, by :meth:`seconds`; infinity for never."""
        return self.calls[0].getTime() if self.calls else math.inf

    def pass_time(self, until: float) -> None:
        """Go to the moment `until`, by :meth:`seconds`, and do what is due then. None may be due before."""
        self.rightNow = max(self.rightNow, until)
        self.settle()

    # The network.

    def silence(self, host: str, silent: bool = True) -> None:
        """From now on connections to `host` get no answer, as behind a firewall that drops."""
        if silent:
            self._silent.add(host)
        else:
            self._silent.discard(host)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> _Port:
        """Accept connections to that port of `interface`; 0 is a free one."""
        if port == 0:
            port = self._free_port()
        if (interface, port) in self._listening:
            raise CannotListenError(interface, port, OSError("in use"))
        listening = _Port(self, (interface, port), factory)
        self._listening[interface, port] = listening
        return listening

    def _free_port(self) -> int:
        self._next_port += 1
        return self._next_port - 1

    def forget(self, place: tuple[str, int]) -> None:
        """Nobody listens there any more."""
        self._listening.pop(place, None)

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> _Connector:
        """Connect to whoever listens there; refused where nobody does."""
        source = (bindAddress[0] if bindAddress else "192.0.2.200", self._free_port())
        connector = _Connector(self, factory, (host, port), source)
        factory.doStart()
        factory.startedConnecting(connector)
        if host in self._silent:
            connector.timer = self.callLater(timeout, connector.failed, TimeoutError())
        else:
            self.callFromThread(connector.connect)
        return connector

    def accept(
        self, place: tuple[str, int], protocol: Any, source: tuple[str, int],
        prepare: Callable[[Any], None] = lambda session: None,
    ) -> Connection | None:  # fmt: skip
        """Join `protocol` with a new session of whoever listens at `place`; None where nobody does. `prepare` gets
        the session's protocol before it hears of the connection."""
        listening = self._listening.get(place)
        if listening is None:
            return None
        near, far = address_of(*source), address_of(*place)
        session = listening.factory.buildProtocol(near)
        if session is None:
            return None
        prepare(session)
        client, server = Connection(self, protocol, near, far, True), Connection(self, session, far, near, False)
        client.join(server)
        server.begin()
        client.begin()
        return client


class _Connector:
    """An attempt to connect: Twisted's IConnector as far as endpoints use it."""

    def __init__(
        self, reactor: MemoryReactor, factory: Any, place: tuple[str, int], source: tuple[str, int]
    ) -> None:
        self._reactor = reactor
        self._factory = factory
        self._place = place
        self._source = source
        self._over = False
        self.timer: Any = None

    def connect(self) -> None:
        """Try it now."""
        if self._over:
            return
        protocol = self._factory.buildProtocol(address_of(*self._place))
        if protocol is None or self._reactor.accept(self._place, protocol, self._source) is None:
            self.failed(ConnectionRefusedError())
        self._over = True

    def failed(self, error: Exception) -> None:
        """It came to nothing."""
        if not self._over:
            self._over = True
            self._factory.clientConnectionFailed(self, Failure(error))

    def stopConnecting(self) -> None:
        """Nobody waits for it any more."""
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self._over = True

    def getDestination(self) -> Any:
        """Where it goes to."""
        return address_of(*self._place)


@implementer(IListeningPort)
class _Port:
    """A place where somebody listens."""

    def __init__(self, reactor: MemoryReactor, place: tuple[str, int], factory: Any) -> None:
        self._reactor = reactor
        self._place = place
        self.factory = factory

    def startListening(self) -> None:
        """It does."""

    def stopListening(self) -> Deferred[None]:
        """Connections go on."""
        self._reactor.forget(self._place)
        return succeed(None)

    def getHost(self) -> Any:
        """Its address."""
        return address_of(*self._place)


def address_of(host: str, port: int) -> IPv4Address | IPv6Address:
    """As Twisted has it."""
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


@implementer(IClock)
class VirtualClock:
    """Both clocks by the time of a :class:`MemoryReactor`."""

    def __init__(self, reactor: MemoryReactor, start: float = START) -> None:
        self._reactor = reactor
        self._start = start

    def wall(self) -> float:
        """See `IClock`."""
        return self._start + self._reactor.seconds()

    def monotonic(self) -> float:
        """See `IClock`."""
        return float(self._reactor.seconds())
