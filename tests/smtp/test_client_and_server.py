"""Our client core and our server core in conversation, over a wire that cuts wherever it likes."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from mailserver.smtp import events, plan, replies, states
from mailserver.smtp.address import Mailbox
from mailserver.smtp.client import ClientCore, State
from mailserver.smtp.limits import BASIC_EXTENSIONS, Profile
from mailserver.smtp.reply import Reply, reply
from mailserver.smtp.sasl import PASSWORD_MECHANISMS, PasswordCredentials
from mailserver.smtp.server import ServerCore
from mailserver.smtp.transaction import ForwardPath, Phase, Transaction

CONTENT = b"Subject: gr\xc3\xbc\xc3\x9fe\n\n.\n..\n.x\nlast line without end"
UNKNOWN = reply(550, (5, 1, 1), "no such user")


class Conversation:
    """Octets go to and fro in random pieces until neither has anything to say."""

    def __init__(self, profile: Profile, wanted: plan.SessionPlan, seed: int) -> None:
        self.client = ClientCore(wanted)
        self.server = ServerCore(profile, PASSWORD_MECHANISMS)
        self.random = random.Random(seed)
        self.received = b""
        self.heard: list[plan.Event] = []
        self.credentials: list[object] = []
        self.paths: list[events.RcptTo] = []

    def run(self) -> None:
        while self.serve() | self.ask():
            pass

    def pieces(self, data: bytes) -> Iterable[bytes]:
        while data:
            place = self.random.randint(1, len(data))
            yield data[:place]
            data = data[place:]

    def serve(self) -> bool:
        while (event := self.server.next_event()) is not None:
            if isinstance(event, events.ContentSlice):
                self.received += event.octets
            elif self.server.asking:
                self.server.answer(self.decide(event))
        data = self.server.data_to_send()
        for piece in self.pieces(data):
            self.client.receive(piece)
        if self.server.state is states.TLS:
            self.ask()
            self.server.tls_started()
            self.client.tls_established(True)
            return True
        return bool(data)

    def decide(self, event: events.Event) -> Reply:
        if isinstance(event, events.RcptTo):
            self.paths.append(event)
            return UNKNOWN if event.forward_path.local_part == "nobody" else replies.RECIPIENT_OK
        if isinstance(event, events.Authenticate):
            self.credentials.append(event.credentials)
            return replies.AUTHENTICATED
        return {
            events.Opened: replies.greeting("mx.example.org"),
            events.MailFrom: replies.SENDER_OK,
            events.ContentBegins: replies.SEND_CONTENT,
            events.StartTls: replies.BEGIN_TLS,
        }.get(type(event), replies.OK)

    def ask(self) -> bool:
        while (event := self.client.next_event()) is not None:
            self.heard.append(event)
            if isinstance(event, plan.SendContent):
                for piece in self.pieces(CONTENT):
                    self.client.content(piece)
                self.client.content_end()
        data = self.client.data_to_send()
        for piece in self.pieces(data):
            self.server.receive(piece)
            self.serve()
        return bool(data)


def transaction(*names: str) -> Transaction:
    paths = tuple(
        ForwardPath(Mailbox.parse(f"{name}@b.example"), frozenset({"NEVER"}), f"rfc822;{name}+x@b.example")
        for name in names
    )
    return Transaction(
        Mailbox.parse('"m e"@example.org'), paths, size=100, body="8BITMIME", ret="HDRS", envid="a b"
    )


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("extensions", [BASIC_EXTENSIONS | {"DSN"}, BASIC_EXTENSIONS - {"PIPELINING"}])
def test_two_messages_and_quit(extensions: frozenset[str], seed: int) -> None:
    both = Conversation(Profile("mx.example.org", extensions), plan.SessionPlan("me.example.org", "off"), seed)
    both.run()
    for names in (("anna", "nobody"), ("anna",)):
        both.client.start(transaction(*names))
        both.run()
    both.client.quit()
    both.run()
    assert both.received == (CONTENT + b"\n") * 2
    first, second = (event for event in both.heard if isinstance(event, plan.Answered))
    assert [(answer.phase, answer.reply and answer.reply.code) for answer in first.answers] == [
        (Phase.FINAL, 250),
        (Phase.RCPT, 550),
    ]
    assert second.answers[0].reply == replies.OK
    assert both.heard[-1] == plan.Ended(None)
    if "DSN" in extensions:
        assert both.paths[0].params.orcpt == "rfc822;anna+x@b.example"
        assert both.paths[0].params.notify == {"NEVER"}


@pytest.mark.parametrize("seed", range(5))
def test_tls_and_a_login(seed: int) -> None:
    profile = Profile("mx.example.org", mechanisms=("PLAIN", "LOGIN"), starttls=True, auth_required=True)
    wanted = plan.SessionPlan("me.example.org", "verified", plan.Login("anna", "se cret"))
    both = Conversation(profile, wanted, seed)
    both.run()
    assert both.client.state is State.READY
    assert both.credentials == [PasswordCredentials(b"", b"anna", b"se cret")]
