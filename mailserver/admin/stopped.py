"""Commands on a stopped instance: its spool and its accounts are opened under its lock, and closed again.

The spool wants a reactor; one of its own runs here until the command has ended. Raises what the command
raises, and :class:`~mailserver.spool.lock.SpoolBusy` while a server has the instance.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure

from mailserver.admin import instance
from mailserver.admin.command import ControlError
from mailserver.admin.control import Control
from mailserver.admin.socketplace import user_name
from mailserver.admin.world import World
from mailserver.relay import RelayQueue, build_queue
from mailserver.settings.model import Settings


def run(settings: Settings, name: str, arguments: Mapping[str, Any]) -> list[Any]:
    """Run one command; the reply as the only item, or the records of a stream."""
    _own(settings)
    if not settings.path(instance.ACCOUNTS).exists():
        raise ControlError(
            f"{settings.path(instance.ACCOUNTS)} is missing; restore it from a backup, or name another instance"
        )
    reactor: Any = SelectReactor()
    ended: list[Any] = []

    def begin() -> None:
        Deferred.fromCoroutine(_session(_opened(settings, reactor), name, arguments)).addBoth(end)

    def end(result: Any) -> None:
        ended.append(result)
        reactor.stop()

    reactor.callWhenRunning(begin)
    reactor.run(installSignalHandlers=False)
    if isinstance(ended[0], Failure):
        ended[0].raiseException()
    answer: list[Any] = ended[0]
    return answer


def _own(settings: Settings) -> None:
    """Files made by another user (root above all) could not be written by the server afterwards."""
    owner = settings.instance.stat().st_uid
    if owner == os.geteuid():
        return
    name = user_name(owner)
    raise ControlError(
        f"{settings.instance} belongs to the user {name}; run this command as that user (sudo -u {name} …)"
    )


def _opened(settings: Settings, reactor: Any) -> RelayQueue:
    """The instance without queue runs, transports and log: what a command changes is all that happens."""
    quiet = replace(
        settings,
        queue=replace(settings.queue, enabled=False),
        log=replace(settings.log, path=os.devnull),
        # Nobody connects, and no plugin has a part in what commands do.
        listeners=(),
        plugins=(),
    )
    named = {"local", "smtp", "lmtp", settings.accounts.transport, *(route.transport for route in settings.routes)}
    return build_queue(quiet, reactor=reactor, transports=dict.fromkeys(named))  # type: ignore[arg-type]  # never called


async def _session(parts: RelayQueue, name: str, arguments: Mapping[str, Any]) -> list[Any]:
    parts.start()
    try:
        assert parts.accounts is not None
        machine = parts.machine
        world = World(parts.settings, parts.accounts, parts.spool, parts.spool, machine.clock, machine.threads)
        answer = await Control(world).run(name, arguments)
        if isinstance(answer, AsyncIterator):
            return [record async for record in answer]
        return [answer]
    finally:
        await parts.stop(0)
