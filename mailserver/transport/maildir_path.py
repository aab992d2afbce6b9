"""Where a mailbox has its Maildir: a template such as ``maildirs/{domain}/{user}``, filled in safely.

No name leaves its place. Every substituted name is written in lower-case letters, digits and ``. _ + - @``;
anything else, a leading dot too, becomes ``%XX`` per octet of its UTF-8 form. The encoding is one to one: two
mailboxes never share a Maildir. Errors: ValueError for a template or a mailbox that has no place.
"""

from __future__ import annotations

from pathlib import Path

from mailserver.smtp.address import Mailbox

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._+-")
# Filling in costs 25 µs, and most mail is for few mailboxes.
_REMEMBERED = 10_000
_FIELDS = frozenset({"domain", "user"})


def encode(name: str) -> str:
    """`name` as one part of a path: never empty, never with a slash, a NUL or a leading dot."""
    if not name:
        raise ValueError("an empty name has no Maildir")
    octets = name.encode("utf-8", "surrogateescape")
    encoded = "".join(chr(octet) if octet in _PLAIN else f"%{octet:02X}" for octet in octets)
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


class Template:
    """The settings' Maildir template; relative ones stand below the `instance` directory."""

    def __init__(self, template: str, instance: Path) -> None:
        self._base = instance
        self._known: dict[Mailbox, Path] = {}
        self._parts = Path(template).parts
        for part in self._parts:
            _check(part, template)
        if not any("{user}" in part for part in self._parts):
            raise ValueError(f"the Maildir template {template!r} lacks {{user}}: all mail would share one Maildir")

    def path(self, mailbox: Mailbox) -> Path:
        """The Maildir of `mailbox`. Raises ValueError for one without a domain or local part."""
        path = self._known.get(mailbox)
        if path is None:
            path = self._fill(mailbox)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[mailbox] = path
        return path

    def _fill(self, mailbox: Mailbox) -> Path:
        domain = encode(mailbox.domain.name if mailbox.domain else "")
        user = encode(mailbox.local_part)
        filled = [part.replace("{domain}", domain).replace("{user}", user) for part in self._parts]
        return self._base.joinpath(*filled)


def _check(part: str, template: str) -> None:
    rest = part
    for field in _FIELDS:
        rest = rest.replace("{" + field + "}", "")
    if part == ".." or "{" in rest or "}" in rest or "\0" in rest:
        raise ValueError(f"the Maildir template {template!r} has a part {part!r} that is not allowed")
