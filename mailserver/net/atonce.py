"""Sending a reply at once, in the place of queueing it for the reactor's next turn.

Twisted's ``transport.write`` only queues: the socket is registered for writing, the reactor comes round, sends,
and unregisters it again. For a reply of 30 octets on an idle socket that is two system calls and an event for
nothing. Where a plain TCP transport has nothing queued, its own ``writeSomeData`` sends now; what the kernel does
not take is queued as ever. This looks at two private buffers of the transport, so it is a setting
(``reception.send_at_once``), and any transport that is not exactly Twisted's gets ``write``.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Server


def send(transport: Any, octets: bytes) -> None:
    """Send `octets` now as far as that is possible, and queue the rest."""
    if (
        type(transport) is Server
        and transport.connected
        and not transport.TLS
        and not transport.disconnecting
        and not transport.dataBuffer
        and not transport._tempDataBuffer
    ):
        sent = transport.writeSomeData(octets)
        # Else it is the exception with which the connection ended; write() finds that out for itself.
        if isinstance(sent, int):
            if sent == len(octets):
                return
            octets = octets[sent:]
    transport.write(octets)


def queue(transport: Any, octets: bytes) -> None:
    """Twisted's own way."""
    transport.write(octets)
