"""Listeners of the role lmtp, and content by BDAT and with bad line ends, down to the intake."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.testing import StringTransport

from mailserver.interfaces import SpoolFull
from mailserver.reception.factory import ReceptionFactory
from mailserver.settings.model import Certificate, Listener, Reception, Settings
from mailserver.smtp.address import Mailbox
from tests.contract.application import Application, failing, only_for, refusal
from tests.contract.servers import CLIENT, MemoryTransport
from tests.contract.test_listener import Listening
from tests.harness.reception import ANNA, Kit

ENVELOPE = b"MAIL FROM:<x@far.example>\r\nRCPT TO:<anna@mail.test>\r\nRCPT TO:<bert@mail.test>\r\n"
LETTER = b"Subject: hi\r\n\r\n.dot\r\nend\r\n"


class Wire:
    """A connection to a listener."""

    def __init__(self, role: str = "lmtp", kit: Kit | None = None, **reception: object) -> None:
        self.kit = kit or Kit()
        listener = Listener(role=role, listen=["127.0.0.1:2524"], tls="starttls")
        settings = Settings(
            instance=Path("none"), host_name="mx.mail.test", listeners=[listener],
            certificates=[Certificate(chain="chain.pem", key="key.pem")], reception=Reception(**reception),
        )  # fmt: skip
        self.factory = ReceptionFactory(settings, listener, self.kit.world, self.kit.portal)
        self.factory.context = object()
        self.transport: StringTransport = MemoryTransport()
        self.protocol = self.factory.buildProtocol(CLIENT)
        self.protocol.makeConnection(self.transport)
        self.greeting = self.said()

    def said(self) -> list[str]:
        return self.transport.value().decode().splitlines()

    def send(self, octets: bytes) -> list[str]:
        self.transport.clear()
        self.protocol.dataReceived(octets)
        return self.said()

    def codes(self, octets: bytes) -> list[int]:
        return [int(line[:3]) for line in self.send(octets) if line[3:4] == " "]


def by_data(content: bytes) -> bytes:
    return b"DATA\r\n" + content.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def by_bdat(content: bytes) -> bytes:
    half = len(content) // 2
    return b"BDAT %d\r\n%sBDAT %d LAST\r\n%s" % (half, content[:half], len(content) - half, content[half:])


def test_it_greets_and_offers_no_login() -> None:
    wire = Wire()
    assert wire.greeting == ["220 mx.mail.test LMTP"]
    offered = {line[4:].partition(" ")[0] for line in wire.send(b"LHLO hub\r\n")[1:]}
    assert {"PIPELINING", "ENHANCEDSTATUSCODES", "CHUNKING", "STARTTLS"} <= offered
    assert "AUTH" not in offered
    assert wire.codes(b"EHLO hub\r\nHELO hub\r\nAUTH PLAIN\r\n") == [500, 500, 502]


@pytest.mark.parametrize("way", [by_data, by_bdat])
def test_one_commit_answers_for_every_recipient(way) -> None:
    wire = Wire()
    wire.send(b"LHLO hub\r\n")
    *_, first, second = wire.send(ENVELOPE + way(LETTER))
    assert first == second
    [(envelope, content, facts)] = wire.kit.intake.accepted
    assert first == f"250 2.0.0 Accepted as {facts.queue_id}"
    assert (envelope.protocol, envelope.listener, facts.submitted) == ("LMTP", "lmtp", False)
    assert [str(one.mailbox) for one in facts.originals] == ["anna@mail.test", "bert@mail.test"]
    assert content.endswith(b"Subject: hi\n\n.dot\nend\n")
    assert b" with LMTP id " in content


def test_under_tls_it_is_lmtps_and_with_smtputf8_it_says_so() -> None:
    kit = Kit()
    kit.portal.realm.extensions = ("SMTPUTF8",)
    wire = Wire(kit=kit)
    wire.send(b"LHLO hub\r\nSTARTTLS\r\n")
    wire.send(b"LHLO hub\r\n")
    wire.send(ENVELOPE + by_data(LETTER))
    assert wire.kit.intake.accepted[0][0].protocol == "LMTPS"
    wire.codes(ENVELOPE.replace(b"example>", b"example> SMTPUTF8") + by_data(LETTER))
    assert wire.kit.intake.accepted[1][0].protocol == "UTF8LMTPS"


def test_a_refused_message_is_refused_for_every_recipient() -> None:
    wire = Wire()
    wire.send(b"LHLO hub\r\n")
    wire.kit.intake.answers = iter([SpoolFull("disk")])
    assert wire.codes(ENVELOPE + by_data(LETTER)) == [250, 250, 250, 354, 452, 452]
    assert wire.codes(ENVELOPE + by_data(b"bare\nLF\r\n")) == [250, 250, 250, 354, 550, 550]
    assert wire.codes(b"RCPT TO:<anna@mail.test>\r\nDATA\r\nBDAT 0 LAST\r\n") == [503, 503, 503]
    assert wire.kit.intake.accepted == []


@pytest.mark.parametrize(("role", "code"), [("mx", 250), ("lmtp", 550)])
def test_it_never_relays_not_even_for_trusted_networks(role: str, code: int) -> None:
    wire = Wire(role, Kit(trusted=("192.0.2.7",)))
    hello = b"LHLO x\r\n" if role == "lmtp" else b"EHLO x\r\n"
    assert wire.codes(hello + b"MAIL FROM:<x@far.example>\r\nRCPT TO:<y@far.example>\r\n") == [250, 250, code]


def test_who_is_not_here_gets_no_reply_at_the_end() -> None:
    wire = Wire()
    wire.send(b"LHLO hub\r\n")
    said = wire.codes(ENVELOPE.replace(b"bert", b"nobody") + by_data(LETTER))
    assert said == [250, 250, 550, 354, 250]
    assert wire.codes(b"MAIL FROM:<>\r\nRCPT TO:<nobody@mail.test>\r\nDATA\r\n") == [250, 550, 503]


# An application's own deliveries.

HERE = b"MAIL FROM:<x@far.example>\r\nRCPT TO:<anna@here.example>\r\nRCPT TO:<bert@here.example>\r\n"


def test_each_sink_of_an_application_answers_for_its_recipient() -> None:
    bert = only_for(b"bert@here.example", failing(refusal(550, "no room for Bert")))
    listening = Listening(Application(eomReceived=bert), "lmtp")
    said = listening.talk(b"LHLO x", *HERE.splitlines(), b"DATA", b"Subject: hi", b"")
    listening.transport.clear()
    listening.protocol.dataReceived(b".\r\n")
    assert said[-1].startswith("354 ")
    assert listening.said() == ["250 2.0.0 Message accepted", "550 5.0.0 no room for Bert"]
    assert listening.kit.intake.accepted == []


@pytest.mark.parametrize("cut", [False, True])
def test_an_application_hears_the_same_by_bdat_as_by_data(cut: bool) -> None:
    heard = []
    for way in (by_data, by_bdat):
        listening = Listening(Application())
        octets = b"EHLO client.example\r\n" + HERE + way(b"Subject: hi\r\n\r\nno dots\r\n") + HERE + b"RSET\r\n"
        for piece in [octets[n : n + 1] for n in range(len(octets))] if cut else [octets]:
            listening.protocol.dataReceived(piece)
        heard.append(listening.app.calls)
    assert heard[0] == heard[1]
    assert "eomReceived" in [call[0] for call in heard[0]]


def test_a_connection_lost_between_chunks_is_a_lost_content() -> None:
    listening = Listening(Application())
    listening.protocol.dataReceived(b"EHLO x\r\n" + HERE + b"BDAT 6\r\nhalf\r\n")
    listening.lose()
    assert listening.app.names().count("connectionLost") == 2
    wire = Wire("mx")
    wire.codes(b"EHLO x\r\n" + ENVELOPE + b"BDAT 6\r\nhalf\r\n")
    wire.protocol.connectionLost()
    assert [content.discarded for content in wire.kit.contents] == [True]


@pytest.mark.parametrize(
    "end", [b"RSET\r\n", b"EHLO x\r\n", b"BDAT 5 x\r\n12345", b"BDAT 3 LAST\r\na\nb", b"BDAT 99999999\r\n"]
)
def test_a_message_by_chunks_that_is_given_up_leaves_nothing(end: bytes) -> None:
    wire = Wire("mx")
    wire.codes(b"EHLO x\r\n" + ENVELOPE + b"BDAT 6\r\nhalf\r\n" + end)
    assert [content.discarded for content in wire.kit.contents] == [True]
    assert wire.kit.intake.accepted == []


# Line ends on submission.


@pytest.mark.parametrize(
    ("role", "setting", "code"),
    [
        ("submission", "refuse", 550), ("submission", "normalize", 250), ("mx", "normalize", 550),
        ("lmtp", "normalize", 550),
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", [by_data, by_bdat])
def test_only_submission_makes_line_ends_whole(role: str, setting: str, code: int, way) -> None:
    wire = Wire(role, submission_line_ends=setting)
    wire.send(b"LHLO x\r\n" if role == "lmtp" else b"EHLO x\r\n")
    if role == "submission":
        wire.send(b"STARTTLS\r\n")
        wire.send(b"EHLO x\r\nAUTH PLAIN AGFubmFAbWFpbC50ZXN0AHNlY3JldCB3b3Jkcw==\r\n")
    said = wire.codes(f"MAIL FROM:<{ANNA}>\r\nRCPT TO:<{ANNA}>\r\n".encode() + way(b"Subject: hi\n\na\n.\rb\r\n"))
    assert said[-1] == code
    if code == 250:
        [(envelope, content, _)] = wire.kit.intake.accepted
        assert content.endswith(b"Subject: hi\n\na\n.\nb\n")
        assert envelope.reverse_path == Mailbox.parse(ANNA)
    else:
        assert wire.kit.intake.accepted == []
