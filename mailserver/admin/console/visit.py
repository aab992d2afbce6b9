"""One request to the console, as its pages see it: who asks, what was asked, the commands they may run.

Roles are few. A *viewer* runs what is declared for viewers (`mailserver.admin.command.Command.who`): commands
that change nothing. An *administrator* runs everything. Pages have no other way to the server than
:meth:`Visit.run`, so no page can do what its visitor may not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from twisted.web.template import Tag, tags

from mailserver.admin.console.seal import Seal
from mailserver.admin.control import Control, command_named

ADMINISTRATOR, VIEWER = "administrator", "viewer"
ROLES = (ADMINISTRATOR, VIEWER)


@dataclass(frozen=True)
class Operator:
    """A person who has logged in. ``name`` is shown; ``role`` is ``administrator`` or ``viewer``.

    Raises ValueError for another role, or a name that is not text."""

    name: str
    role: str = VIEWER

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"the role of an operator is {' or '.join(ROLES)}, not {self.role!r}")
        if not isinstance(self.name, str):
            raise ValueError(f"the name of an operator is text, not {type(self.name).__name__}")

    def may(self, command: str) -> bool:
        """Whether the operator may run that command."""
        return self.role == ADMINISTRATOR or command_named(command).who == VIEWER


class NotAllowed(Exception):
    """The operator's role does not cover a command."""


@dataclass(frozen=True)
class Page:
    """What a page says. ``code`` is the HTTP status; with a ``location`` the browser goes on to there, and
    ``section`` is the entry of the navigation that it belongs to."""

    title: str
    content: tuple[Any, ...] = ()
    section: str = ""
    code: int = 200
    location: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Visit:
    """``arguments`` are those of the query and the form, the last one where a name comes twice; ``root`` is the
    relative way to the console's own root; ``queue_id`` that of the path, if it has one."""

    operator: Operator
    control: Control
    seal: Seal
    root: str
    arguments: Mapping[str, str]
    queue_id: str = ""

    def may(self, command: str) -> bool:
        """Whether a page should offer that command."""
        return self.operator.may(command)

    def demand(self, command: str) -> None:
        """Raises NotAllowed where the operator may not run that command."""
        if not self.may(command):
            raise NotAllowed(command)

    async def run(self, command: str, **arguments: Any) -> Any:
        """The reply to a command. Raises NotAllowed, or MailServerError with a sentence."""
        self.demand(command)
        return await self.control.run(command, arguments)

    def form(self, action: str, label: str, command: str, class_: str) -> Tag:
        """A form with one button: it posts to `action` (relative to the root) and runs `command`."""
        token = self.seal.mark("form", self.operator.name, command, self.queue_id)
        hidden = tags.input(type="hidden", name="token", value=token)
        button = tags.button(label, type="submit", class_=class_)
        return tags.form(hidden, button, method="post", action=self.root + action)

    def form_fits(self, command: str) -> bool:
        """Whether the form that was posted is one that we made, for this operator, command and message."""
        token = self.arguments.get("token", "")
        return self.seal.fits(token, "form", self.operator.name, command, self.queue_id)

    def after(self, way: str, said: str) -> Page:
        """Go on to a page (relative to the root), which then shows the sentence `said`."""
        query = urlencode({"said": said, "mark": self.seal.mark("said", self.operator.name, said)})
        return Page("Done", code=303, location=f"{self.root}{way}?{query}")

    def said(self) -> str:
        """The sentence that :meth:`after` brought along; nobody else can put one onto our page."""
        said = self.arguments.get("said", "")
        fits = self.seal.fits(self.arguments.get("mark", ""), "said", self.operator.name, said)
        return said if fits else ""
