"""The pipeline by itself, and within a session."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from mailserver.interfaces import ICheck
from mailserver.message import CONTINUE, CheckContext, Stage, Status, Verdict, reject
from mailserver.reception import refusals
from mailserver.reception.asking import Asking, Bounds
from mailserver.reception.login import Login
from mailserver.reception.pipeline import Pipeline
from mailserver.reception.session import Session
from mailserver.reception.world import Peer
from mailserver.smtp import events
from mailserver.smtp.address import Mailbox
from mailserver.smtp.params import MailParams, RcptParams
from tests.harness.reception import Kit, Recorder, TurnedClock

REFUSED = reject(Status(5, 7, 1), "not you", "because")
CONTEXT = CheckContext("s1", client_address="192.0.2.1")


@implementer(ICheck)
class Says:
    """A check that answers what it is told, and keeps what it was asked with."""

    def __init__(self, answer, stages=(Stage.MAIL,), name="says"):
        self.answer, self.stages, self.name = answer, stages, name
        self.asked, self.sizes = [], []

    def check(self, stage, context):
        self.asked.append((stage, context))
        self.sizes.append(context.size)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer() if callable(self.answer) else self.answer


async def coroutine(value):
    if isinstance(value, Exception):
        raise value
    return value


def pipeline(*checks, patience=60.0):
    log, clock = Recorder(), TurnedClock()
    return Pipeline(checks, clock, log, patience), log, clock


def result(awaitable):
    got = []
    Deferred.fromCoroutine(awaitable).addBoth(got.append)
    return got[0] if got else "waiting"


def test_a_plain_verdict_is_answered_at_once():
    asked, log, _ = pipeline(Says(CONTINUE), Says(REFUSED, name="second"))
    reply = asked.refusal(Stage.MAIL, CONTEXT)
    assert str(reply) == "550 5.7.1 not you"
    assert log.named("check.refused") == [
        {"session": "s1", "client": "192.0.2.1", "check": "second", "stage": Stage.MAIL, "reply": reply,
         "reason": "because"}
    ]  # fmt: skip


def test_the_first_refusal_ends_the_question():
    after = Says(CONTINUE)
    asked, _, _ = pipeline(Says(REFUSED), after)
    assert asked.refusal(Stage.MAIL, CONTEXT) is not None
    assert after.asked == []


def test_only_the_stages_that_a_check_names():
    asked, _, _ = pipeline(Says(REFUSED, stages=[Stage.RCPT]))
    assert [stage for stage in Stage if asked.wants(stage)] == [Stage.RCPT]
    assert asked.refusal(Stage.MAIL, CONTEXT) is None


@pytest.mark.parametrize("make", [lambda: coroutine(REFUSED), lambda: succeed(REFUSED)])
def test_an_awaitable_verdict_counts_like_a_plain_one(make):
    asked, _, _ = pipeline(Says(lambda: coroutine(CONTINUE)), Says(make))
    assert str(result(asked.refusal(Stage.MAIL, CONTEXT))) == "550 5.7.1 not you"


@pytest.mark.parametrize(
    ("stage", "klass", "code"),
    [
        (Stage.CONNECT, 5, 554), (Stage.CONNECT, 4, 421), (Stage.HELLO, 5, 550), (Stage.MAIL, 4, 451),
        (Stage.RCPT, 5, 550), (Stage.CONTENT, 4, 451),
    ],
)  # fmt: skip
def test_the_code_is_of_the_class_and_the_stage(stage, klass, code):
    asked, _, _ = pipeline(Says(reject(Status(klass, 7, 1), "no"), stages=tuple(Stage)))
    assert asked.refusal(stage, CONTEXT).code == code


@pytest.mark.parametrize(
    "answer",
    [None, True, "no", 250, Verdict(Status(2, 0, 0)), ValueError("a bug"), SystemError()],
    ids=lambda answer: type(answer).__name__,
)
def test_what_is_no_verdict_is_451_and_names_the_check(answer):
    for way in (answer, lambda: coroutine(answer)):
        asked, log, _ = pipeline(Says(way, name="acme"))
        reply = asked.refusal(Stage.MAIL, CONTEXT)
        assert (reply if way is answer else result(reply)) is refusals.INTERNAL
        assert [event["check"] for event in log.named("check.failed")] == ["acme"]


def test_a_failure_at_the_greeting_is_421():
    asked, _, _ = pipeline(Says(None, stages=(Stage.CONNECT,)))
    assert asked.refusal(Stage.CONNECT, CONTEXT) is refusals.NOT_NOW


def test_silence_is_451_when_the_time_is_over_and_a_late_answer_is_nothing():
    never: Deferred = Deferred()
    asked, log, clock = pipeline(Says(lambda: never, name="slow"), patience=30)
    got = []
    Deferred.fromCoroutine(asked.refusal(Stage.MAIL, CONTEXT)).addCallback(got.append)
    clock.advance(29)
    asked.tick()
    assert got == []
    clock.advance(2)
    asked.tick()
    assert got == [refusals.INTERNAL]
    assert log.named("check.failed")[0]["check"] == "slow"
    never.callback(CONTINUE)
    assert got == [refusals.INTERNAL]


def test_a_text_of_many_lines_cannot_make_a_reply_of_its_own():
    asked, _, _ = pipeline(Says(reject(Status(5, 7, 1), "one\r\n250 two\x00" + "x" * 999)))
    wire = asked.refusal(Stage.MAIL, CONTEXT).wire
    assert wire.startswith(b"550-5.7.1 one\r\n550 5.7.1 250 two?xxx")
    assert max(map(len, wire.split(b"\r\n"))) < 512


# Within a session.


def kit(*checks):
    made = Kit()
    made.world = replace(made.world, checks=Pipeline(checks, made.clock, made.log, 60))
    return made


def talk(made, *events_):

    asking = Asking(made.clock, made.log, "s1", Bounds())
    session = Session(made.world, Peer("192.0.2.1", "mx", False, "s1"), Login(made.portal, asking), False)
    replies = []
    for event in events_:
        answer = session.handle(event)
        if hasattr(answer, "__await__"):
            got = []
            (answer if isinstance(answer, Deferred) else Deferred.fromCoroutine(answer)).addBoth(got.append)
            answer = got[0]
        replies.append(answer)
    return replies


def the_events(sender="x@spam.test"):

    return (
        events.Opened(),
        events.Hello("client.test", True),
        events.MailFrom(Mailbox.parse(sender), MailParams()),
        events.RcptTo(Mailbox.parse("anna@mail.test"), RcptParams()),
        events.RcptTo(Mailbox.parse("bert@mail.test"), RcptParams()),
        events.ContentBegins(),
        events.ContentSlice(b"Subject: a\n\nb\n"),
        events.ContentEnds(),
    )


@pytest.mark.parametrize("way", [lambda: CONTINUE, lambda: coroutine(CONTINUE)], ids=["plain", "coroutine"])
def test_every_stage_is_asked_with_what_is_known(way):
    check = Says(way, stages=tuple(Stage))
    made = kit(check)
    replies = talk(made, *the_events())
    assert [reply.code for reply in replies if reply] == [220, 250, 250, 250, 250, 354, 250]
    assert len(made.intake.accepted) == 1
    asked = dict(check.asked)
    assert [stage.name for stage, _ in check.asked] == ["CONNECT", "HELLO", "MAIL", "RCPT", "RCPT", "CONTENT"]
    assert (asked[Stage.CONNECT].client_address, asked[Stage.CONNECT].helo) == ("192.0.2.1", "")
    assert asked[Stage.HELLO].helo == asked[Stage.MAIL].helo == "client.test"
    assert str(asked[Stage.MAIL].reverse_path) == "x@spam.test"
    assert asked[Stage.MAIL].forward_path.is_null
    assert str(asked[Stage.RCPT].forward_path) == "bert@mail.test"
    assert [str(one) for one in asked[Stage.RCPT].forward_paths] == ["anna@mail.test"]
    content = asked[Stage.CONTENT]
    assert len(content.forward_paths) == 2
    assert content.header == b"Subject: a\n"
    assert check.sizes == [0, 0, 0, 0, 0, 17]
    assert asked[Stage.MAIL].header == b""


@pytest.mark.parametrize("way", [lambda: REFUSED, lambda: coroutine(REFUSED)], ids=["plain", "coroutine"])
@pytest.mark.parametrize("stage", list(Stage), ids=lambda stage: stage.value)
def test_a_refusal_leaves_nothing_behind(stage, way):
    made = kit(Says(way, stages=(stage,)))
    upto = {Stage.CONNECT: 1, Stage.HELLO: 2, Stage.MAIL: 3, Stage.RCPT: 4, Stage.CONTENT: 8}[stage]
    replies = talk(made, *the_events()[:upto])
    assert replies[-1].code == (554 if stage is Stage.CONNECT else 550)
    assert made.intake.accepted == []
    assert all(content.discarded for content in made.contents)


def test_our_own_refusal_comes_first():
    check = Says(CONTINUE, stages=(Stage.RCPT,))
    events_ = the_events()
    made = kit(check)

    stranger = events.RcptTo(Mailbox.parse("nobody@mail.test"), RcptParams())
    assert talk(made, *events_[:3], stranger)[-1] is refusals.NO_SUCH_USER
    assert check.asked == []
