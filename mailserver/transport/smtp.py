"""The relay transport: mail for other hosts, by SMTP (RFC 5321 §5.1), or for mailbox servers, by LMTP (RFC 2033).

:class:`SmtpTransport` finds the hosts of a destination, tries their addresses in order, and answers one outcome
for each recipient. The next address is tried for those recipients for whom the trouble was this host's (no
connection, 421, a refusing greeting, TLS that policy demands); a decision about a recipient or the message
stands. A connection lost after the final dot is not followed by another host: the peer may have the message,
and the same message twice is worse than the same message later.

TLS is the policy of the route. A login belongs to a destination and is sent nowhere else, and only over verified
TLS unless it says otherwise. Sessions are kept for the next message (:mod:`mailserver.transport.pool`).

:meth:`SmtpTransport.deliver` never raises; what goes wrong in here is a transient outcome that says so.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailserver.interfaces import IResolver, IThreads, ITransport
from mailserver.log import Log
from mailserver.message.envelope import Recipient
from mailserver.message.outcome import Klass, Outcome, Scope, surprise, transient
from mailserver.message.route import Attempt, Route
from mailserver.net.client import Connector, Peer
from mailserver.net.tls import ClientContexts
from mailserver.settings.model import Settings
from mailserver.smtp.plan import ClientTimeouts, SessionPlan
from mailserver.smtp.status import Status
from mailserver.transport.hosts import HostFinder, HostRules
from mailserver.transport.login import LoginProblem, SmartHostLogin
from mailserver.transport.pool import SessionPool


@implementer(ITransport)
class SmtpTransport:
    """Relays as `settings` say, by SMTP or by `lmtp`. :meth:`close` ends the sessions that are kept."""

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        resolver: IResolver,
        threads: IThreads,
        log: Log,
        *,
        lmtp: bool = False,
    ) -> None:
        relay = settings.relay
        self._settings = settings
        self._log = log
        self._plan = SessionPlan(
            relay.helo_name or settings.host_name,
            timeouts=client_timeouts(settings),
            chunking=relay.chunking,
            lmtp=lmtp,
        )
        self._login = SmartHostLogin(settings)
        rules = HostRules(settings.host_name, relay.port, relay.ip_preference, relay.bind_address)
        self._finder = HostFinder(resolver, rules, random.SystemRandom())
        self._connector = Connector(
            reactor, threads, ClientContexts(), settings.timeouts.connect, relay.bind_address
        )
        self._pool = SessionPool(reactor, relay.connection_reuse, relay.total_concurrency)

    async def deliver(self, attempt: Attempt) -> Mapping[Recipient, Outcome]:
        """See :class:`~mailserver.interfaces.ITransport`."""
        try:
            return await self._deliver(attempt)
        except LoginProblem as problem:
            refused = transient(str(problem), Status(4, 7, 0), Scope.DESTINATION)
            return dict.fromkeys(attempt.recipients, refused)
        except Exception as error:
            self._log.failure("relaying failed", error, queue=attempt.queue_id)
            return dict.fromkeys(attempt.recipients, surprise(f"{type(error).__name__}: {error}"))

    def close(self) -> Deferred[None]:
        """Close the sessions that wait for a next message; fires when they are gone."""
        return self._pool.stop()

    async def _deliver(self, attempt: Attempt) -> Mapping[Recipient, Outcome]:
        peers = await self._finder.find(attempt.route.destination)
        if isinstance(peers, Outcome):
            return dict.fromkeys(attempt.recipients, peers)
        settled: dict[Recipient, Outcome] = {}
        for peer in peers:
            tried = await self._try(attempt, peer)
            for recipient, outcome in tried.items():
                settled[recipient] = _worth_keeping(settled.get(recipient), outcome)
            left = tuple(recipient for recipient in attempt.recipients if _elsewhere(tried.get(recipient)))
            if not left:
                break
            attempt = replace(attempt, recipients=left)
        return settled

    async def _try(self, attempt: Attempt, peer: Peer) -> Mapping[Recipient, Outcome]:
        plan, key = self._way(attempt.route, peer)
        ca_file = attempt.route.tls.ca_file
        ca_path = ca_file and str(self._settings.path(ca_file))
        return await self._pool.send(key, attempt, lambda: self._connector.connect(peer, plan, ca_path))

    def _way(self, route: Route, peer: Peer) -> tuple[SessionPlan, Hashable]:
        plan = replace(self._plan, tls=route.tls.mode, login=self._login(route.destination))
        return plan, (peer, route.tls, plan.login)


def client_timeouts(settings: Settings) -> ClientTimeouts:
    """``[timeouts]`` as the client core takes them."""
    given = settings.timeouts
    return ClientTimeouts(
        given.client_greeting,
        given.client_command,
        given.client_data_start,
        given.client_data_block,
        given.client_data_end,
    )


def _elsewhere(outcome: Outcome | None) -> bool:
    """Whether another host may do better."""
    return outcome is not None and outcome.about_host


def _worth_keeping(before: Outcome | None, now: Outcome) -> Outcome:
    """Of two hosts the later one's word counts, but a "never" of one does not outweigh a "not now" of another."""
    if before is not None and before.klass is Klass.TRANSIENT and now.klass is Klass.PERMANENT and now.about_host:
        return before
    return now
