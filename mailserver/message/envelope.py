"""The envelope of a message, and the facts that came with it.

Everything that a later issue of the life of a message needs (a DSN, a relay hop, the trail) is stored from
the moment of acceptance: the envelope is never completed afterwards. Values only: nothing here is parsed.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailserver.smtp.address import Mailbox


@dataclass(frozen=True, slots=True)
class Original:
    """One recipient as the client named it, before alias expansion.

    ``notify`` is the set of RFC 3461 §4.1 keywords (``NEVER``, ``SUCCESS``, ``FAILURE``, ``DELAY``) or None
    where the client said nothing; ``orcpt`` is the ORCPT value as given (``rfc822;…``, xtext decoded).
    ``expanded``: the address stands for several, who are recipients of their own; what is left to do under its
    own name is to tell the sender (RFC 3461 §5.2.7.3).
    """

    mailbox: Mailbox
    notify: frozenset[str] | None = None
    orcpt: str | None = None
    expanded: bool = False


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient as it is queued: ``number`` is its place in the message, fixed for the life of the message.

    ``originals`` are all recipients of the client that led here; equal mailboxes are one recipient.
    """

    number: int
    mailbox: Mailbox
    originals: tuple[Original, ...]

    def __hash__(self) -> int:
        return self.number

    @property
    def expanded(self) -> bool:
        """True when there is nothing to deliver, only the expansion to be reported."""
        return bool(self.originals) and self.originals[0].expanded


@dataclass(frozen=True, slots=True)
class Envelope:
    """The SMTP envelope with its RFC 3461, 6152 and 6531 parameters, and where the message came from.

    ``identity`` is the account that logged in, None for a stranger; ``listener`` the name of the listener;
    ``client_address`` an IP address; ``protocol`` the RFC 3848 word for ``Received`` (``ESMTPSA``).
    """

    reverse_path: Mailbox
    envid: str | None = None
    ret: str | None = None
    body: str | None = None
    smtputf8: bool = False
    identity: str | None = None
    listener: str = ""
    client_address: str = ""
    helo: str = ""
    protocol: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What intake needs beside the envelope and the content.

    ``queue_id`` was made by whoever wrote the trace header, ``arrived`` is wall-clock seconds; ``submitted``
    asks intake to complete the header (Date, Message-ID: RFC 6409 §8). ``fates`` and ``key`` as in `Prepared`.
    """

    queue_id: str
    originals: tuple[Original, ...]
    arrived: float
    submitted: bool = False
    fates: bool = False
    key: str | None = None
