"""The blocks of code in the manual: README.md and every page under docs/.

A block is fenced and has a language. A file says its name in front (```orders.py`:``) or in its first line
(``# orders.py``); any other Python block is a program, numbered within its page. A ``text`` block behind a program
is what that program prints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_NAMED = re.compile(r"^`([\w./]+)`:$")
_COMMENT = re.compile(r"^# ([\w/]+\.\w+)$")


@dataclass(frozen=True)
class Block:
    """``line`` is that of the fence. ``name`` is the file's, or ``#1`` for the first program of its page.
    ``prints`` is the output that the page shows."""

    page: str
    line: int
    language: str
    name: str
    text: str
    prints: str | None = None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    return ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in order. A text that is a program's output stands with the program, too."""
    found: list[Block] = []
    lines = (ROOT / page).read_text().splitlines()
    number = 0
    while number < len(lines):
        if lines[number].startswith("```"):
            end = lines.index("```", number + 1)
            block = _block(page, lines, number, end, found)
            if block.language == "text" and _behind(lines, number, found):
                found[-1] = _with(found[-1], block.text)
            found.append(block)
            number = end
        number += 1
    return found


def _block(page: str, lines: list[str], start: int, end: int, before: list[Block]) -> Block:
    language, text = lines[start][3:], "".join(f"{line}\n" for line in lines[start + 1 : end])
    named = _NAMED.match(lines[start - 2] if start > 1 else "") or _COMMENT.match(text.partition("\n")[0])
    name = named[1] if named else ""
    if language == "python" and not name:
        name = f"#{1 + sum(one.language == 'python' and one.name.startswith('#') for one in before)}"
    return Block(page, start + 1, language, name, text)


def _behind(lines: list[str], start: int, before: list[Block]) -> bool:
    """Is this the output of the program in front? Between them stands nothing, or the word "prints"."""
    if not before or before[-1].language != "python" or before[-1].prints is not None:
        return False
    last = before[-1]
    between = lines[last.line + last.text.count("\n") + 1 : start]
    return [line for line in between if line] in ([], ["prints"])


def _with(block: Block, prints: str) -> Block:
    return Block(block.page, block.line, block.language, block.name, block.text, prints)


def unfenced(page: str) -> list[int]:
    """Lines that Markdown would show as code although no fence says what it is."""
    inside, found, lines = False, [], (ROOT / page).read_text().splitlines()
    for number, line in enumerate(lines):
        if line.lstrip().startswith(("```", "~~~")):
            inside = not inside
        elif not inside and line.startswith(("    ", "\t")) and not lines[number - 1].strip():
            found.append(number + 1)
    return found
