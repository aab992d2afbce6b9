"""``mailserverctl``: the commands of `mailserver.admin.control` from a shell.

A command goes to the running server over its control socket; where none runs, those that make sense without
it work on the stopped instance, under its lock. Exit status 0: done; 1: refused or failed, with a sentence on
standard error; 2: the command line makes no sense. Nobody sees a traceback who has not set MAILSERVER_DEBUG.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mailserver.admin import instance, secret, tables
from mailserver.admin.client import Connection, NotRunning
from mailserver.admin.command import GENERATED, Command, ControlError, Place
from mailserver.admin.control import COMMANDS
from mailserver.admin.parser import PROGRAM, build, instance_of
from mailserver.admin.world import Files
from mailserver.clock import SystemClock
from mailserver.interfaces import MailServerError
from mailserver.settings.model import Control as ControlSettings
from mailserver.settings.problem import SettingsError

# A reply may take as long as a commit on a slow disk; a stream has its own time-out on top.
_TIMEOUT = 30.0
_PAUSE = 0.1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; answers the exit status."""
    given = build(COMMANDS).parse_args(argv)
    try:
        _run(given, Path(instance_of(given)))
    except MailServerError as error:
        return _failed(str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (a pager, head) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("MAILSERVER_DEBUG"):
            raise
        return _failed(
            f"internal error ({type(error).__name__}: {error}); run with MAILSERVER_DEBUG=1 to see where"
        )
    return 0


def _failed(sentence: str) -> int:
    print(f"{PROGRAM}: {sentence}", file=sys.stderr)
    return 1


def _run(given: argparse.Namespace, directory: Path) -> None:
    command: Command = given.command
    arguments = {
        argument.name: value
        for argument in command.arguments
        if not argument.secret
        and not argument.local
        and (value := getattr(given, argument.name)) not in (None, [])
    }
    made = _secrets(given, command, arguments)
    as_json = getattr(given, "json", False)
    for answer in _answers(command, arguments, directory, getattr(given, "wait", None)):
        reply = {**answer, **made} if made else answer
        print(tables.as_json(reply) if as_json else tables.rendered(reply), flush=True)
    if made and not as_json:
        print(f"password: {made['password']} (shown only this once)")


def _secrets(given: argparse.Namespace, command: Command, arguments: dict[str, Any]) -> dict[str, str]:
    """Add the secrets to the arguments; answers those that were made, to be shown."""
    made = {}
    for argument in command.arguments:
        if not argument.secret:
            continue
        if given.password_stdin:
            value = secret.from_stream(sys.stdin)
        elif given.generate or argument.default == GENERATED:
            value = made[argument.name] = secret.generated()
        else:
            value = secret.asked()
        arguments[argument.name] = value
    return made


def _answers(command: Command, arguments: Mapping[str, Any], directory: Path, wait: float | None) -> Iterable[Any]:
    if command.place is Place.FILES:
        return _on_files(command, arguments, directory)
    if wait is not None:
        return _waited(command, arguments, directory, wait)
    try:
        return _on_server(command, arguments, directory)
    except NotRunning:
        return _on_stopped(command, arguments, directory)


def _on_files(command: Command, arguments: Mapping[str, Any], directory: Path) -> list[Any]:
    coroutine: Any = command.handler(Files(directory, SystemClock()), **command.accept(arguments))
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return [ended.value]
    raise RuntimeError(f"{command.name} waits for something, and nothing runs here")


def _on_server(command: Command, arguments: Mapping[str, Any], directory: Path) -> Iterator[Any]:
    """Raises NotRunning before the first answer, or not at all."""
    timeout = _TIMEOUT + arguments.get("timeout", 0.0)
    connection = Connection(_socket(directory), timeout)

    def answers() -> Iterator[Any]:
        with connection:
            yield from connection.run(command.name, arguments)

    return answers()


def _socket(directory: Path) -> Path:
    """Where the server listens. Its settings file may have been broken since it started."""
    try:
        settings = instance.load(directory)
        return settings.path(settings.control.socket)
    except SettingsError:
        return directory / ControlSettings().socket


def _waited(command: Command, arguments: Mapping[str, Any], directory: Path, seconds: float) -> list[Any]:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return list(_on_server(command, arguments, directory))
        except (NotRunning, ControlError) as error:
            if time.monotonic() >= deadline:
                raise (_not_running(directory) if isinstance(error, NotRunning) else error) from None
        time.sleep(_PAUSE)


def _on_stopped(command: Command, arguments: Mapping[str, Any], directory: Path) -> list[Any]:
    settings = instance.load(directory)
    if command.place is Place.SERVER:
        raise _not_running(directory)
    # Imported here: it brings the spool and the reactor, which a running server's client does without.
    from mailserver.admin import stopped  # noqa: PLC0415

    return stopped.run(settings, command.name, arguments)


def _not_running(directory: Path) -> ControlError:
    start = f"twistd -n --pidfile= mailserver --config {directory / instance.SETTINGS}"
    return ControlError(f"the server is not running on {directory}; start it with: {start}")
