"""``mailserverctl``: the commands of `mailserver.admin.control` from a shell.

A command goes to the running server over its control socket; where none runs, those that make sense without
it work on the stopped instance, under its lock. Exit status 0: done; 1: refused or failed, with a sentence on
standard error; 2: the command line makes no sense. Nobody sees a traceback who has not set MAILSERVER_DEBUG.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mailserver.admin import instance, secret, tables
from mailserver.admin.client import Connection, NotRunning
from mailserver.admin.command import GENERATED, Command, ControlError, Place
from mailserver.admin.control import COMMANDS, command_named
from mailserver.admin.parser import PROGRAM, build, instance_of
from mailserver.admin.typed import program, quoted
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
    words = sys.argv[1:] if argv is None else argv
    as_json = "--json" in words
    try:
        _check_surroundings(words)
        parser = build(COMMANDS)
        given = parser.parse_args(words)
        if lacking := given.command.lacking(vars(given)):
            parser.error(lacking)
        _run(given, Path(instance_of(given)))
    except MailServerError as error:
        return _failed(str(error), as_json)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (a pager, head) has seen enough.
        _write_no_more()
        return 1
    except Exception as error:
        if os.environ.get("MAILSERVER_DEBUG"):
            raise
        sentence = f"internal error ({type(error).__name__}: {error}); run with MAILSERVER_DEBUG=1 to see where"
        return _failed(sentence, as_json)
    return 0


def _check_surroundings(words: Sequence[str]) -> None:
    """What cannot be asked or answered is refused before anything is done. Raises ControlError."""
    if sys.stdout is None:
        raise ControlError("standard output is closed; nothing was done, for nobody would see the answer")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a letter shows its number.
        sys.stdout.reconfigure(errors="backslashreplace")
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ControlError(f"the argument {word!a} is not UTF-8; nothing was done") from None


def _failed(sentence: str, as_json: bool) -> int:
    print(tables.as_json({"error": sentence}) if as_json else f"{PROGRAM}: {sentence}", file=sys.stderr)
    return 1


def _say(text: str) -> None:
    """Write an answer at once. Raises ControlError, or BrokenPipeError where nobody reads on."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        _write_no_more()
        raise ControlError(
            f"the answer cannot be written ({error.strerror}); the command itself may have been done"
        ) from None


def _write_no_more() -> None:
    """So that the end of the process does not stumble over what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(given: argparse.Namespace, directory: Path) -> None:
    command: Command = given.command
    arguments = {
        argument.name: value
        for argument in command.arguments
        if not argument.secret
        and not argument.local
        and (value := getattr(given, argument.name)) not in (None, [])
    }
    made = _secrets(given, command, arguments, directory)
    as_json = getattr(given, "json", False)
    answers = _answers(command, arguments, directory, getattr(given, "wait", None))
    for answer in [_together(answers)] if as_json else answers:
        reply = {**answer, **made} if made else answer
        _say(tables.as_json(reply) if as_json else tables.rendered(reply, _width(command)))
    if made and not as_json:
        _say(f"password: {made['password']} (shown only this once)")


def _together(answers: Iterable[Any]) -> Any:
    """One document, also of records that come one after the other: each adds to it, or says better."""
    together: Any = None
    for answer in answers:
        together = {**together, **answer} if isinstance(together, dict) else answer
    return together


def _width(command: Command) -> int:
    """Where the lines of a list end on a terminal; elsewhere, and for what shows one thing, nothing is cut."""
    return shutil.get_terminal_size().columns if command.name.endswith(" list") and sys.stdout.isatty() else 0


def _secrets(
    given: argparse.Namespace, command: Command, arguments: dict[str, Any], directory: Path
) -> dict[str, str]:
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
            if command.first:
                # Nobody should think of a password for nothing.
                list(_answers(command_named(command.first), arguments, directory, None))
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
    start = f"{program('twistd')} -n --pidfile= mailserver --config {quoted(directory / instance.SETTINGS)}"
    return ControlError(f"the server is not running on {directory}; start it with: {start}")
