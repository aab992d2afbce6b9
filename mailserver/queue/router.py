"""Where a recipient goes: the local account, a static route, the smart host, or the MX of its domain.

The first that applies, in this order. An explicit static route is its owner's word, so it also works while
``relay.outgoing`` is ``hold``; everything else that would leave this host is held then. A local name that
does not resolve any more is an outcome, not a route: it fails with a report to the sender.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

from zope.interface import implementer

from mailserver.interfaces import IDirectory, IRouter
from mailserver.message.envelope import Envelope, Recipient
from mailserver.message.outcome import Outcome, permanent
from mailserver.message.resolution import Found, Resolution
from mailserver.message.route import Route, TlsPolicy
from mailserver.settings.model import Settings
from mailserver.smtp.address import Domain, Mailbox
from mailserver.smtp.status import Status

HOLD_REASON = "outgoing mail is on hold (relay.outgoing)"
LOCAL = Route("local", "local")


@implementer(IRouter)
class Router:
    """Routes by the settings and the directory it is given."""

    def __init__(self, settings: Settings, directory: IDirectory) -> None:
        self._settings = settings
        self._directory = directory

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
            return LOCAL if resolution.mailbox == mailbox else replace(LOCAL, mailbox=resolution.mailbox)
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
            return Route("smtp", bracketed(static.host), TlsPolicy(static.tls, static.ca_file))
        hold = HOLD_REASON if relay.outgoing == "hold" else ""
        if relay.smart_host:
            tls = TlsPolicy(relay.smart_host_tls, relay.smart_host_ca_file)
            return Route("smtp", bracketed(relay.smart_host), tls, hold=hold)
        return Route("smtp", domain.name, hold=hold)


def bracketed(host_port: str) -> str:
    """``relay.example:25`` as a destination that is not looked up in MX: ``[relay.example]:25``."""
    if host_port.startswith("["):
        return host_port
    host, _, port = host_port.rpartition(":")
    return f"[{host}]:{port}"
