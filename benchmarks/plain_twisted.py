"""The peer: stock `twisted.mail.smtp` with a delivery that is as durable as ours, written the usual way.

``python -m benchmarks.plain_twisted PORT MAILDIR PEM``; STARTTLS with a file of a key and its certificate, without
where PEM is empty. One file per message: write in ``tmp/``, fsync, rename into ``new/``, fsync the directory, then
the 250. Any recipient is accepted.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import ServerFactory
from twisted.internet.ssl import PrivateCertificate
from twisted.mail.interfaces import IMessageDelivery, IMessageSMTP
from twisted.mail.smtp import ESMTP
from zope.interface import implementer


@implementer(IMessageSMTP)
class MaildirMessage:
    """One message on its way into the Maildir."""

    def __init__(self, maildir: Path, name: str) -> None:
        self._maildir = maildir
        self._name = name
        self._lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        self._lines.append(line)

    def eomReceived(self) -> Deferred[bytes]:
        self._lines.append(b"")
        temporary, final = self._maildir / "tmp" / self._name, self._maildir / "new" / self._name
        with temporary.open("wb") as file:
            file.write(b"\n".join(self._lines))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(final)
        directory = os.open(final.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        return succeed(b"delivered")

    def connectionLost(self) -> None:
        self._lines.clear()


@implementer(IMessageDelivery)
class Delivery:
    """Accepts everybody."""

    def __init__(self, maildir: Path) -> None:
        self._maildir = maildir
        self._count = itertools.count()

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b"Received: from [127.0.0.1] by bench.test"

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> Any:
        return lambda: MaildirMessage(self._maildir, f"{os.getpid()}.{next(self._count)}")


class Factory(ServerFactory):
    """Stock ESMTP, with our delivery."""

    def __init__(self, delivery: Delivery, context: Any) -> None:
        self._delivery = delivery
        self._context = context

    def buildProtocol(self, addr: Any) -> Any:
        protocol: Any = ESMTP(contextFactory=self._context)
        protocol.factory = self
        protocol.delivery = self._delivery
        return protocol


def main() -> None:
    """Listen until killed."""
    port, maildir, pem = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    context = PrivateCertificate.loadPEM(Path(pem).read_bytes()).options() if pem else None
    for name in ("tmp", "new", "cur"):
        (maildir / name).mkdir(parents=True, exist_ok=True)
    running: Any = reactor
    running.listenTCP(port, Factory(Delivery(maildir), context), interface="127.0.0.1", backlog=200)
    running.run()


if __name__ == "__main__":
    main()
