"""Who exists here: domains, accounts and aliases."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.web.template import Tag

from mailserver.admin.command import ControlError
from mailserver.admin.console.frame import note, section, sentence, table
from mailserver.admin.console.visit import Page, Visit


async def accounts(visit: Visit) -> Page:
    """The domains, accounts and aliases, or that the application keeps them."""
    try:
        domains = await visit.run("domain list")
        people = await visit.run("account list")
        aliases = await visit.run("alias list")
    except ControlError as elsewhere:
        return Page("Accounts", (note(sentence(str(elsewhere))),), section="Accounts")
    domain_rows = [
        (each["domain"], each["accounts"], each["aliases"], each["postmaster"] or "–") for each in domains
    ]
    content = (
        _part(
            "Domains",
            "Domains whose mail is taken",
            ("Domain", "Accounts", "Aliases", "Mail for postmaster goes to"),
            domain_rows,
        ),
        _part(
            "Accounts",
            "Accounts",
            ("Address", "Made", "May send under any address"),
            [(each["address"], each["created"], each["any sender"]) for each in people],
        ),
        _part(
            "Aliases",
            "Addresses that stand for others",
            ("Address", "Its mail goes to"),
            [(each["address"], each["targets"]) for each in aliases],
        ),
    )
    return Page("Accounts", content, section="Accounts")


def _part(title: str, caption: str, names: tuple[str, ...], rows: Sequence[Sequence[object]]) -> Tag:
    content = table(caption, names, rows) if rows else note(f"There are no {title.lower()}.")
    return section(title, content)
