"""Where a recipient goes: the decision of the router, and the attempt that carries it out."""

from __future__ import annotations

from dataclasses import dataclass

from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Recipient
from mailserver.smtp.address import Mailbox

TLS_MODES = ("off", "opportunistic", "verified")


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """How an outgoing connection is protected: a mode of :data:`TLS_MODES`; ``ca_file`` "" means the system's."""

    mode: str = "opportunistic"
    ca_file: str = ""


OPPORTUNISTIC = TlsPolicy()


@dataclass(frozen=True, slots=True)
class Route:
    """A transport by name, a destination (the grouping key), the TLS policy, and the reverse-path to use.

    ``destination`` is ``example.org`` (look up its MX), ``[host]:port`` (that host, no MX), ``local`` for
    transports that deliver here. ``reverse_path`` None means the envelope's own. ``hold`` not empty is why
    the recipient must wait for an operator instead of being tried. ``mailbox`` is the recipient's canonical
    name where it is another one than intake found (its domain became local while it waited), else None.
    """

    transport: str
    destination: str
    tls: TlsPolicy = OPPORTUNISTIC
    reverse_path: Mailbox | None = None
    hold: str = ""
    mailbox: Mailbox | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """Recipients of one message with one route, tried together.

    ``again`` is true when an earlier attempt may have happened (a restart, or a retry), so that a transport
    must look whether its own work is already done.
    """

    queue_id: str
    envelope: Envelope
    recipients: tuple[Recipient, ...]
    content: Content
    route: Route
    arrived: float
    again: bool = False
