"""A mail host somewhere else, as a test wants it to behave.

Every method that scripts it answers the host itself, so that they can be chained::

    mailkit.host("mx.remote.test", serves="remote.test").answers("RCPT", "450 4.2.1 later", "250 2.1.5 ok")

Unscripted, it takes everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import ServerFactory

from mailserver.testing.certificates import Certificates
from mailserver.testing.hostsession import HostSession
from mailserver.testing.reactor import MemoryReactor
from mailserver.testing.received import ReceivedMessage
from mailserver.testing.script import Act, Script, Step

_KEYWORDS = ("PIPELINING", "SIZE 26214400", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "SMTPUTF8")


class ScriptedHost(ServerFactory):
    """``messages`` are those it took, in order; ``transcript`` every command line that came; ``connections``
    how many there were; ``logins`` the pairs of user and password of AUTH PLAIN."""

    noisy = False

    def __init__(
        self, name: str, place: tuple[str, int], reactor: MemoryReactor, wall: Callable[[], float],
        certificates: Certificates,
    ) -> None:  # fmt: skip
        self.name = name
        self.address, self.port = place
        self.messages: list[ReceivedMessage] = []
        self.transcript: list[str] = []
        self.logins: list[tuple[str, str]] = []
        self.connections = 0
        self.keywords: tuple[str, ...] = _KEYWORDS
        self.context: Any = None
        self._certificates = certificates
        self._script = Script()
        self._reactor = reactor
        self._wall = wall
        self._listening: Any = None
        self.up()

    # Scripting.

    def answers(self, command: str, *replies: Step) -> ScriptedHost:
        """Say `replies` to `command`, one after the other; the last one from then on, none: its own again.

        Commands are those of :data:`~mailserver.testing.script.COMMANDS`; octets are sent as they are. After a
        reply of 421 the host closes. Raises ValueError for what is no reply."""
        self._script.answers(command, replies)
        return self

    def resets(self, command: str, times: int | None = 1) -> ScriptedHost:
        """Reset the connection where an answer to `command` is due (``.``: after the final dot); None: always.
        Nothing is kept of the message then."""
        self._script.does(command, Act.RESET, times)
        return self

    def closes(self, command: str, times: int | None = 1) -> ScriptedHost:
        """Close the connection in good order there, without a word."""
        self._script.does(command, Act.CLOSE, times)
        return self

    def silent(self, command: str, times: int | None = 1) -> ScriptedHost:
        """Say nothing there, and keep the connection."""
        self._script.does(command, Act.SILENCE, times)
        return self

    def offers(self, *keywords: str) -> ScriptedHost:
        """The EHLO keywords, in the place of the usual ones; STARTTLS is added by :meth:`tls`."""
        self.keywords = keywords
        return self

    def tls(self, certificate: str = "valid") -> ScriptedHost:
        """Offer STARTTLS. `certificate` is ``valid`` (by ``mailkit.ca_file``, for this host's name), ``expired``,
        ``self-signed`` or ``other-name``. Raises ValueError for anything else."""
        self.context = self._certificates.context(self.name, certificate)
        return self

    # The network.

    def up(self) -> ScriptedHost:
        """Take connections. It does from the beginning."""
        self._reactor.silence(self.address, False)
        if self._listening is None:
            self._listening = self._reactor.listenTCP(self.port, self, interface=self.address)
        return self

    def down(self) -> ScriptedHost:
        """Refuse connections."""
        if self._listening is not None:
            self._listening.stopListening()
            self._listening = None
        return self

    def unreachable(self) -> ScriptedHost:
        """Let connections come to no end, as a firewall does that drops."""
        self._reactor.silence(self.address)
        return self

    # What its sessions call.

    def buildProtocol(self, addr: Any) -> HostSession:
        """A session."""
        self.connections += 1
        return HostSession(self)

    def step(self, command: str) -> Step | None:
        """What the script says."""
        return self._script.next(command)

    def take(self, sender: str, recipients: list[str], raw: bytes, tls: bool) -> None:
        """Keep a message."""
        self.messages.append(ReceivedMessage(sender, recipients, raw, self._wall(), self.name, tls))
