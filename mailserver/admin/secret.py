"""Where a password comes from: standard input, the terminal, or made here. Never the command line."""

from __future__ import annotations

import getpass
import secrets
import sys
from typing import TextIO

from mailserver.admin.command import ControlError

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
_GROUPS, _LETTERS = 5, 4


def generated() -> str:
    """A password of some 99 bits that can be read out and typed: ``k7wd-m2xq-…``."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_LETTERS)) for _ in range(_GROUPS))
    return "-".join(groups)


def from_stream(stream: TextIO | None) -> str:
    """The first line of `stream`, without its line end. Raises ControlError for none."""
    if stream is None:
        raise ControlError("standard input is closed; write the password there as one line")
    try:
        line = stream.readline()
        line.encode()  # some locales let octets through that are no UTF-8
    except UnicodeError:
        raise ControlError("the password on standard input is not UTF-8") from None
    except OSError as error:
        raise ControlError(f"standard input cannot be read: {error.strerror}") from None
    password = line.rstrip("\r\n")
    if not password:
        raise ControlError("no password came on standard input; write it there as one line")
    return password


def asked() -> str:
    """Ask twice on the terminal. Raises ControlError where there is none, or the two differ."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise ControlError("there is no terminal to ask for a password; use --password-stdin or --generate")
    try:
        password = getpass.getpass("New password: ")
        again = getpass.getpass("The same again: ")
        password.encode()
    except EOFError:
        raise ControlError("no password was typed; nothing was changed") from None
    except UnicodeError:
        raise ControlError("what was typed is not UTF-8; nothing was changed") from None
    if again != password:
        raise ControlError("the two passwords differ; nothing was changed")
    return password
