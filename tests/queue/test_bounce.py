"""Who is owed a report, and how it is prepared."""

from __future__ import annotations

from email import message_from_bytes
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from mailserver.interfaces import SpoolFull
from mailserver.message.claim import Claim
from mailserver.message.content import Content
from mailserver.message.dsn import DELAYED, DELIVERED, EXPANDED, FAILED, RELAYED, Told
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
    return Deferred.fromCoroutine(bounces.report(claim, told))


def claim_of(content: Content, sender: Mailbox = SENDER) -> Claim:
    return Claim("0queueid", Envelope(sender), (Recipient(0, ONE, (Original(ONE),)),), content, 1_764_000_000.0)


def parsed(done: Any) -> Any:
    return message_from_bytes(b"".join(done.result.content.chunks()))


@pytest.mark.parametrize(
    ("words", "told"),
    [(None, "failed delayed"), ("NEVER", ""), ("FAILURE", "failed"), ("DELAY", "delayed"),
     ("SUCCESS", "delivered relayed expanded"), ("FAILURE,DELAY", "failed delayed"),
     ("SUCCESS,FAILURE,DELAY", "failed delayed delivered relayed expanded")],
)  # fmt: skip
def test_notify_decides(words: str | None, told: str, make: Any) -> None:
    one = make.recipient(0, "one@b.example", words)
    for action in (FAILED, DELAYED, DELIVERED, RELAYED, EXPANDED):
        assert bool(owed(action, Envelope(SENDER), one)) is (action in told.split())
        assert owed(action, Envelope(NULL), one) == ()


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
    done = Deferred.fromCoroutine(bounces.report(claim_of(content), told))
    assert "Subject: hi" in parsed(done).get_payload(2).get_payload()
    assert kinds == ["disk"]


def test_a_header_that_cannot_be_read_is_left_out(kit: Any) -> None:
    content = Content.of(b"Subject: hi\n\nbody\n")
    content.file, content.head = "a-file", b"Received: by us\n"

    def threads(kind: str, function: Any, *args: Any) -> Any:
        return fail(OSError("no such file"))

    bounces = Bounces("mx.here.example", kit.intake, Content, threads, kit.clock)
    done = Deferred.fromCoroutine(bounces.report(claim_of(content), [Told(Original(ONE), permanent("no"))]))
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


# RET (RFC 3461 §4.3).

BODY = b"Subject: hi\n\nall of it\n"


def with_ret(ret: str | None, content: Content, **envelope: Any) -> Claim:
    value = Envelope(SENDER, ret=ret, **envelope)
    return Claim("0queueid", value, (Recipient(0, ONE, (Original(ONE),)),), content, 1_764_000_000.0)


def made(kit: Any, claim: Claim, action: str = FAILED, threads: Any = inline, new: Any = Content) -> Any:
    bounces = Bounces("mx.here.example", kit.intake, new, threads, kit.clock)
    return Deferred.fromCoroutine(bounces.report(claim, [Told(Original(ONE), permanent("no"), action)]))


@pytest.mark.parametrize(
    ("ret", "action", "whole"),
    [("FULL", FAILED, True), ("HDRS", FAILED, False), (None, FAILED, False), ("FULL", DELAYED, False),
     ("FULL", DELIVERED, False)],
)  # fmt: skip
def test_the_whole_message_comes_back_where_that_is_asked_of_a_failure(
    ret: str | None, action: str, whole: bool, kit: Any
) -> None:
    content = Content.of(BODY)
    content.head = b"Received: by us\n"
    quoted = parsed(made(kit, with_ret(ret, content), action)).get_payload(2)
    assert quoted.get_content_type() == ("message/rfc822" if whole else "text/rfc822-headers")
    assert ("all of it" in str(quoted)) is whole
    assert "Received: by us" in str(quoted)


def test_a_whole_message_with_8_bit_text_makes_an_8_bit_report(kit: Any) -> None:
    claim = with_ret("FULL", Content.of("Subject: hi\n\ngrün\n".encode()))
    prepared = made(kit, claim).result
    assert (prepared.envelope.body, prepared.envelope.smtputf8) == ("8BITMIME", False)
    assert "grün".encode() in b"".join(prepared.content.chunks())
    assert made(kit, with_ret("HDRS", claim.content)).result.envelope.body is None


def test_a_report_to_an_address_with_other_letters_needs_smtputf8(kit: Any) -> None:
    claim = claim_of(Content.of(BODY), Mailbox.parse("jürgen@a.example"))
    prepared = made(kit, claim).result
    assert (prepared.envelope.body, prepared.envelope.smtputf8) == ("8BITMIME", True)


class Filed(Content):
    """As one in a file: read in pieces, on the disk pool."""

    def __init__(self, octets: bytes, broken_after: int | None = None) -> None:
        super().__init__()
        for place in range(0, len(octets), 7):
            self.write(octets[place : place + 7])
        self.file, self.broken_after = "a-file", broken_after

    def pieces(self) -> Any:
        for number, piece in enumerate(super().pieces()):
            if number == self.broken_after:
                raise OSError("the disk")
            yield piece


def test_a_whole_message_in_a_file_is_read_piece_by_piece_on_the_disk_pool(kit: Any) -> None:
    called = []

    def threads(kind: str, function: Any, *args: Any) -> Any:
        called.append((kind, getattr(function, "__name__", "")))
        return inline(kind, function, *args)

    written: list[int] = []

    class New(Content):
        __slots__ = ()

        def write(self, piece: bytes) -> Any:
            written.append(len(piece))
            return super().write(piece)

    done = made(kit, with_ret("FULL", Filed(BODY)), threads=threads, new=New)
    octets = b"".join(done.result.content.chunks())
    assert b"message/rfc822\n\n" + BODY + b"\n--report-" in octets
    assert {kind for kind, _ in called} == {"disk"}
    assert [name for _, name in called].count("next") == len(written) - 1
    assert written[1:-1] == [7, 7, 7, 2]


@pytest.mark.parametrize("after", [0, 2])
def test_a_whole_message_that_cannot_be_read_is_quoted_by_its_header(after: int, kit: Any) -> None:
    made_ones: list[Recorded] = []

    def new() -> Recorded:
        made_ones.append(Recorded())
        return made_ones[-1]

    content = Filed(BODY, after)
    content.ascii = lambda: True  # type: ignore[method-assign]  # it is the second reading that fails
    done = made(kit, with_ret("FULL", content), new=new)
    quoted = parsed(done).get_payload(2)
    assert quoted.get_content_type() == "text/rfc822-headers"
    assert quoted.get_payload().strip() == "Subject: hi"
    assert [one.discarded for one in made_ones] == [True, False]


def test_no_room_for_a_whole_message_is_no_reason_to_say_less(kit: Any) -> None:
    content = Recorded(finishing=fail(SpoolFull("no room")))
    done = made(kit, with_ret("FULL", Content.of(BODY)), new=lambda: content)
    assert done.result.check(SpoolFull)
    done.addErrback(lambda failure: None)
    assert content.discarded
