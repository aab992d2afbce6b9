"""The server of a kit, put together by the same function as any other: `mailserver.service.build`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailserver.log import Log
from mailserver.relay import schedule_of
from mailserver.server import MailServer
from mailserver.service import build
from mailserver.settings.listener import Certificate, Listener
from mailserver.settings.model import Reception, Relay, Settings
from mailserver.smtp.plan import Login, SessionPlan
from mailserver.spool.contract import SpoolOptions, SpoolWorld
from mailserver.spool.memory import MemorySpool
from mailserver.testing.certificates import Certificates
from mailserver.testing.names import ScriptedNames
from mailserver.testing.people import People
from mailserver.testing.reactor import MemoryReactor, VirtualClock
from mailserver.threads import inline

HOST_NAME = "mx.kit.test"
OUR_ADDRESS = "192.0.2.1"
ADDRESSES = {"mx": (OUR_ADDRESS, 25), "submission": (OUR_ADDRESS, 587), "submissions": (OUR_ADDRESS, 465)}
# In no test does anything lie there: nothing of the instance is written in memory.
_INSTANCE = Path("/nonexistent/mailkit")


def default_settings(own: Mapping[str, Any], certificates: Certificates) -> Settings:
    """Three listeners, and mail leaves at once; `own` come instead of what they name. Clients on loopback, which
    only a real port has, may relay, and the answer to a wrong password does not wait. Raises SettingsError."""
    host_name = own.get("host_name", HOST_NAME)
    chain, key = certificates.files(host_name)
    listeners = [
        _listener("mx", "mx", "starttls"),
        _listener("submission", "submission", "starttls"),
        _listener("submissions", "submission", "implicit"),
    ]
    usual: dict[str, Any] = {
        "host_name": host_name,
        "listeners": listeners,
        "certificates": [Certificate(chain=chain, key=key)],
        "relay": Relay(networks=["127.0.0.0/8"], outgoing="on"),
        "reception": Reception(auth_failure_delay=0),
    }
    return Settings(instance=_INSTANCE, **{**usual, **own})


def _listener(name: str, role: str, tls: str) -> Listener:
    host, port = ADDRESSES[name]
    return Listener(name=name, role=role, tls=tls, listen=[f"{host}:{port}"])


@dataclass(frozen=True, slots=True)
class Around:
    """What a kit has around its server."""

    reactor: MemoryReactor
    clock: VirtualClock
    people: People
    names: ScriptedNames
    log: Log


class Composed:
    """``server`` and ``spool``, made and not started."""

    def __init__(self, settings: Settings, around: Around, transports: Mapping[str, Any]) -> None:
        world = SpoolWorld(around.reactor, around.clock, inline, around.log.event, lambda reason: None)
        options = SpoolOptions(
            longest_interval=schedule_of(settings).longest, fates_kept=settings.queue.fates_kept
        )
        self.spool = MemorySpool(world, options, beat=0)
        self.server: MailServer = build(
            settings,
            reactor=around.reactor,
            directory=around.people,
            spool=self.spool,
            resolver=around.names,
            transports={"local": around.people, **transports},
            threads=inline,
            clock=around.clock,
            log=around.log,
        )

    def plan(self, user: tuple[str, str] | None, certificates: Certificates) -> tuple[SessionPlan, Any]:
        """How the kit's client connects to us: TLS verified by our authority and a login, or in clear."""
        if user is None:
            return SessionPlan("client.kit.test", "off"), None
        host_name, ca_file = self.server.settings.host_name, str(certificates.ca_file)
        creator = certificates.clients.creator("verified", host_name, ca_file)
        return SessionPlan("client.kit.test", "verified", Login(*user)), creator
