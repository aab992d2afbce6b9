"""The commands of the manual: every line of a block of shell, and what is done about it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.docs.manual import Block

# Their commands are run from top to bottom, on one instance: `test_commands`.
WALKS = ("README.md", "docs/start.md")
# Not run, for this reason. Checked all the same: the target or the subcommand exists.
CHECKED = {
    "make run": "fills .venv in the checkout from a package index; what its recipe does then is run in its place",
    "make test": "is what runs this test",
}


@dataclass(frozen=True)
class Line:
    """``words`` as a shell splits them; ``program`` is the first without its directory."""

    page: str
    number: int
    words: tuple[str, ...]

    @property
    def program(self) -> str:
        return Path(self.words[0]).name

    @property
    def command(self) -> str:
        return shlex.join(self.words)

    def __str__(self) -> str:
        return f"{self.page}:{self.number}: {self.command}"


def lines(block: Block) -> list[Line]:
    """The commands of a block, without comments."""
    whole = block.text.replace("\\\n", " ").splitlines()
    split = [(number, tuple(shlex.split(line, comments=True))) for number, line in enumerate(whole)]
    return [Line(block.page, block.line + 1 + number, words) for number, words in split if words]
