"""The example of the tutorials runs on both, and so does program 2 of our own manual."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.mail.imap4 import LOGINCredentials, PLAINCredentials
from twisted.mail.smtp import SMTPFactory

from mailserver.reception import ESMTPFactory
from tests.contract import example
from tests.contract.servers import CLIENT, MemoryTransport

DIALOGUE = (
    b"EHLO client.example", b"MAIL FROM:<someone@far.example>", b"RCPT TO:<console@here.example>",
    b"RCPT TO:<nobody@here.example>", b"DATA", b"Subject: hi", b"", b"..dots", b".", b"QUIT",
)  # fmt: skip


def talk(factory: Any) -> list[int]:
    transport = MemoryTransport()
    protocol = factory.buildProtocol(CLIENT)
    protocol.makeConnection(transport)
    said = []
    for command in (b"", *DIALOGUE):
        if command or said:
            protocol.dataReceived(command + b"\r\n")
        said += transport.value().decode().splitlines()[-1:]
        transport.clear()
    return [int(line[:3]) for line in said]


@pytest.mark.parametrize("base", [SMTPFactory, ESMTPFactory])
def test_the_example_with_its_delivery_on_the_protocol(base: Any) -> None:
    shelf: list[str] = []
    kwargs = {"reactor": Clock()} if base is ESMTPFactory else {}
    factory = example.factory_class(base)(shelf, example.portal(shelf), **kwargs)
    assert talk(factory) == [220, 250, 250, 250, 550, 354, 250, 221]
    assert shelf == [
        "Received: from client.example ([192.0.2.7])\n\tfor console@here.example; "
        "Thu, 01 Jan 1970 00:00:00 -0000\nSubject: hi\n\n.dots"
    ]


def test_a_bare_factory_with_ones_own_portal() -> None:
    shelf: list[str] = []
    factory = ESMTPFactory(example.portal(shelf), reactor=Clock())
    factory.domain, factory.context = b"mx.example.org", object()
    factory.challengers = {b"PLAIN": PLAINCredentials, b"LOGIN": LOGINCredentials}
    assert talk(factory)[-2:] == [250, 221]
    assert len(shelf) == 1
