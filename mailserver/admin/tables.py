"""Replies as people read them: sentences, name and value, aligned tables. Also as JSON.

Nothing a stranger sent can move the cursor: what does not print is shown as an escape.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

# Facts that are numbers of seconds.
_SECONDS = frozenset({"uptime"})


def rendered(reply: Any, width: int = 0) -> str:
    """A reply or record as text, without a line end. With a `width`, the lines of tables end there."""
    lines = _facts(reply, width) if isinstance(reply, dict) else _table(reply, width)
    return "\n".join(lines) or ("" if isinstance(reply, dict) else "none")


def as_json(reply: Any) -> str:
    """A reply or record as one line of JSON. Its names have no spaces: ``queue_id``."""
    return json.dumps(_underscored(reply), ensure_ascii=False)


def _underscored(reply: Any) -> Any:
    if isinstance(reply, dict):
        return {name.replace(" ", "_"): _underscored(value) for name, value in reply.items()}
    return [_underscored(each) for each in reply] if isinstance(reply, list) else reply


def moment(wall: float) -> str:
    """A time for people: UTC, to the second."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(seconds: float) -> str:
    """How long something takes, for people: the two largest units."""
    left, parts = int(seconds), list[str]()
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


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


def _facts(reply: dict[str, Any], width: int) -> Iterator[str]:
    """Facts and tables; with a sentence for people, the tables and that. What is empty is left out."""
    tables = {name: value for name, value in reply.items() if _is_table(value)}
    plain = {} if "said" in reply else reply
    facts = {name: _fact(name, value) for name, value in plain.items() if name not in tables}
    column = max(map(len, facts), default=0)
    yield from (f"{name:{column}}  {value}" for name, value in facts.items() if value)
    for name, rows in tables.items():
        if any(facts.values()):
            yield f"{name}:"
        yield from _table(rows, width)
    if "said" in reply:
        yield printable(reply["said"])


def _fact(name: str, value: Any) -> str:
    if name in _SECONDS:
        return duration(value)
    return printable([f"{k} {v}" for k, v in value.items()] if isinstance(value, dict) else value)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _table(rows: Sequence[dict[str, Any]], width: int = 0) -> Iterator[str]:
    if not rows:
        return
    names = list(rows[0])
    lines = [names, *([printable(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    for line in lines:
        text = "  ".join(cell.ljust(column) for cell, column in zip(line, widths, strict=True)).rstrip()
        yield f"{text[: width - 1]}…" if 0 < width < len(text) else text
