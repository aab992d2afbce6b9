"""What a check may look at: one session, its transaction so far, and the content once it has come.

One object serves a question of the client: a check reads it, keeps nothing of it, and changes nothing. What is
not known yet is empty, so that a check of several stages needs no case for ``None``.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailserver.message.content import Content
from mailserver.message.identity import Identity
from mailserver.smtp.address import NULL, Mailbox

STRANGER = Identity()


@dataclass(frozen=True, slots=True)
class CheckContext:
    """The argument `context` of `mailserver.interfaces.ICheck.check`.

    ``session`` is the session's id in the log, ``listener`` the name of the listener in the settings;
    ``submission`` is true where our own users come in. ``client_address`` is an IP address without brackets;
    ``tls`` says whether the connection is encrypted now. ``identity.account`` is None for a stranger.
    ``early_talker`` is whether octets of the client came before it was greeted: RFC 5321 §3.1 has it wait. It is
    seen for sure only with a ``reception.greeting_delay``.

    ===================  ====================================================================================
    field                known from the stage
    ===================  ====================================================================================
    ``helo``             HELLO: what EHLO or HELO said, as it was said; nothing proves it
    ``reverse_path``     MAIL; the null mailbox before, and for ``MAIL FROM:<>`` (its ``domain`` is None)
    ``forward_path``     RCPT only: the recipient that is asked about; the null mailbox at other stages
    ``forward_paths``    RCPT: the recipients accepted before this one; CONTENT: all of them
    ``content``          CONTENT: the whole message, with LF line ends; None before
    ===================  ====================================================================================
    """

    session: str
    listener: str = ""
    submission: bool = False
    client_address: str = ""
    tls: bool = False
    early_talker: bool = False
    helo: str = ""
    identity: Identity = STRANGER
    reverse_path: Mailbox = NULL
    forward_path: Mailbox = NULL
    forward_paths: tuple[Mailbox, ...] = ()
    content: Content | None = None

    @property
    def header(self) -> bytes:
        """The header section of the content, LF line ends, at most 64 KiB of it; empty before CONTENT."""
        return b"" if self.content is None else self.content.header()

    @property
    def size(self) -> int:
        """The octets of the content as SIZE counts them (RFC 1870 §3); 0 before CONTENT."""
        return 0 if self.content is None else self.content.size
