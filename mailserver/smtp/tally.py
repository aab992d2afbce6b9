"""What a session has done so far that is bounded: commands, errors, and commands that bring no mail forward.

A client that says NOOP all day breaks no rule of RFC 5321, and costs as much as one that sends mail; so do RSET,
EHLO and the others of :data:`JUNK`, and BDAT of no octets. Some are normal: keep-alive, and RSET after each
message. Over ``junk_limit`` of them since the last accepted message, each further one counts as an error, and
errors end the session. So does a transient refusal over :data:`PATIENT`.
"""

from __future__ import annotations

from mailserver.smtp import replies
from mailserver.smtp.limits import ServerLimits
from mailserver.smtp.reply import Reply

JUNK = frozenset((b"NOOP", b"RSET", b"EHLO", b"HELO", b"LHLO", b"VRFY", b"EXPN", b"HELP"))
# A client with a thousand recipients hears 452 for most of them and does nothing wrong (RFC 5321 §4.5.3.1.10);
# smtpd_recipient_overshoot_limit of Postfix is the precedent.
PATIENT = 1000
# Command lines with a bare CR, a bare LF or a NUL. One is a mistake, three are a program.
MAX_BROKEN = 3

# How a session ends: the last reply, and why.
End = tuple[Reply, str]
_COMMANDS, _ERRORS = (replies.TOO_MANY_COMMANDS, "too many commands"), (replies.TOO_MANY_ERRORS, "too many errors")
_BROKEN = (replies.BROKEN_LINES, "broken command lines")
_ENDLESS = (replies.ENDLESS, "refused chunks without end")


class Tally:
    """Counts for one session. A method answers how the session ends, once a bound is reached."""

    __slots__ = ("_broken", "_commands", "_errors", "_junk", "_limits", "_skipped", "_transient")

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._commands = self._errors = self._junk = self._transient = self._skipped = self._broken = 0

    def command(self, line: bytes) -> End | None:
        """One more command."""
        limits = self._limits
        self._commands += 1
        if 0 < limits.max_commands < self._commands:
            return _COMMANDS
        if line[:4].upper() not in JUNK:
            return None
        return self.junk()

    def junk(self) -> End | None:
        """One more command that brings no mail forward."""
        self._junk += 1
        return self.error() if 0 < self._limits.junk_limit < self._junk else None

    def error(self) -> End | None:
        """One more refusal for good."""
        self._errors += 1
        return _ERRORS if 0 < self._limits.error_limit <= self._errors else None

    def transient(self) -> End | None:
        """One more refusal for now."""
        self._transient += 1
        return self.error() if self._transient > PATIENT else None

    def broken(self) -> End | None:
        """One more command line with octets that belong into none."""
        self._broken += 1
        return _BROKEN if self._broken >= MAX_BROKEN else None

    def skipped(self, octets: int) -> End | None:
        """So many more octets of refused chunks were thrown away."""
        self._skipped += octets
        return _ENDLESS if 0 < self._limits.discard < self._skipped else None

    def accepted(self) -> None:
        """A message was accepted: what was before is forgiven."""
        self._errors = self._junk = self._transient = self._skipped = 0
