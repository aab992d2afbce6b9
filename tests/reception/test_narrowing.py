"""Strangers' words in every place they control: refused, or harmless in headers, logs, and reports.

U+010A and U+760D become LF and CR where somebody narrows characters to octets; U+2028 is a line end to some; the
full-width signs become ``@ < >`` under NFKC.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from mailserver.testing import MailKit

WORDS = {
    "U+010A": "a\u010abcc:evil",
    "U+760D U+760A": "a\u760d\u760abcc:evil",
    "U+2028": "a\u2028bcc:evil",
    "NEL": "a\x85bcc:evil",
    "full-width": "a\uff20example.test\uff1e\uff1cb",
    "CR": "a\rbcc:evil",
    "LF": "a\nbcc:evil",
    "ESC": "a\x1b]0;evil\x07b",
    "NUL": "a\0b",
    "quotes": "a\"'`;$(evil)b",
    "markup": "<script>evil</script>",
    "comment": "a) (b",
    "right-to-left": "a\u202eb",
}
HEADER = b"Subject: x\r\n\r\nhello\r\n"
_BAD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]")


class Client(Protocol):
    transport: Any

    def __init__(self) -> None:
        self.came = b""

    def dataReceived(self, data: bytes) -> None:
        self.came += data


class Wire:
    """A client that says octets as they are, to the listener ``mx`` of the kit."""

    def __init__(self, kit: MailKit) -> None:
        self.kit = kit
        place = next(one for one in kit.server.settings.listeners if one.name == "mx").listen[0]
        host, _, port = place.rpartition(":")
        self.client = Client()
        endpoint = TCP4ClientEndpoint(kit.reactor, host, int(port), bindAddress=("192.0.2.77", 0))
        endpoint.connect(Factory.forProtocol(lambda: self.client))
        kit.reactor.settle()

    def say(self, octets: bytes) -> bytes:
        self.client.came = b""
        self.client.transport.write(octets)
        self.kit.reactor.settle()
        return self.client.came


@pytest.fixture
def kit(mailkit: MailKit) -> MailKit:
    mailkit.account("anna@example.test", password="pw")
    return mailkit


def harmless(kit: MailKit) -> None:
    """No line of the log was begun by a stranger, and every letter has the header that we and its author wrote."""
    for line in kit.log.splitlines():
        assert not _BAD.search(line), line
        assert not line.lower().startswith("bcc:"), line
    for message in kit.mailbox("anna@example.test").messages:
        head = message.raw.split(b"\r\n\r\n")[0]
        names = [line.split(b":")[0].lower() for line in head.split(b"\r\n") if line[:1] not in b" \t"]
        assert set(names) <= {b"received", b"return-path", b"subject", b"delivered-to", b"date", b"message-id"}, (
            head
        )
        assert not _BAD.search(head.decode("utf-8", "replace").replace("\r\n", " ").replace("\t", " ")), head


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_in_ehlo(kit: MailKit, word: str) -> None:
    wire = Wire(kit)
    wire.say(b"EHLO " + word.encode() + b"\r\n")
    wire.say(b"MAIL FROM:<x@far.example>\r\nRCPT TO:<anna@example.test>\r\nDATA\r\n" + HEADER + b".\r\n")
    harmless(kit)


@pytest.mark.parametrize("parameters", ["", " SMTPUTF8"])
@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_in_addresses(kit: MailKit, word: str, parameters: str) -> None:
    for address in (f"{word}@far.example", f'"{word}"@far.example', f"x@{word}.example"):
        wire = Wire(kit)
        wire.say(b"EHLO c.example\r\n")
        wire.say(f"MAIL FROM:<{address}>{parameters}\r\n".encode())
        wire.say(b"MAIL FROM:<x@far.example>" + parameters.encode() + b"\r\n")
        wire.say(f"RCPT TO:<{address}>\r\n".encode())
        wire.say(b"RCPT TO:<anna@example.test>\r\nDATA\r\n" + HEADER + b".\r\n")
        harmless(kit)


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_in_the_answer_of_another_host(kit: MailKit, word: str) -> None:
    """Its words come back in our log, and in the report to the sender."""
    line = b"550 5.1.1 " + word.encode() + b"\r\n"
    kit.host("mx.remote.test", serves="remote.test").answers("RCPT", line)
    assert kit.submit("anna@example.test", ["bob@remote.test"], HEADER).code == 250
    kit.advance(minutes=1)
    for text in kit.log.splitlines():
        assert not _BAD.search(text), text
    (report,) = kit.mailbox("anna@example.test").messages
    parsed = report.parsed
    assert parsed.get_content_type() == "multipart/report"
    assert parsed["Bcc"] is None
    head = report.raw.split(b"\r\n\r\n")[0].decode("utf-8", "replace")
    assert not _BAD.search(head.replace("\r\n", " ").replace("\t", " ")), head
    status = next(part for part in parsed.walk() if part.get_content_type().endswith("delivery-status"))
    for group in status.get_payload():
        assert "bcc" not in {name.lower() for name in group.keys()}  # noqa: SIM118  (a message is no mapping)
    assert not _BAD.search(report.raw.decode("utf-8", "replace").replace("\r\n", " ").replace("\t", " "))
