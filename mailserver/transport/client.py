"""The sending API: ``Client("smtp.example.org:587", login=Login(…))``, and then ``await client.send(…)``.

A client speaks to one server, by SMTP (RFC 5321, RFC 6409) or LMTP (RFC 2033), over any stream endpoint of
Twisted. It keeps its connections for the next message and opens at most ``options.connections`` at a time; further
messages wait their turn. :meth:`Client.send` answers a :class:`Sent` with one outcome for each recipient when at
least one of them was taken; when none was it raises what is drawn in :mod:`mailserver.transport.failures`, which
names the cause. Nothing is stored and nothing is tried again: mail that must survive a crash goes by the outbox.

TLS is a policy by name:

=============== ==============================================================================================
``required``    the default: a good certificate for the server's name, or nothing is sent
``pinned``      the certificate is one of ``pins``, whoever signed it, or nothing is sent
``offered``     as ``required`` where the server offers TLS, in clear where it does not (as ``sendmail``)
``opportunistic`` encrypted where it can be, whatever the certificate, else in clear
``off``         in clear
=============== ==============================================================================================

A login is sent only over verified or pinned TLS, unless it says ``unprotected=True`` itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from twisted.internet.defer import Deferred, DeferredSemaphore

from mailserver.message.content import Content
from mailserver.message.outcome import Klass, Outcome
from mailserver.message.route import Attempt, Route
from mailserver.net.client import ClientSession, Connector
from mailserver.net.tls import ClientContexts
from mailserver.threads import of_reactor
from mailserver.transport.clientoptions import (
    ClientOptions,
    LoginSource,
    Server,
    installed_reactor,
    peer_of,
    plan_of,
)
from mailserver.transport.failures import Address, failure_of
from mailserver.transport.given import Letter, Octets, letter
from mailserver.transport.pool import SessionPool


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that at least one recipient got. ``outcomes``: for each recipient as given, what became of it."""

    outcomes: Mapping[Address, Outcome]

    @property
    def refused(self) -> dict[Address, Outcome]:
        """Those who did not get it; empty when all is well."""
        return {each: outcome for each, outcome in self.outcomes.items() if outcome.klass is not Klass.SUCCESS}

    @property
    def reply(self) -> str:
        """The server's reply to the content, with its code."""
        taken = (outcome for outcome in self.outcomes.values() if outcome.klass is Klass.SUCCESS)
        return next(taken).remote_reply or ""


class Client:
    """Sends messages to one `server`: ``"host:port"``, a HostPort, or any IStreamClientEndpoint.

    `tls` and `pins` (SHA-256 of certificates, in hexadecimal) are described above. `login` is a Login, or a
    function that answers one (or an awaitable of it) for each new connection, which suits tokens that expire.
    ValueError says what does not fit together. Use it as ``async with``, or end it with :meth:`close`.
    """

    def __init__(
        self,
        server: Server,
        *,
        tls: str = "required",
        pins: Iterable[str] = (),
        login: LoginSource | None = None,
        options: ClientOptions | None = None,
    ) -> None:
        options = options or ClientOptions()
        reactor = options.reactor or installed_reactor()
        self._peer = peer_of(server, options)
        self._plan = plan_of(self._peer, tls, pins, options)
        self._login = login
        self._ca_file = options.ca_file
        threads: Any = options.threads or of_reactor(reactor)
        self._threads = threads
        self._connector = Connector(
            reactor, threads, ClientContexts(), options.connect_timeout, options.bind_address
        )
        self._pool = SessionPool(reactor, options.reuse, options.connections)
        self._connections = options.connections
        self._slots = DeferredSemaphore(options.connections)
        self._closing: Deferred[None] | None = None

    async def send(self, content: Octets, *, sender: Address, recipients: Address | Iterable[Address]) -> Sent:
        """Send one message. `content`: bytes, an iterable of bytes, a Content, or a message of package ``email``.

        `sender` is the reverse-path, ``""`` for the null one. Raises SendFailed (one of its children) when nobody
        took it, AddressError for what is no address, RuntimeError after :meth:`close`. Cancelling a Deferred made
        of it cuts the connection.
        """
        message = letter(content, sender, recipients)
        if await self._needs_smtputf8(message.content):
            message = replace(message, envelope=replace(message.envelope, smtputf8=True))
        outcomes = await self.outcomes(message)
        if all(outcome.klass is not Klass.SUCCESS for outcome in outcomes.values()):
            raise failure_of(outcomes)
        return Sent(outcomes)

    async def outcomes(self, message: Letter) -> Mapping[Address, Outcome]:
        """The same for a message that is a value already; what the server does is never raised."""
        if self._closing is not None:
            raise RuntimeError("this client is closed")
        route = Route("smtp", str(self._peer))
        attempt = Attempt("", message.envelope, message.forward_paths, message.content, route, 0.0)
        await self._slots.acquire()
        try:
            outcomes = await self._pool.send("", attempt, self._connect)
        finally:
            self._slots.release()
        return {address: outcomes[recipient] for address, recipient in message.recipients.items()}

    async def close(self) -> None:
        """End in good order: messages under way are sent first. Returns when the connections are gone."""
        if self._closing is None:
            self._closing = Deferred.fromCoroutine(self._close())
        await _copy_of(self._closing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _close(self) -> None:
        # Turns are taken in order: with the last slot in hand nothing is under way any more.
        for _ in range(self._connections):
            await self._slots.acquire()
        await self._pool.stop()

    async def _needs_smtputf8(self, content: Content) -> bool:
        if self._plan.any_octets:
            return False
        header = content.header() if content.file is None else await self._threads("disk", content.header)
        return not header.isascii()

    async def _connect(self) -> ClientSession | Outcome:
        login = self._login() if callable(self._login) else self._login
        if isinstance(login, Awaitable):
            login = await login
        return await self._connector.connect(self._peer, replace(self._plan, login=login), self._ca_file)


def _copy_of(done: Deferred[None]) -> Deferred[None]:
    """A Deferred of its own for each who waits: what one of them does with it is nobody else's matter."""
    copy: Deferred[None] = Deferred()

    def tell(result: Any) -> Any:
        copy.callback(None)
        return result

    done.addBoth(tell)
    return copy
