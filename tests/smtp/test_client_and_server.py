"""Our client core and our server core in conversation, over a wire that cuts wherever it likes."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from mailserver.smtp import events, plan, replies, states
from mailserver.smtp.address import Mailbox
from mailserver.smtp.client import ClientCore
from mailserver.smtp.clientstates import State
from mailserver.smtp.limits import BASIC_EXTENSIONS, Profile
from mailserver.smtp.reply import Reply, reply
from mailserver.smtp.sasl import PASSWORD_MECHANISMS, PasswordCredentials
from mailserver.smtp.server import ServerCore
from mailserver.smtp.transaction import ForwardPath, Phase, Transaction

CONTENT = b"Subject: gr\xc3\xbc\xc3\x9fe\n\n.\n..\n.x\nlast line without end"
UNKNOWN = reply(550, (5, 1, 1), "no such user")
FULL = reply(452, (4, 2, 2), "mailbox full")


class Conversation:
    """Octets go to and fro in random pieces until neither has anything to say."""

    def __init__(self, profile: Profile, wanted: plan.SessionPlan, seed: int) -> None:
        self.client = ClientCore(wanted)
        self.server = ServerCore(profile, PASSWORD_MECHANISMS)
        self.random = random.Random(seed)
        self.received = b""
        self.asked = 0
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
                several = isinstance(event, events.ContentEnds) and self.server.profile.lmtp
                self.server.answer(*(self.verdicts() if several else (self.decide(event),)))
        data = self.server.data_to_send()
        for piece in self.pieces(data):
            self.client.receive(piece)
        if self.server.state is states.TLS:
            self.ask()
            self.server.tls_started()
            self.client.tls_established(True)
            return True
        return bool(data)

    def verdicts(self) -> Iterable[Reply]:
        """One for each recipient who was accepted: whoever is called "full" is."""
        names = [path.forward_path.local_part for path in self.paths]
        return [FULL if name == "full" else replies.OK for name in names if name != "nobody"]

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
                self.asked += 1
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


class CutAt(Conversation):
    """Everything goes at once, but for one cut after so many octets of both directions together."""

    def __init__(self, profile: Profile, wanted: plan.SessionPlan, place: int) -> None:
        super().__init__(profile, wanted, 0)
        self.place = place

    def pieces(self, data: bytes) -> Iterable[bytes]:
        place, self.place = self.place, self.place - len(data)
        if 0 < place < len(data):
            yield data[:place]
            yield data[place:]
        elif data:
            yield data


WAYS = [
    pytest.param(lmtp, flight, id=f"{'lmtp' if lmtp else 'smtp'}-{'bdat' if flight else 'data'}")
    for lmtp in (False, True)
    for flight in (False, True)
]


def one_message(lmtp: bool, flight: bool, place: int) -> CutAt:
    profile = Profile("mx.example.org", BASIC_EXTENSIONS | {"DSN"}, lmtp=lmtp)
    both = CutAt(profile, plan.SessionPlan("me.example.org", "off", lmtp=lmtp), place)
    both.run()
    both.client.start(transaction("anna", "nobody", "full"), CONTENT if flight else None)
    both.run()
    both.client.quit()
    both.run()
    return both


@pytest.mark.parametrize(("lmtp", "flight"), WAYS)
def test_a_cut_after_any_octet_changes_nothing(lmtp: bool, flight: bool) -> None:
    whole = one_message(lmtp, flight, 0)
    (answered,) = (event for event in whole.heard if isinstance(event, plan.Answered))
    assert [(one.phase, one.reply and one.reply.code) for one in answered.answers] == [
        (Phase.FINAL, 250),
        (Phase.RCPT, 550),
        (Phase.FINAL, 452 if lmtp else 250),
    ]
    assert whole.received == CONTENT + b"\n"
    assert whole.asked == (not flight)
    total = -whole.place
    assert total > 500
    for place in range(1, total):
        again = one_message(lmtp, flight, place)
        assert (again.heard, again.received, again.paths) == (whole.heard, whole.received, whole.paths), place


@pytest.mark.parametrize(("lmtp", "flight"), WAYS)
def test_nobody_is_left(lmtp: bool, flight: bool) -> None:
    profile = Profile("mx.example.org", lmtp=lmtp)
    both = Conversation(profile, plan.SessionPlan("me.example.org", "off", lmtp=lmtp), 1)
    both.run()
    for _ in range(3):
        both.client.start(transaction("nobody", "nobody"), CONTENT if flight else None)
        both.run()
    both.paths.clear()
    both.client.start(transaction("anna"), CONTENT if flight else None)
    both.run()
    assert both.received == CONTENT + b"\n"
    *refused, taken = (event for event in both.heard if isinstance(event, plan.Answered))
    assert [one.phase for event in refused for one in event.answers] == [Phase.RCPT] * 6
    assert taken.answers[0].reply == replies.OK


@pytest.mark.parametrize("seed", range(10))
def test_bdat_and_data_take_turns(seed: int) -> None:
    both = Conversation(Profile("mx.example.org"), plan.SessionPlan("me.example.org", "off"), seed)
    both.run()
    for number in range(6):
        both.client.start(transaction("anna"), CONTENT if (seed + number) % 2 else None)
        both.run()
    assert both.received == (CONTENT + b"\n") * 6
    assert both.asked == 3


@pytest.mark.parametrize("place", range(1, 400, 7))
def test_tls_and_a_login_cut_anywhere(place: int) -> None:
    """What was offered in clear is forgotten: AUTH is offered under TLS only, CHUNKING anew."""
    profile = Profile("mx.example.org", mechanisms=("PLAIN",), starttls=True, auth_required=True)
    wanted = plan.SessionPlan("me.example.org", "verified", plan.Login("anna", "se cret"))
    both = CutAt(profile, wanted, place)
    both.run()
    assert both.client.state is State.READY
    assert "STARTTLS" not in both.client.offers
    assert both.credentials == [PasswordCredentials(b"", b"anna", b"se cret")]
    both.client.start(transaction("anna"), CONTENT)
    both.run()
    assert both.received == CONTENT + b"\n"
