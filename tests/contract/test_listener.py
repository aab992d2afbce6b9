"""A listener of the settings whose portal has an application's own deliveries behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailserver.interfaces import SpoolFull
from mailserver.reception.factory import ReceptionFactory
from mailserver.reception.limits import PerMinute
from mailserver.reception.world import Rates
from mailserver.settings.model import Certificate, Listener, Settings
from tests.contract.application import Application, Later, answering, failing, only_for, raising, refusal
from tests.contract.differences import differs
from tests.contract.servers import (
    CLIENT,
    CONTENT,
    FROM,
    HELLO,
    MESSAGE,
    PLAIN,
    TO,
    TO_BERT,
    MemoryTransport,
    Ours,
    Stock,
    codes,
)  # fmt: skip
from tests.harness.reception import Kit

BERT = b"bert@here.example"
TWO = (HELLO, FROM, TO, TO_BERT, b"DATA", *CONTENT)


class Listening:
    def __init__(self, app: Application, role: str = "mx", **changes: Any) -> None:
        self.app = app
        self.kit = Kit(**changes)
        listener = Listener(
            role=role, listen=["127.0.0.1:2525"], tls="starttls" if role == "submission" else "none"
        )
        certificate = Certificate(name="default", chain="chain.pem", key="key.pem")
        settings = Settings(
            instance=Path("none"), host_name="mx.here.example", listeners=[listener], certificates=[certificate]
        )
        self.factory = ReceptionFactory(settings, listener, self.kit.world, app.portal())
        self.factory.context = object()
        self.transport = MemoryTransport()
        self.protocol = self.factory.buildProtocol(CLIENT)
        self.protocol.makeConnection(self.transport)

    def talk(self, *commands: bytes) -> list[str]:
        said = []
        for command in commands:
            self.transport.clear()
            self.protocol.dataReceived(command + b"\r\n")
            said += self.said()[-1:]
        return said

    def said(self) -> list[str]:
        return self.transport.value().decode().splitlines()

    def wait(self, seconds: int) -> list[str]:
        self.transport.clear()
        self.kit.clock.advance(seconds)
        self.factory.tick()
        return self.said()

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionError()))


def test_the_application_hears_the_same_as_behind_the_bare_factory() -> None:
    bare, listening = Ours(Application()), Listening(Application())
    for server in (bare, listening):
        said = server.talk(*TWO, FROM, b"RSET", FROM, TO, b"DATA", b"x")
        assert codes(said)[:9] == [250, 250, 250, 250, 354, 250, 250, 250, 250]
        server.lose()
    assert listening.app.calls == bare.app.calls
    assert listening.kit.intake.accepted == []


def test_it_logs_in_with_what_it_is_given() -> None:
    listening = Listening(Application(), "submission")
    assert codes(listening.talk(HELLO, b"STARTTLS", HELLO, PLAIN, *MESSAGE[1:]))[3:] == [235, 250, 250, 354, 250]
    assert listening.app.arguments("login")[0][0] == "UsernamePassword"
    assert listening.app.users[0].protocol.authenticated
    assert listening.app.users[0].protocol.startedTLS
    assert listening.app.users[0].protocol.factory is listening.factory
    assert listening.kit.log.named("login.accepted")[0]["account"] == "anna"


def test_its_will_is_final_but_limits_stand_before_it() -> None:
    rates = Rates(PerMinute(2), PerMinute(1), PerMinute(0))
    listening = Listening(Application(), rates=rates)
    # No policy of ours: the recipient is nobody here, and the spool is full.
    listening.kit.blocked = "full"
    said = listening.talk(HELLO, FROM, b"RCPT TO:<any@where.example>", TO, b"RSET", FROM, b"RSET", FROM)
    assert codes(said) == [250, 250, 250, 450, 250, 250, 250, 450]
    assert listening.app.names().count("validateFrom") == 2
    assert listening.app.names().count("validateTo") == 1


@pytest.mark.parametrize("code", [452, 550])
def test_who_was_refused_at_the_end_is_reported_to_the_sender(code: int) -> None:
    listening = Listening(
        Application(eomReceived=only_for(BERT, failing(refusal(code, "4.2.2 no" if code == 452 else "no"))))
    )
    assert codes(listening.talk(*TWO))[-1] == 250
    [(envelope, content, facts)] = listening.kit.intake.accepted
    assert envelope.reverse_path.is_null
    assert [str(one.mailbox) for one in facts.originals] == ["x@far.example"]
    assert b"Final-Recipient: rfc822; bert@here.example" in content
    assert b"anna@here.example" not in content
    assert b"Subject: hi" in content
    assert (b"Status: 4.2.2" if code == 452 else b"Status: 5.0.0") in content
    assert listening.kit.log.named("message.partly-stored")[0]["stored"] == ["anna@here.example"]


def test_the_sender_is_told_only_after_the_report_is_durable() -> None:
    listening = Listening(Application(eomReceived=only_for(BERT, failing(refusal(550)))))
    commit: Deferred[str] = Deferred()
    listening.kit.intake.answers = iter([commit])
    assert codes(listening.talk(*TWO))[-1] == 354
    assert listening.said() == []
    commit.callback("q1")
    assert codes(listening.said()) == [250]


@pytest.mark.parametrize("full", [False, True])
def test_without_a_report_the_worst_is_answered(full: bool) -> None:
    listening = Listening(Application(eomReceived=only_for(BERT, failing(refusal(550)))))
    sender = FROM if full else b"MAIL FROM:<>"
    if full:
        listening.kit.intake.answers = iter([SpoolFull("disk")])
    assert codes(listening.talk(HELLO, sender, *TWO[2:]))[-1] == 550
    assert listening.kit.intake.accepted == []
    assert listening.kit.log.named("message.partly-stored")[0]["reported"] is False
    assert all(content.discarded for content in listening.kit.contents)


def test_all_refused_is_no_matter_for_a_report() -> None:
    listening = Listening(Application(eomReceived=failing(refusal(550))))
    assert codes(listening.talk(*TWO))[-1] == 550
    assert listening.kit.intake.accepted == []


@differs(
    0,
    "a hook that raises is logged as a traceback; one that answers nonsense, not at all",
    "one event, `hook.failed` or a failure, with `culprit`: the class and the name of the hook",
)
def test_the_log_names_the_culprit() -> None:
    stock = Stock(Application(validateTo=answering(None)))
    stock.talk(HELLO, FROM, TO)
    assert stock.events == []
    listening = Listening(Application(validateTo=answering(None)))
    assert codes(listening.talk(HELLO, FROM, TO))[-1] == 451
    [event] = listening.kit.log.named("hook.failed")
    assert event["culprit"] == "tests.contract.application.Delivery.validateTo"
    assert "NoneType" in event["reason"]
    failed = Listening(Application(validateTo=raising(ZeroDivisionError("secret"))))
    assert failed.talk(HELLO, FROM, TO)[-1] == "451 4.3.0 Local error in processing, try again later"
    assert isinstance(failed.kit.log.failures[0][1], ZeroDivisionError)


def test_hooks_that_never_answer() -> None:
    later = Later()
    listening = Listening(Application(validateTo=later, eomReceived=later))
    listening.talk(HELLO, FROM, TO)
    assert codes(listening.wait(280)) == [451]
    listening.talk(TO)
    later.fire(-1)
    listening.talk(b"DATA", *CONTENT)
    assert listening.wait(300) == []
    assert codes(listening.wait(300)) == [451]
    assert len(listening.kit.log.named("hook.failed")) == 2


def test_a_realm_that_answers_nonsense() -> None:
    listening = Listening(Application(requestAvatar=answering(None)))
    assert codes(listening.talk(HELLO, FROM)) == [250, 451]
    [event] = listening.kit.log.named("hook.failed")
    assert event["culprit"] == "tests.contract.application.Realm.requestAvatar"
