"""The one command protocol: for the command line, for programs, for tests.

``await Control(world).run("account add", {"address": "anna@example.org", "password": "…"})`` checks the
arguments against the declaration and answers the reply, or an async iterator of records for a command that
streams. Raises MailServerError with a sentence for people; anything else is a bug of ours.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from mailserver.admin import accountcommands, certificatecommands, plugincommands, queuecommands, servercommands
from mailserver.admin.command import Command, ControlError, Place
from mailserver.admin.world import Files, World

COMMANDS: tuple[Command, ...] = (
    *servercommands.COMMANDS,
    *accountcommands.COMMANDS,
    *queuecommands.COMMANDS,
    *certificatecommands.COMMANDS,
    *plugincommands.COMMANDS,
)
_BY_NAME = {command.name: command for command in COMMANDS}


def command_named(name: str) -> Command:
    """The declaration. Raises ControlError for an unknown name."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise ControlError(f"there is no command {name!r}; known are: {', '.join(_BY_NAME)}") from None


class Control:
    """Runs commands in this process."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def run(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """The reply of a command, or an async iterator of its records."""
        command = command_named(name)
        world: World | Files = self._world
        if command.place is Place.FILES:
            world = Files(self._world.settings.instance, self._world.clock)
        answer = command.handler(world, **command.accept(arguments or {}))
        return answer if isinstance(answer, AsyncIterator) else await answer
