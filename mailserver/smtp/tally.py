"""What a session has done so far that is bounded: commands, errors, and commands that bring no mail forward.

A client that says NOOP all day breaks no rule of RFC 5321, and costs as much as one that sends mail; so do RSET,
EHLO and the others of :data:`JUNK`. Some are normal: keep-alive, and RSET after each message. Over ``junk_limit``
of them since the last accepted message, each further one counts as an error, and errors end the session.
"""

from __future__ import annotations

from mailserver.smtp import replies
from mailserver.smtp.limits import ServerLimits
from mailserver.smtp.reply import Reply

JUNK = frozenset((b"NOOP", b"RSET", b"EHLO", b"HELO", b"VRFY", b"EXPN", b"HELP"))

# How a session ends: the last reply, and why.
End = tuple[Reply, str]
_COMMANDS, _ERRORS = (replies.TOO_MANY_COMMANDS, "too many commands"), (replies.TOO_MANY_ERRORS, "too many errors")


class Tally:
    """Counts for one session. A method answers how the session ends, once a bound is reached."""

    __slots__ = ("_commands", "_errors", "_junk", "_limits")

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._commands = self._errors = self._junk = 0

    def command(self, line: bytes) -> End | None:
        """One more command."""
        limits = self._limits
        self._commands += 1
        if 0 < limits.max_commands < self._commands:
            return _COMMANDS
        if line[:4].upper() not in JUNK:
            return None
        self._junk += 1
        return self.error() if 0 < limits.junk_limit < self._junk else None

    def error(self) -> End | None:
        """One more refusal for good."""
        self._errors += 1
        return _ERRORS if 0 < self._limits.error_limit <= self._errors else None

    def accepted(self) -> None:
        """A message was accepted: what was before is forgiven."""
        self._errors = self._junk = 0
