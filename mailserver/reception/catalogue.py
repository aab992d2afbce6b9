"""Every reply that this server says, as a page for people: made from the replies themselves.

``python -m mailserver.reception.catalogue`` writes ``docs/replies.md`` below the current directory; a test
compares it with what would be written now. The catalogue is :mod:`mailserver.smtp.replies` and
:mod:`mailserver.reception.refusals`: their constants, and their functions that answer a reply.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mailserver.reception import refusals
from mailserver.smtp import replies
from mailserver.smtp.reply import Reply

PAGE = "docs/replies.md"
MODULES = (replies, refusals)

_HEAD = """\
# Replies

<!-- Made by `python -m mailserver.reception.catalogue`; change mailserver/smtp/replies.py or
mailserver/reception/refusals.py instead. -->

What this server says to a client, and when. The three digits are the code (RFC 5321 §4.2), the numbers with
dots behind it the enhanced status (RFC 2034, RFC 3463, RFC 5248). A client program can rely on both, but not on
the words. Words in *italics* vary. A reply tells a stranger no internal reason: that stands in the server's log,
beside the name of the session.

Not in these tables are the answers to EHLO, LHLO and HELO, which list the extensions; `334`, which carries a
challenge of AUTH; what a [check](plugins.md) answers, which is 450 or 550 with the status of its verdict, or 421
or 554 where it refuses a connection; and what a [Twisted application](deliveries.md) behind a listener says in
its own words.
"""
_CLASSES = {
    2: ("Yes", "It was done."),
    3: ("Go on", "The client is to send more."),
    4: (
        "Not now",
        "Nothing was done, and the same may be possible later: a client keeps the message and tries again. The\n"
        "connection closes after `421`; after any other reply it may be used.",
    ),
    5: (
        "No",
        "Nothing was done, and the same again will be refused again: a client gives the message back to its\n"
        "sender, or its user corrects something. The session may be used afterwards.",
    ),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One reply. ``name`` is that in its module; ``meaning`` is when it is said, and what to do."""

    name: str
    reply: Reply
    meaning: str


def entries() -> list[Entry]:
    """All of them, each once, by code; those of one code as they stand in the modules."""
    found: dict[int, Entry] = {}
    for module in MODULES:
        for entry in _entries(module):
            found.setdefault(id(entry.reply), entry)
    return sorted(found.values(), key=lambda entry: entry.reply.code)


def _entries(module: ModuleType) -> Iterator[Entry]:
    for name, value in vars(module).items():
        if isinstance(value, Reply):
            yield Entry(name, value, value.meaning)
        elif inspect.isfunction(value) and value.__module__ == module.__name__:
            words = [f"*{word.replace('_', ' ')}*" for word in inspect.signature(value).parameters]
            yield Entry(name, value(*words), " ".join((inspect.getdoc(value) or "").split()))


def page() -> str:
    """The text of ``docs/replies.md``."""
    parts = [_HEAD]
    for first, (title, about) in _CLASSES.items():
        parts.append(f"## {first}yz: {title}\n\n{about}\n\n| code | status | text | when |\n|---|---|---|---|\n")
        parts[-1] += "".join(_row(entry) for entry in entries() if entry.reply.code // 100 == first)
    return "\n".join(parts)


def _row(entry: Entry) -> str:
    answer = entry.reply
    text = "<br>".join(line.replace("<", "&lt;").replace("|", "\\|") for line in answer.lines)
    return f"| {answer.code} | {answer.status or '–'} | {text} | {entry.meaning} |\n"


def write(directory: Path) -> None:
    """Write the page below `directory`."""
    path = directory / PAGE
    path.parent.mkdir(exist_ok=True)
    path.write_text(page(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(Path.cwd())
