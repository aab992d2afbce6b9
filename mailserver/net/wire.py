"""A socket under a client core: octets in both directions, deadlines, TLS, back-pressure.

:class:`Wire` feeds a :class:`~mailserver.smtp.client.ClientCore` and does what it says; whoever holds the wire
takes the events that are for him from :meth:`Wire.next`. A deadline runs for each wait of the core and starts
again only with progress: octets that do not make up a reply keep no connection alive.

A session that ended in good order is closed when everything is written, one that did not is cut at once.
Nothing is raised; why a connection ended is in words in the core's last answer.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener, IPushProducer, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.net.tls import CertificateRefused, pin_problem
from mailserver.smtp.client import ClientCore
from mailserver.smtp.plan import Ended, Event, StartTls

# A connection that should close by itself and does not is cut after so many seconds.
LINGER = 5


@implementer(IHandshakeListener, IPushProducer)
class Wire(Protocol):
    """Joins a core and a transport: octets, deadlines, back-pressure, and the events for the session.

    `creator` is what TLS is started with; `verified` says whether it checks the certificate. A transport that has
    TLS of its own, by the options of whoever made the endpoint, is taken as it is; pins are compared on it, too.
    """

    transport: Any

    def __init__(self, reactor: Any, core: ClientCore, creator: Any, verified: bool) -> None:
        self.core = core
        self.ended: Ended | None = None
        self._reactor = reactor
        self._creator = creator
        self._verified = verified
        self._events: deque[Event] = deque()
        self._waiter: Deferred[Event] | None = None
        self._deadline: Any = None
        self._armed: object = None
        self._resumed: Deferred[None] | None = None
        self._leavers: list[Deferred[None]] = []
        self._connected = False

    # What the reactor calls.

    def connectionMade(self) -> None:
        self._connected = True
        # A UNIX socket and other people's transports have no Nagle's algorithm.
        with suppress(AttributeError, OSError):
            self.transport.setTcpNoDelay(True)
        if ISSLTransport.providedBy(self.transport):
            self.core.tls_begun()
        elif self.core.plan.implicit_tls:
            self.transport.startTLS(self._creator)
            self.core.tls_begun()
        self.turn()

    def dataReceived(self, data: bytes) -> None:
        self.core.receive(data)
        self.turn()

    def handshakeCompleted(self) -> None:
        problem = ""
        if self.core.plan.tls == "pinned":
            problem = pin_problem(self.transport.getPeerCertificate(), self.core.plan.pins)
        if problem:
            self.core.connection_lost(f"the certificate is refused: {problem}")
        else:
            self.core.tls_established(self._verified)
        self.turn()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._connected = False
        self.core.connection_lost(_why(reason))
        self.resumeProducing()
        self.turn()
        self._disarm()
        leavers, self._leavers = self._leavers, []
        for leaver in leavers:
            leaver.callback(None)

    def pauseProducing(self) -> None:
        if self._resumed is None:
            self._resumed = Deferred()

    def resumeProducing(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.callback(None)

    def stopProducing(self) -> None:
        """The connection is about to be lost, and :meth:`connectionLost` says so."""

    # What the session calls.

    def turn(self) -> None:
        """Carry out what the core has decided: its events, its octets, its deadline."""
        while (event := self.core.next_event()) is not None:
            if isinstance(event, StartTls):
                self.transport.startTLS(self._creator)
                continue
            if isinstance(event, Ended):
                self._close(event)
            self._tell(event)
        data = self.core.data_to_send()
        if data and self._connected:
            self.transport.write(data)
        self._arm()

    def next(self) -> Deferred[Event]:
        """The next event that is for the session."""
        if self._events:
            return succeed(self._events.popleft())
        self._waiter = Deferred()
        return self._waiter

    def room(self) -> Deferred[None] | None:
        """None when there is room for more octets, else what to wait for."""
        return self._resumed

    def closed(self) -> Deferred[None]:
        """Fires when the connection is gone."""
        if not self._connected:
            return succeed(None)
        self._leavers.append(Deferred())
        return self._leavers[-1]

    # The rest.

    def _tell(self, event: Event) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None:
            self._events.append(event)
        else:
            waiter.callback(event)

    def _close(self, event: Ended) -> None:
        self.ended = event
        # The core waits for nothing any more, so the deadline is free for the end of the connection.
        self._disarm()
        self.resumeProducing()
        if not self._connected:
            return
        if event.answer is not None and event.answer.reply is None:
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()
            self._deadline = self._reactor.callLater(LINGER, self._cut)

    def _cut(self) -> None:
        self._deadline = None
        self.transport.abortConnection()

    def _arm(self) -> None:
        """(Re)start the deadline if the core waits for something else than before."""
        if self.ended:
            return
        waiting = self.core.waiting_for
        mark = waiting and (self.core.progress, waiting[0])
        if waiting is None:
            self._disarm()
        elif mark != self._armed:
            self._armed = mark
            if self._deadline is None:
                self._deadline = self._reactor.callLater(waiting[1], self._expire)
            else:
                self._deadline.reset(waiting[1])

    def _disarm(self) -> None:
        self._armed = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = self._armed = None
        self.core.timed_out()
        self.turn()


def _why(reason: Failure) -> str:
    error = reason.value
    if isinstance(error, CertificateRefused):
        return str(error)
    if isinstance(error, SSL.Error):
        # Raised by pyOpenSSL with a list of (library, function, reason).
        reasons = [entry[-1] for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []
        return ", ".join(reasons) or "TLS failed"
    if isinstance(error, ConnectionDone):
        return "the host closed the connection"
    if isinstance(error, ConnectionLost):
        return "the connection was lost"
    return str(error)
