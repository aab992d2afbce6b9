"""SMTP smuggling: whatever a client writes for the end of a content, nobody reads two messages where it sent one
(CVE-2023-51764, CVE-2023-51765, CVE-2023-51766).

Each variant stands alone, comes in one segment, and is cut at every octet; what our server took is sent on by our
own client to another server, which reads it as the same single message.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from mailserver.smtp import events, plan, states
from mailserver.smtp.address import Mailbox
from mailserver.smtp.client import ClientCore
from mailserver.smtp.limits import Profile
from mailserver.smtp.server import ServerCore
from mailserver.smtp.transaction import ForwardPath, Transaction
from tests.harness.servercore import YES

EVIL = b"MAIL FROM:<evil@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil\r\n"
# What some server somewhere took for the end of a content. None of them is one.
REFUSED = {
    "LF . LF": b"\n.\n",
    "LF . CRLF": b"\n.\r\n",
    "CRLF . LF": b"\r\n.\n",
    "CR . CR": b"\r.\r",
    "CR . CRLF": b"\r.\r\n",
    "CRLF . CR": b"\r\n.\r",
    "LF . CR": b"\n.\r",
    "CR . LF": b"\r.\n",
    "CRLF . CR CRLF": b"\r\n.\r\r\n",
    "CRLF . CR CR": b"\r\n.\r\r",
    "CRLF NUL . CRLF": b"\r\n\0.\r\n",
    "CRLF . NUL CRLF": b"\r\n.\0\r\n",
    "LF LF . LF LF": b"\n\n.\n\n",
    "CR CR . CR CR": b"\r\r.\r\r",
    "CRLF . LF CRLF": b"\r\n.\n\r\n",
}
TAKEN_AS_TEXT = {
    "CRLF .. CRLF": b"\r\n..\r\n",
    "CRLF space . CRLF": b"\r\n .\r\n",
    "CRLF . space CRLF": b"\r\n. \r\n",
    "U+2028 . U+2028": "\u2028.\u2028".encode(),
    "NEL . NEL": "\x85.\x85".encode(),
    "raw NEL . NEL": b"\x85.\x85",
    "VT . VT": b"\x0b.\x0b",
    "FF . FF": b"\x0c.\x0c",
    "U+010A . U+010D": "\u010a.\u010d\u010a".encode(),
    "CRLF full-width . CRLF": "\r\n\uff0e\r\n".encode(),
    "CRLF U+3002 CRLF": "\r\n\u3002\r\n".encode(),
}
MX = Profile("mx.example.test", frozenset(("PIPELINING", "CHUNKING", "8BITMIME")))


class Server:
    """Takes everything; ``messages`` is what it took, LF line ends."""

    def __init__(self, profile: Profile = MX) -> None:
        self.core = ServerCore(profile)
        self.messages: list[bytes] = []
        self._content = b""
        self.said = b""
        self.turn()

    def receive(self, data: bytes) -> bytes:
        self.core.receive(data)
        return self.turn()

    def turn(self) -> bytes:
        core = self.core
        while (event := core.next_event()) is not None:
            if isinstance(event, events.ContentSlice):
                self._content += event.octets
            if isinstance(event, events.ContentEnds):
                self.messages.append(self._content)
            if isinstance(event, (events.ContentEnds, events.ContentDropped, events.TransactionReset)):
                self._content = b""
            if core.asking:
                core.answer(YES[type(event)])
        said = core.data_to_send()
        self.said += said
        return said

    def begin(self) -> None:
        self.receive(
            b"EHLO c.example.test\r\nMAIL FROM:<anna@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"
        )
        assert self.core.state is states.CONTENT


def pieces(data: bytes, way: str) -> list[bytes]:
    if way == "one segment":
        return [data]
    if way == "octets":
        return [data[place : place + 1] for place in range(len(data))]
    middle = len(b"Subject: x\r\n\r\nhello") + int(way)
    return [data[:middle], data[middle:]]


WAYS = ("one segment", "octets", *map(str, range(8)))


def sent(variant: bytes, way: str, profile: Profile = MX) -> Server:
    server = Server(profile)
    server.begin()
    for piece in pieces(b"Subject: x\r\n\r\nhello" + variant + EVIL + b".\r\n", way):
        server.receive(piece)
    return server


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_end_and_no_text_is_refused_as_a_whole(name, way):
    server = sent(REFUSED[name], way)
    assert server.messages == []
    assert server.core.state is states.READY
    assert server.said.splitlines()[-1][:3] == b"550"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TAKEN_AS_TEXT)
def test_what_is_text_stays_text_of_one_message(name, way):
    server = sent(TAKEN_AS_TEXT[name], way)
    (message,) = server.messages
    assert b"smuggled" in message
    assert relayed(message) == [message if message.endswith(b"\n") else message + b"\n"]


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_not_the_end_when_nothing_follows(name):
    server = Server()
    server.begin()
    server.receive(b"hello" + REFUSED[name])
    assert server.messages == []
    assert server.core.state is states.CONTENT, "it waits for the end"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", REFUSED)
def test_the_same_in_chunks(name, way):
    """BDAT says how long it is, so the ends mean nothing; but a bare line end is refused all the same."""
    content = b"Subject: x\r\n\r\nhello" + REFUSED[name] + EVIL
    server = Server()
    server.receive(b"EHLO c.example.test\r\nMAIL FROM:<anna@example.test>\r\nRCPT TO:<bob@example.test>\r\n")
    for piece in pieces(b"BDAT %d LAST\r\n" % len(content) + content, way):
        server.receive(piece)
    assert server.messages == []
    assert server.core.state is states.READY


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", REFUSED)
def test_normalized_it_is_one_message_for_everybody(name, way):
    variant = REFUSED[name]
    server = sent(variant, way, replace(MX, normalizes=True))
    if b"\0" in variant:
        assert server.messages == []
        return
    (message,) = server.messages
    assert b"smuggled" in message
    assert b"\r" not in message
    assert relayed(message) == [message]


def relayed(message: bytes) -> list[bytes]:
    """What another server reads of what our client sends."""
    server, client = Server(), ClientCore(plan.SessionPlan("out.example.test", tls="off"))
    transaction = Transaction(
        Mailbox.parse("anna@example.test"), (ForwardPath(Mailbox.parse("bob@example.test")),), len(message)
    )
    client.receive(server.said)
    while (event := client.next_event()) is not None or client.state.name not in ("CLOSED",):
        if isinstance(event, plan.Ready):
            client.start(transaction)
        elif isinstance(event, plan.SendContent):
            client.content(message)
            client.content_end()
        elif isinstance(event, plan.Answered):
            client.quit()
        elif isinstance(event, plan.Ended):
            break
        client.receive(server.receive(client.data_to_send()))
    return server.messages


def test_the_replies_that_a_message_may_not_forge():
    """The positive control: the matrix above would see a second message if there were one."""
    server = sent(b"\r\n.\r\n", "one segment")
    assert len(server.messages) == 2
    assert server.said.endswith(b"250 Ok\r\n"), "the second was accepted"
