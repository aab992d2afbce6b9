"""Replies as people read them: sentences, name and value, aligned tables. Also as JSON.

Nothing a stranger sent can move the cursor: what does not print is shown as an escape.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any


def rendered(reply: Any) -> str:
    """A reply or record as text, without a line end."""
    if isinstance(reply, dict):
        return "\n".join(_facts(reply))
    return "\n".join(_table(reply)) or "none"


def as_json(reply: Any) -> str:
    """A reply or record as one line of JSON."""
    return json.dumps(reply, ensure_ascii=False)


def moment(wall: float) -> str:
    """A time for people: UTC, to the second."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def printable(value: Any) -> str:
    """A value in one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(printable(each) for each in value)
    text = str(value)
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _facts(reply: dict[str, Any]) -> Iterator[str]:
    """Facts and tables; with a sentence for people, the tables and that. What is empty is left out."""
    tables = {name: value for name, value in reply.items() if _is_table(value)}
    facts = {name: _fact(value) for name, value in reply.items() if name not in tables and "said" not in reply}
    width = max(map(len, facts), default=0)
    yield from (f"{name:{width}}  {value}" for name, value in facts.items() if value)
    for name, rows in tables.items():
        if any(facts.values()):
            yield f"{name}:"
        yield from _table(rows)
    if "said" in reply:
        yield printable(reply["said"])


def _fact(value: Any) -> str:
    return printable([f"{k} {v}" for k, v in value.items()] if isinstance(value, dict) else value)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    names = list(rows[0])
    lines = [names, *([printable(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
