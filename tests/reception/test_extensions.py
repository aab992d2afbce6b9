"""What a listener announces, and what it then understands: one table of keyword, command and reply."""

from __future__ import annotations

import smtplib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.mail.interfaces import IMessageDelivery
from zope.interface import implementer

from mailserver.accounts.realm import MailRealm
from mailserver.reception import ESMTPFactory
from mailserver.reception.extensions import extensions_of
from mailserver.reception.factory import profile_of
from mailserver.settings import SettingsError
from mailserver.settings.model import Listener, Settings
from mailserver.smtp import events
from mailserver.smtp.limits import BASIC_EXTENSIONS, OFFERED, Profile
from mailserver.smtp.reply import reply
from mailserver.smtp.server import ServerCore
from mailserver.testing import MailKit

OK = reply(250, (2, 0, 0), "fine")


def listener(*off: str, role: str = "mx") -> Listener:
    return Listener(role=role, listen=["127.0.0.1:2525"], extensions_off=off)


def settings_with(one: Listener) -> Settings:
    return Settings(instance=Path("none"), host_name="mx.mail.test", listeners=[one])


def profile(*off: str, honours: Any = OFFERED) -> Profile:
    one = listener(*off)
    portal = SimpleNamespace(realm=SimpleNamespace(extensions=honours))
    return profile_of(settings_with(one), one, portal)


def say(given: Profile, *lines: bytes) -> list[bytes]:
    """The last reply line to each command after EHLO; everybody is welcome."""
    core = ServerCore(given)
    said = []
    for line in (b"", b"EHLO c.test\r\n", *lines):
        core.receive(line)
        while (event := core.next_event()) is not None:
            if isinstance(event, events.Question):
                core.answer(OK)
        said.append(core.data_to_send())
    return said[1:] if not lines else [one.splitlines()[-1] for one in said[2:]]


def announced(given: Profile) -> set[str]:
    (answer,) = say(given)
    return {line[4:].decode().split(" ")[0] for line in answer.splitlines()[1:]}


def test_everything_is_announced_where_our_own_realm_is_behind_it() -> None:
    assert announced(profile()) == OFFERED


MAIL = b"MAIL FROM:<a@b.test>"
RCPT = b"RCPT TO:<anna@mail.test>"
# Keyword, what is said, and how that is answered while it is on and while it is off.
TABLE = [
    ("SIZE", [MAIL + b" SIZE=10"], b"250", b"555 5.5.4"),
    ("8BITMIME", [MAIL + b" BODY=8BITMIME"], b"250", b"555 5.5.4"),
    ("8BITMIME", [MAIL + b" BODY=7BIT"], b"250", b"555 5.5.4"),
    ("SMTPUTF8", [MAIL + b" SMTPUTF8"], b"250", b"555 5.5.4"),
    ("SMTPUTF8", ["MAIL FROM:<jürgen@b.test> SMTPUTF8".encode()], b"250", b"553 5.6.7"),
    ("SMTPUTF8", ["VRFY jürgen SMTPUTF8".encode()], b"252", b"553 5.6.7"),
    ("DSN", [MAIL + b" RET=FULL"], b"250", b"555 5.5.4"),
    ("DSN", [MAIL + b" ENVID=x"], b"250", b"555 5.5.4"),
    ("DSN", [MAIL, RCPT + b" NOTIFY=NEVER"], b"250", b"555 5.5.4"),
    ("DSN", [MAIL, RCPT + b" ORCPT=rfc822;x"], b"250", b"555 5.5.4"),
    ("CHUNKING", [MAIL, RCPT, b"BDAT 0 LAST"], b"250", b"502 5.5.1"),
    ("ENHANCEDSTATUSCODES", [MAIL], b"250 2.0.0 fine", b"250 fine"),
    ("ENHANCEDSTATUSCODES", [b"EXPN list"], b"502 5.5.1", b"502 Command not implemented"),
    ("ENHANCEDSTATUSCODES", [b"NOTHING"], b"500 5.5.2", b"500 Command not recognized"),
    ("ENHANCEDSTATUSCODES", [b"QUIT"], b"221 2.0.0", b"221 Goodbye"),
    # It is only not announced: a client that pipelines all the same is understood.
    ("PIPELINING", [MAIL + b"\r\n" + RCPT], b"250", b"250"),
]


@pytest.mark.parametrize(("keyword", "lines", "on", "off"), TABLE)
def test_on_and_off(keyword: str, lines: list[bytes], on: bytes, off: bytes) -> None:
    others = ["SMTPUTF8"] if keyword == "8BITMIME" else []
    without = profile(keyword, *others)
    assert announced(without) == OFFERED - {keyword, *others}
    wire = [line + b"\r\n" for line in lines]
    assert say(profile(), *wire)[-1].startswith(on)
    assert say(without, *wire)[-1].startswith(off)


def test_every_keyword_is_in_the_table() -> None:
    assert {keyword for keyword, *_ in TABLE} == OFFERED


def test_size_is_a_limit_also_where_it_is_not_announced() -> None:
    content = b"x" * 99 + b"\r\n"
    whole = content * 300_000 + b".\r\n"
    *_, last = say(profile("SIZE"), MAIL + b"\r\n", RCPT + b"\r\n", b"DATA\r\n", whole)
    assert last.startswith(b"552 5.3.4")


def test_a_realm_that_says_nothing_promises_nothing() -> None:
    assert announced(profile(honours=())) == BASIC_EXTENSIONS
    assert announced(profile(honours=["DSN"])) == BASIC_EXTENSIONS | {"DSN"}
    # Nobody else decides what the engine understands.
    assert extensions_of(SimpleNamespace(extensions={"BINARYMIME"})) == BASIC_EXTENSIONS
    assert extensions_of(None) == BASIC_EXTENSIONS
    assert MailRealm(lambda identity: identity).extensions == frozenset()


@pytest.mark.parametrize(
    ("off", "role", "words"),
    [
        (["8BITMIME"], "mx", '"SMTPUTF8" beside it'),
        (["STARTTLS"], "mx", "STARTTLS goes by tls"),
        (["AUTH"], "mx", "AUTH by the role"),
        (["chunking"], "mx", '"CHUNKING"'),
        (["ETRN"], "mx", '"CHUNKING"'),
        (["PIPELINING"], "lmtp", "RFC 2033"),
        (["ENHANCEDSTATUSCODES"], "lmtp", "RFC 2033"),
    ],
)
def test_what_cannot_be_switched_so_is_refused(off: list[str], role: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_with(listener(*off, role=role))
    assert f"listeners.{role}.extensions_off" in str(caught.value)
    assert words in str(caught.value)


def test_what_can_be_switched_is_taken() -> None:
    settings_with(listener(*OFFERED))
    settings_with(listener(*(OFFERED - {"PIPELINING", "ENHANCEDSTATUSCODES"}), role="lmtp"))


def test_the_listeners_of_a_server_announce_what_its_spool_honours(mailkit: MailKit) -> None:
    mailkit.account("anna@example.test")
    port = mailkit.listen("mx")
    with smtplib.SMTP("127.0.0.1", port.port) as client:
        client.ehlo()
        assert {keyword.upper() for keyword in client.esmtp_features} >= OFFERED


# Applications behind our engine.


@implementer(IMessageDelivery)
class Delivery:
    """Refuses, and keeps what it was asked with."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        self.asked.append(origin)
        return origin

    def validateTo(self, user: Any) -> Any:
        self.asked.append(user)
        return lambda: 1 / 0

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b""


def application(delivery: Delivery, **attributes: Any) -> tuple[Any, StringTransport]:
    factory = ESMTPFactory(Portal(MailRealm(lambda identity: delivery), [AllowAnonymousAccess()]), clock=_Still())
    factory._reactor = SimpleNamespace(callLater=lambda *_: SimpleNamespace(cancel=lambda: None))
    for name, value in {"domain": b"app.test", "challengers": {}, **attributes}.items():
        setattr(factory, name, value)
    protocol = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
    transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 1))
    protocol.makeConnection(transport)
    return protocol, transport


class _Still:
    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> float:
        return 0.0


def spoken(protocol: Any, transport: StringTransport, octets: bytes) -> list[bytes]:
    transport.clear()
    protocol.dataReceived(octets)
    return transport.value().splitlines()


def test_an_application_gets_what_the_engine_can_do_alone() -> None:
    protocol, transport = application(Delivery())
    lines = spoken(protocol, transport, b"EHLO c.test\r\n")
    assert {line[4:].decode().split(" ")[0] for line in lines[1:]} == BASIC_EXTENSIONS
    assert spoken(protocol, transport, b"MAIL FROM:<a@b.test> RET=FULL\r\n")[0].startswith(b"555")


def test_an_application_that_honours_more_says_so_and_sees_the_parameters() -> None:
    delivery = Delivery()
    protocol, transport = application(delivery, extensions={"DSN", "SMTPUTF8"})
    lines = spoken(protocol, transport, b"EHLO c.test\r\n")
    assert {line[4:].decode().split(" ")[0] for line in lines[1:]} == OFFERED
    mail = "MAIL FROM:<jürgen@b.test> SMTPUTF8 RET=FULL ENVID=a+2Bb BODY=8BITMIME\r\n".encode()
    rcpt = "RCPT TO:<\u010a@b.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By\r\n".encode()
    assert [line[:3] for line in spoken(protocol, transport, mail + rcpt)] == [b"250", b"250"]
    origin, user = delivery.asked
    assert (origin.local, user.dest.local) == ("jürgen".encode(), "\u010a".encode())
    given = origin.esmtp
    assert (given.ret, given.envid, given.smtputf8, given.body) == ("FULL", "a+b", True, "8BITMIME")
    assert (user.esmtp.notify, user.esmtp.orcpt) == ({"SUCCESS", "DELAY"}, "rfc822;x+y")


def test_an_application_may_switch_off() -> None:
    protocol, transport = application(Delivery(), extensions=["DSN"], extensions_off=["CHUNKING", "DSN"])
    lines = spoken(protocol, transport, b"EHLO c.test\r\n")
    assert {line[4:].decode().split(" ")[0] for line in lines[1:]} == BASIC_EXTENSIONS - {"CHUNKING"}
