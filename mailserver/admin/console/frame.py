"""How every page of the console looks: the frame around its content, tables, facts and notes.

Plain HTML with landmarks, one ``h1``, a caption for every table; no script, no style but the one sheet, every
link relative. All text passes `text`, so what does not print is shown as an escape, and the flattener of
``twisted.web.template`` escapes the rest: a stranger's text is never markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.web.template import Tag, tags

from mailserver.admin.console.visit import Operator, Page
from mailserver.admin.tables import printable

SECTIONS = (("Overview", ""), ("Queue", "queue"), ("Accounts", "accounts"))
STYLE = "style.css"


def text(value: Any) -> str:
    """A value for people, in one line."""
    return printable(value)


def sentence(said: str) -> str:
    """What the server said, as a sentence."""
    return f"{said[:1].upper()}{said[1:]}."


def document(page: Page, root: str, operator: Operator | None) -> Tag:
    """The whole page. Nobody who is not logged in sees the navigation."""
    head = tags.head(
        tags.meta(charset="utf-8"),
        tags.title(f"{text(page.title)} – mail server"),
        tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
        tags.meta(name="color-scheme", content="light dark"),
        tags.link(rel="stylesheet", href=root + STYLE),
    )
    main = Tag("main")(tags.h1(text(page.title)), *page.content, id="content", tabindex="-1")
    skip = tags.a("Skip to the content", href="#content", class_="skip")
    top = () if operator is None else (skip, _header(page.section, root, operator))
    return tags.html(head, tags.body(*top, main), lang="en")


def _header(section: str, root: str, operator: Operator) -> Tag:
    links = []
    for name, way in SECTIONS:
        current = {"aria-current": "page"} if name == section else {}
        links.append(tags.li(tags.a(name, href=root + way, **current)))
    nav = tags.nav(tags.ul(*links), **{"aria-label": "Console"})
    who = tags.p(f"{text(operator.name)}, {operator.role}", class_="who")
    return tags.header(tags.p("Mail server", class_="brand"), nav, who)


def section(title: str, *content: Any) -> Tag:
    """A part of a page, under a heading."""
    return tags.section(tags.h2(title), *content)


def note(said: str, kind: str = "plain") -> Tag:
    """A sentence that stands out: ``good``, ``bad`` or ``plain``."""
    role = {"role": "status"} if kind == "good" else {}
    return tags.p(text(said), class_=f"note {kind}", **role)


def facts(values: Mapping[str, Any]) -> Tag:
    """Names and values; what is empty is left out."""
    pairs = [(name, text(value)) for name, value in values.items()]
    return tags.dl(*(tags.div(tags.dt(name), tags.dd(value)) for name, value in pairs if value))


def table(caption: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Tag:
    """A table; the first cell of a row is its heading. Cells are values or tags.

    On a narrow screen the style sheet stacks the cells. That takes a table's meaning away from some screen
    readers, unless the roles are written down."""
    columns = (tags.th(name, scope="col", role="columnheader") for name in names)
    head = tags.thead(tags.tr(*columns, role="row"), role="rowgroup")
    body = tags.tbody(*(_row(names, row) for row in rows), role="rowgroup")
    return tags.table(tags.caption(caption), head, body, role="table")


def _row(names: Sequence[str], row: Sequence[Any]) -> Tag:
    first, *others = (each if isinstance(each, Tag) else text(each) for each in row)
    cells = [tags.th(first, scope="row", role="rowheader")]
    cells += [
        tags.td(tags.span(value), role="cell", **{"data-name": name})
        for name, value in zip(names[1:], others, strict=True)
    ]
    return tags.tr(*cells, role="row")
