"""Where a recipient goes: the local account, a static route, the smart host, or the MX of its domain.

The first that applies, in this order. An explicit static route is its owner's word, so it also works while
``relay.outgoing`` is ``hold``; everything else that would leave this host is held then. A local name that
does not resolve any more is an outcome, not a route: it fails with a report to the sender.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Any

from zope.interface import implementer

from mailserver.interfaces import IDirectory, IRouter
from mailserver.message.envelope import Envelope, Recipient
from mailserver.message.outcome import Outcome, permanent
from mailserver.message.resolution import Found, Resolution
from mailserver.message.route import Route, TlsPolicy
from mailserver.settings.forms import UNIX
from mailserver.settings.model import Settings
from mailserver.smtp.address import Domain, Mailbox
from mailserver.smtp.status import Status

HOLD_REASON = "outgoing mail is on hold (relay.outgoing)"
LOCAL = Route("local", "local")


@implementer(IRouter)
class Routers:
    """Several routers as one: each is asked in its order, until one has an answer that is not None."""

    def __init__(self, routers: Sequence[IRouter]) -> None:
        self._routers = tuple(routers)

    def route(self, recipient: Recipient, envelope: Envelope) -> Any:
        """The first answer. What a router raises is for the caller, and makes the recipient wait."""
        for number, router in enumerate(self._routers):
            found: Any = router.route(recipient, envelope)
            if found is not None and not isinstance(found, (Route, Outcome)):
                return self._later(number, found, recipient, envelope)
            if found is not None:
                return found
        return None

    async def _later(self, number: int, found: Awaitable[Any], recipient: Recipient, envelope: Envelope) -> Any:
        answer = await found
        if answer is not None:
            return answer
        rest = Routers(self._routers[number + 1 :]).route(recipient, envelope)
        return rest if rest is None or isinstance(rest, (Route, Outcome)) else await rest


@implementer(IRouter)
class Router:
    """Routes by the settings and the directory it is given."""

    def __init__(self, settings: Settings, directory: IDirectory) -> None:
        self._settings = settings
        self._directory = directory
        transport = settings.accounts.transport
        self._local = LOCAL if transport == LOCAL.transport else replace(LOCAL, transport=transport)

    def route(self, recipient: Recipient, envelope: Envelope) -> Route | Outcome | Awaitable[Route | Outcome]:
        """The route of `recipient`, or the permanent outcome of a local name that nobody has."""
        found: Any = self._directory.resolve(recipient.mailbox)
        if isinstance(found, Resolution):
            return self._decide(found, recipient.mailbox)
        return self._later(found, recipient.mailbox)

    async def _later(self, found: Awaitable[Resolution], mailbox: Mailbox) -> Route | Outcome:
        return self._decide(await found, mailbox)

    def _decide(self, resolution: Resolution, mailbox: Mailbox) -> Route | Outcome:
        if resolution.found is Found.ACCOUNT:
            # A transport goes by the name: user+detail has no Maildir of its own.
            local = self._local
            return local if resolution.mailbox == mailbox else replace(local, mailbox=resolution.mailbox)
        if resolution.found is Found.ELSEWHERE and mailbox.domain is not None:
            return self._outgoing(mailbox.domain)
        if resolution.found is Found.ALIAS:
            text = "the alias leads back to itself, through too many others, or was made after the message came"
            return permanent(text, Status(5, 4, 6))
        return permanent("no such address here", Status(5, 1, 1))

    def _outgoing(self, domain: Domain) -> Route:
        relay = self._settings.relay
        static = self._settings.route_for(domain)
        if static is not None:
            destination = self._place(static.host) if static.host else domain.name
            return Route(static.transport, destination, TlsPolicy(static.tls, static.ca_file))
        hold = HOLD_REASON if relay.outgoing == "hold" else ""
        if relay.smart_host:
            tls = TlsPolicy(relay.smart_host_tls, relay.smart_host_ca_file)
            return Route("smtp", bracketed(relay.smart_host), tls, hold=hold)
        return Route("smtp", domain.name, hold=hold)

    def _place(self, host: str) -> str:
        if host.startswith(UNIX):
            return f"{UNIX}{self._settings.path(host[len(UNIX) :])}"
        return bracketed(host)


def bracketed(host_port: str) -> str:
    """``relay.example:25`` as a destination that is not looked up in MX: ``[relay.example]:25``."""
    if host_port.startswith("["):
        return host_port
    host, _, port = host_port.rpartition(":")
    return f"[{host}]:{port}"
