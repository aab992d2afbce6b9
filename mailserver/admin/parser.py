"""The command line's grammar, built from the declarations of the commands."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable

from mailserver.admin.command import GENERATED, Argument, Command

PROGRAM = "mailserverctl"
_RAW = argparse.RawDescriptionHelpFormatter
_ABOUT = """\
Looks after one instance of the mail server: its domains, accounts and aliases, its queue, its settings.

Where the server runs, the commands go to it over its control socket; where it is stopped, most of them work on
the instance directory itself. The instance is --instance DIR, else $MAILSERVER_INSTANCE, else ./instance.
"""
_FIRST_STEPS = """\
first steps:
  mailserverctl init --domain example.org --account anna
  twistd -n --pidfile= mailserver --config instance/mailserver.toml
  mailserverctl status --wait 10
  mailserverctl send-test

exit status: 0 done, 1 refused or failed (one sentence says why), 2 the command line makes no sense
"""
_NOUNS = {
    "account": "accounts: who has a Maildir here, and may log in",
    "alias": "aliases: addresses that stand for others",
    "certificate": "what clients know this server by",
    "config": "the settings file",
    "domain": "the domains whose mail is taken",
    "plugin": "parts of the server from other packages",
    "queue": "mail that waits",
}


def build(commands: Iterable[Command]) -> argparse.ArgumentParser:
    """A parser whose result has ``command`` (the declaration), ``instance``, ``json`` and the arguments."""
    shared = _shared()
    commands = tuple(commands)
    root = argparse.ArgumentParser(
        PROGRAM,
        description=_ABOUT,
        epilog=f"every command (with --help it shows its arguments and an example):\n{_every(commands)}\n"
        + _FIRST_STEPS,
        formatter_class=_RAW,
        parents=[shared],
        allow_abbrev=False,
    )
    root.add_argument("--version", action=_Version, nargs=0, help="show the version, and end")
    verbs = root.add_subparsers(title="kinds of commands", metavar="COMMAND", required=True)
    nouns = {}
    for command in commands:
        noun, _, verb = command.name.partition(" ")
        if verb and noun not in nouns:
            group = verbs.add_parser(noun, help=_NOUNS[noun], description=f"{_NOUNS[noun]}.", parents=[shared])
            nouns[noun] = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
        _add(nouns[noun] if verb else verbs, verb or noun, command, shared)
    return root


def _every(commands: Iterable[Command]) -> str:
    return "".join(f"  {command.name:18}  {command.summary}\n" for command in commands)


class _Version(argparse.Action):
    """Looked up only when it is asked for: that takes longer than most commands."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

        try:
            found = version("mailserver")
        except PackageNotFoundError:
            found = "of a checkout that is not installed"
        print(PROGRAM, found)
        parser.exit()


def _shared() -> argparse.ArgumentParser:
    """What may stand before the command and behind it."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--instance", metavar="DIR", default=argparse.SUPPRESS, help="the instance directory (default ./instance)"
    )
    shared.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,
        help="answer in JSON, in one line: an array from `list` commands (`queue list`: an object, with the array"
        " recipients), else an object; an error is an object on standard error",
    )
    return shared


def instance_of(given: argparse.Namespace) -> str:
    """The instance directory that a command line means."""
    return getattr(given, "instance", None) or os.environ.get("MAILSERVER_INSTANCE") or "instance"


def _add(
    where: argparse._SubParsersAction[argparse.ArgumentParser],
    word: str,
    command: Command,
    shared: argparse.ArgumentParser,
) -> None:
    parser = where.add_parser(
        word,
        help=command.summary,
        description=command.summary,
        epilog=f"example:\n  {PROGRAM} {command.example}",
        formatter_class=_RAW,
        parents=[shared],
        allow_abbrev=False,
    )
    parser.set_defaults(command=command)
    for argument in command.arguments:
        if argument.secret:
            _add_secret(parser, argument)
        else:
            _add_argument(parser, argument)


def _add_secret(parser: argparse.ArgumentParser, argument: Argument) -> None:
    otherwise = "it is made and shown once" if argument.default == GENERATED else "it is asked for on the terminal"
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--password-stdin",
        action="store_true",
        help=f"read {argument.help} from standard input (else {otherwise})",
    )
    either.add_argument("--generate", action="store_true", help="make a password and show it once")


def _add_argument(parser: argparse.ArgumentParser, argument: Argument) -> None:
    if argument.positional:
        count = ("+" if argument.required else "*") if argument.many else (None if argument.required else "?")
        parser.add_argument(
            argument.name,
            nargs=count,
            type=argument.kind,
            help=argument.help,
            metavar=argument.name.upper().replace("_", "-").removesuffix("S" if argument.many else "\0"),
        )
        return
    option = "--" + argument.name.replace("_", "-")
    if argument.kind is bool:
        parser.add_argument(option, dest=argument.name, action="store_true", help=argument.help)
        return
    parser.add_argument(
        option,
        dest=argument.name,
        type=argument.kind,
        required=argument.required,
        help=argument.help,
        metavar={int: "N", float: "SECONDS"}.get(argument.kind, argument.name.upper().replace("_", "-")),
    )
