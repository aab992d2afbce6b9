"""Marks that only this console can make: the token of a form, and the sentence that is shown after it.

A mark is an HMAC over what it is for and when it was made, with a key that lives as long as the console. It
needs no session, so it works under any login; it is made for one operator and one form, so a page of another
site has none (CWE-352: cross-site request forgery), and it ends after an hour. A restart ends all of them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets

from mailserver.interfaces import IClock

# Seconds. Long enough for a page that was left open over lunch.
LIFE = 3_600.0


class Seal:
    """Makes marks, and knows its own."""

    def __init__(self, clock: IClock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def mark(self, *what: str) -> str:
        """A mark for `what`."""
        return self._at(str(int(self._clock.monotonic())), what)

    def fits(self, mark: str, *what: str) -> bool:
        """Whether `mark` was made here, for exactly `what`, within the last hour."""
        made = mark.partition(".")[0]
        if not (made.isascii() and made.lstrip("-").isdigit() and len(made) < 20):
            return False
        right = hmac.compare_digest(self._at(made, what).encode(), mark.encode("utf-8", "replace"))
        return right and self._clock.monotonic() - int(made) <= LIFE

    def _at(self, made: str, what: tuple[str, ...]) -> str:
        # As JSON, so that no two lists of words read the same.
        octets = json.dumps([made, *what]).encode()
        return f"{made}.{hmac.new(self._key, octets, hashlib.sha256).hexdigest()}"
