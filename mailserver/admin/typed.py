"""Commands that we print for people to type: as short as the shell takes them, and quoted for it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def shown(path: Path) -> str:
    """Short where it lies below the current directory, as whoever reads it sees it."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def quoted(path: Path) -> str:
    """The same as a word of the shell."""
    return shlex.quote(shown(path))


def program(name: str) -> str:
    """How to call a program that was installed beside this Python; its name alone where it was not."""
    beside = Path(sys.executable).with_name(name)
    if not beside.exists():
        return name
    word = quoted(beside)
    return word if "/" in word else f"./{word}"
