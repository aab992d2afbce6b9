"""Who is owed a report, and how it is prepared."""

from __future__ import annotations

from email import message_from_bytes
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from mailserver.interfaces import SpoolFull
from mailserver.message.claim import Claim
from mailserver.message.content import Content
from mailserver.message.dsn import DELAYED, FAILED, Told
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import permanent
from mailserver.queue.bounce import Bounces, owed
from mailserver.smtp.address import NULL, Mailbox
from mailserver.threads import inline

SENDER = Mailbox.parse("s@a.example")
ONE, TWO = Mailbox.parse("one@b.example"), Mailbox.parse("two@b.example")


class Recorded(Content):
    """Says whether it was discarded, and waits or fails where it is told to."""

    __slots__ = ("discarded", "finishing", "writing")

    def __init__(self, writing: Any = None, finishing: Any = None) -> None:
        super().__init__()
        self.discarded, self.writing, self.finishing = False, writing, finishing

    def write(self, piece: bytes) -> Any:
        super().write(piece)
        return self.writing

    def finish(self) -> Any:
        return self.finishing

    def discard(self) -> None:
        self.discarded = True


def report(kit: Any, claim: Claim, content: Content | None = None) -> Any:
    bounces = Bounces("mx.here.example", kit.intake, lambda: content or Content(), inline, kit.clock)
    told = [Told(Original(ONE), permanent("no such address here"))]
    return Deferred.fromCoroutine(bounces.report(FAILED, claim, told))


def claim_of(content: Content, sender: Mailbox = SENDER) -> Claim:
    return Claim("0queueid", Envelope(sender), (Recipient(0, ONE, (Original(ONE),)),), content, 1_764_000_000.0)


def parsed(done: Any) -> Any:
    return message_from_bytes(b"".join(done.result.content.chunks()))


@pytest.mark.parametrize(
    ("words", "failed", "delayed"),
    [(None, True, True), ("NEVER", False, False), ("FAILURE", True, False), ("DELAY", False, True),
     ("SUCCESS", False, False), ("FAILURE,DELAY", True, True)],
)  # fmt: skip
def test_notify_decides(words: str | None, failed: bool, delayed: bool, make: Any) -> None:
    one = make.recipient(0, "one@b.example", words)
    assert bool(owed(FAILED, Envelope(SENDER), one)) is failed
    assert bool(owed(DELAYED, Envelope(SENDER), one)) is delayed
    assert owed(FAILED, Envelope(NULL), one) == owed(DELAYED, Envelope(NULL), one) == ()


def test_of_several_originals_only_those_that_ask_are_told() -> None:
    asks, silent, says_nothing = (
        Original(ONE, frozenset({"FAILURE"})),
        Original(TWO, frozenset({"NEVER"})),
        Original(ONE),
    )
    one = Recipient(0, ONE, (asks, silent, says_nothing))
    assert owed(FAILED, Envelope(SENDER), one) == (asks, says_nothing)
    assert owed(DELAYED, Envelope(SENDER), one) == (says_nothing,)


def test_a_recipient_without_originals_is_told_under_its_own_name() -> None:
    assert owed(FAILED, Envelope(SENDER), Recipient(0, ONE, ())) == (Original(ONE),)


def test_a_report_goes_from_nobody_to_the_sender_who_hears_of_nothing_more(kit: Any) -> None:
    prepared = report(kit, claim_of(Content.of(b"Subject: hi\n\nsecret body\n"))).result
    assert prepared.envelope.reverse_path == NULL
    (one,) = prepared.recipients
    assert one.mailbox == SENDER
    assert one.originals == (Original(SENDER, frozenset({"NEVER"})),)
    assert prepared.arrived == kit.clock.wall()
    text = b"".join(prepared.content.chunks())
    assert b"Subject: hi" in text
    assert b"secret" not in text


def test_a_sender_who_is_an_alias_is_expanded(kit: Any) -> None:
    kit.directory.aliases["team@here.example"] = ["anna@here.example", "ben@here.example"]
    prepared = report(kit, claim_of(Content(), Mailbox.parse("team@here.example"))).result
    assert [str(one.mailbox) for one in prepared.recipients] == ["anna@here.example", "ben@here.example"]


def test_the_trace_field_we_wrote_is_quoted_too_and_a_body_without_header_is_not(kit: Any) -> None:
    content = Content.of(b"no header, all body\n")
    content.head = b"Received: by us\n\n"
    quoted = parsed(report(kit, claim_of(content))).get_payload(2)
    assert quoted.get_content_type() == "text/rfc822-headers"
    assert quoted.get_payload().strip() == "Received: by us"


def test_a_header_in_a_file_is_read_on_the_disk_pool(kit: Any) -> None:
    content = Content.of(b"Subject: hi\n\nbody\n")
    content.file = "a-file"
    kinds = []

    def threads(kind: str, function: Any, *args: Any) -> Any:
        kinds.append(kind)
        return succeed(function(*args))

    bounces = Bounces("mx.here.example", kit.intake, Content, threads, kit.clock)
    told = [Told(Original(ONE), permanent("no"))]
    done = Deferred.fromCoroutine(bounces.report(FAILED, claim_of(content), told))
    assert "Subject: hi" in parsed(done).get_payload(2).get_payload()
    assert kinds == ["disk"]


def test_a_header_that_cannot_be_read_is_left_out(kit: Any) -> None:
    content = Content.of(b"Subject: hi\n\nbody\n")
    content.file, content.head = "a-file", b"Received: by us\n"

    def threads(kind: str, function: Any, *args: Any) -> Any:
        return fail(OSError("no such file"))

    bounces = Bounces("mx.here.example", kit.intake, Content, threads, kit.clock)
    done = Deferred.fromCoroutine(
        bounces.report(FAILED, claim_of(content), [Told(Original(ONE), permanent("no"))])
    )
    assert parsed(done).get_payload(2).get_payload().strip() == "Received: by us"


def test_a_report_is_prepared_only_when_its_content_is_finished(kit: Any) -> None:
    writing: Deferred[None] = Deferred()
    finishing: Deferred[None] = Deferred()
    done = report(kit, claim_of(Content()), Recorded(writing, finishing))
    writing.callback(None)
    assert not done.called
    finishing.callback(None)
    assert done.called


@pytest.mark.parametrize("where", ["write", "finish", "intake"])
def test_nothing_is_left_of_a_report_that_could_not_be_made(where: str, kit: Any) -> None:
    content = Recorded()
    if where == "intake":
        kit.directory.resolve = lambda mailbox: 1 / 0
    else:
        setattr(content, "writing" if where == "write" else "finishing", fail(SpoolFull("no room")))
    done = report(kit, claim_of(Content()), content)
    assert done.result.check(SpoolFull, ZeroDivisionError)
    done.addErrback(lambda failure: None)
    assert content.discarded
