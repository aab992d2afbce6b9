"""What one listener allows: bounds, time-outs, and which extensions it offers.

Values only, one per generation of the settings; a session keeps the profile that it began with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import inf

from mailserver.smtp import replies, xclient
from mailserver.smtp.reply import Reply

BASIC_EXTENSIONS = frozenset({"PIPELINING", "SIZE", "8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES"})
# What the protocol alone cannot honour: whoever takes the message must report, or carry addresses in UTF-8.
ONWARD_EXTENSIONS = frozenset({"DSN", "SMTPUTF8"})
OFFERED = BASIC_EXTENSIONS | ONWARD_EXTENSIONS


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of a session; 0 is no bound.

    Sizes are octets. ``max_message_size`` counts as SIZE does (RFC 1870 §3); ``max_line_length`` is a line of
    content without its line end; ``command_line`` and ``auth_line`` include it (RFC 5321 §4.5.3.1.4, RFC 4954
    §4). ``error_limit`` errors since the last accepted message end the session, and so do more than ``discard``
    octets of a content that is bad already, or of refused chunks. Over ``junk_limit`` commands since then that
    bring no mail forward (NOOP, RSET, EHLO, …), each further one is an error too.
    """

    max_message_size: int = 26_214_400
    max_recipients: int = 100
    error_limit: int = 20
    command_line: int = 512
    auth_line: int = 12_288
    max_line_length: int = 0
    discard: int = 67_108_864
    max_commands: int = 0
    junk_limit: int = 100


@dataclass(frozen=True, slots=True)
class Patience:
    """How long we wait for the peer, in seconds (RFC 5321 §4.5.3.2.7 asks for five minutes at least).

    ``greeting`` is for the first EHLO, ``command`` for any other command, ``data_block`` for a piece of content.
    ``data_end`` bounds our own answer: a peer waits ten minutes for it (RFC 5321 §4.5.3.2.6).
    """

    greeting: float = 300
    command: float = 300
    data_block: float = 180
    data_end: float = 600

    def seconds(self, phase: str) -> float:
        """The patience of a phase by name; without end for phases in which the peer owes us nothing."""
        if phase == "command":
            return self.command
        return {"greeting": self.greeting, "data_block": self.data_block}.get(phase, inf)


@dataclass(frozen=True)
class Profile:
    """A listener as the protocol core sees it.

    ``extensions`` are EHLO keywords that need no state (``PIPELINING``, ``SIZE``, ``8BITMIME``, ``DSN``,
    ``SMTPUTF8``, …); a parameter is understood only where its extension is in the set. ``mechanisms`` are SASL
    names in the order in which they are offered, under TLS only unless ``auth_in_clear``, but for those that are
    ``safe_in_clear`` (they send no password). ``starttls`` offers STARTTLS; with ``auth_required`` nothing is
    accepted without AUTH. ``submission`` is for whoever completes messages; the core itself does not look at it.
    ``lmtp`` makes it LMTP (RFC 2033): LHLO alone, and after the content a reply for each recipient.
    ``normalizes`` makes bare CR and bare LF in a content line ends, in the place of refusing it.
    ``xclient`` is for sessions with a host that may say who the client is.
    """

    host_name: str
    extensions: frozenset[str] = BASIC_EXTENSIONS
    mechanisms: tuple[str, ...] = ()
    starttls: bool = False
    auth_required: bool = False
    auth_in_clear: bool = False
    safe_in_clear: frozenset[str] = frozenset()
    submission: bool = False
    lmtp: bool = False
    normalizes: bool = False
    xclient: bool = False
    limits: ServerLimits = field(default_factory=ServerLimits)
    patience: Patience = field(default_factory=Patience)

    def hello(self, tls: bool) -> Reply:
        """The answer to EHLO, composed once per profile (RFC 5321 §4.1.1.1)."""
        return self._hello_tls if tls else self._hello_clear

    def offered(self, tls: bool) -> tuple[str, ...]:
        """The mechanisms that AUTH may name now."""
        if tls or self.auth_in_clear:
            return self.mechanisms
        return tuple(name for name in self.mechanisms if name in self.safe_in_clear)

    def auth_waits_for_tls(self, argument: str, tls: bool) -> bool:
        """Whether ``AUTH argument`` asks for what is offered under TLS alone."""
        offered = self.offered(tls)
        if offered == self.mechanisms:
            return False
        name = argument.partition(" ")[0].upper()
        return not offered or (name in self.mechanisms and name not in offered)

    def login_first(self, tls: bool) -> Reply:
        """The refusal of mail before AUTH (RFC 4954 §6, RFC 3207 §4)."""
        in_clear = self.starttls and not tls and not self.auth_in_clear
        return replies.STARTTLS_FIRST if in_clear else replies.AUTH_REQUIRED

    @cached_property
    def helo(self) -> Reply:
        """The answer to HELO."""
        return Reply(250, None, (self.host_name,))

    @cached_property
    def enhanced(self) -> bool:
        """Whether replies have enhanced status codes (RFC 2034 §4)."""
        return "ENHANCEDSTATUSCODES" in self.extensions

    @cached_property
    def understood(self) -> frozenset[str]:
        """The extensions whose parameters are understood after EHLO."""
        return self.extensions | {"AUTH"} if self.mechanisms else self.extensions

    @cached_property
    def _hello_tls(self) -> Reply:
        auth = [f"AUTH {' '.join(self.mechanisms)}"] if self.mechanisms else []
        return Reply(250, None, (self.host_name, *self._keywords(), *auth))

    @cached_property
    def _hello_clear(self) -> Reply:
        starttls = ["STARTTLS"] if self.starttls else []
        offered = self.offered(tls=False)
        auth = [f"AUTH {' '.join(offered)}"] if offered else []
        return Reply(250, None, (self.host_name, *self._keywords(), *starttls, *auth))

    def _keywords(self) -> list[str]:
        size = f"SIZE {self.limits.max_message_size}"
        offered = [size if keyword == "SIZE" else keyword for keyword in sorted(self.extensions)]
        return [*offered, xclient.KEYWORD] if self.xclient else offered
