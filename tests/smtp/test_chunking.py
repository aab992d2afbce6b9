"""BDAT (RFC 3030): chunks, what is wrong with them, and what becomes of their octets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.smtp import events, replies, states
from mailserver.smtp.command import Refused, chunk_size, read_bdat
from mailserver.smtp.limits import BASIC_EXTENSIONS, Profile, ServerLimits
from mailserver.smtp.reply import reply
from mailserver.smtp.sasl import PASSWORD_MECHANISMS
from mailserver.smtp.server import OutOfTurn, ServerCore
from tests.harness.servercore import ANNA, MX, SUBMISSION, YES, Driver, at, ready


def bdat(content, last=False):
    return b"BDAT %d%s\r\n%s" % (len(content), b" LAST" if last else b"", content)


def chunked(profile=MX, **answers):
    driver = ready(profile, **answers)
    driver.envelope()
    return driver


def small(**limits):
    return Profile("mx.example.org", limits=ServerLimits(**limits))


def test_one_chunk_is_a_message():
    driver = chunked()
    assert driver.say(raw=bdat(b"Subject: x\r\n\r\nhi\r\n", last=True)) == [250]
    assert driver.events[-3:] == [
        events.ContentBegins(),
        events.ContentSlice(b"Subject: x\n\nhi\n"),
        events.ContentEnds(),
    ]
    assert driver.core.state is states.READY


def test_several_chunks_in_one_segment_with_the_envelope():
    driver = ready()
    said = driver.say(
        "MAIL FROM:<a@b>",
        "RCPT TO:<c@d>",
        raw=bdat(b"one\r\n") + bdat(b"two") + bdat(b"") + bdat(b"\r\n", last=True) + b"NOOP\r\n",
    )
    assert said == [250, 250, 250, 250, 250, 250, 250]
    assert driver.accepted == [b"one\ntwo\n"]
    assert driver.output.count(replies.CHUNK_OK.wire) == 3


def test_an_empty_message():
    driver = chunked()
    assert driver.say("BDAT 0 LAST") == [250]
    assert driver.accepted == [b""]


def test_dots_mean_nothing():
    driver = chunked()
    assert driver.say(raw=bdat(b".\r\n..x\r\n\r\n.\r\n", last=True)) == [250]
    assert driver.accepted == [b".\n..x\n\n.\n"]


def test_the_reply_to_the_last_chunk_is_the_holders():
    driver = chunked(ContentEnds=replies.NO_ROOM)
    assert driver.say(raw=bdat(b"a\r\n") + bdat(b"b\r\n", last=True)) == [250, 452]
    assert driver.core.state is states.READY


def test_a_chunk_is_answered_after_its_octets_and_not_before():
    driver = chunked()
    assert driver.say(raw=b"BDAT 4\r\nab") == []
    assert driver.core.busy
    assert driver.core.waiting_for == ("data_block", 180)
    assert driver.say(raw=b"\r") == []
    assert driver.say(raw=b"\nNOOP\r\n") == [250, 250]
    assert driver.core.waiting_for == ("command", 300)
    assert driver.core.busy


def test_a_last_line_gets_its_end():
    driver = chunked()
    assert driver.say(raw=bdat(b"no line end", last=True)) == [250]
    assert driver.accepted == [b"no line end\n"]


def test_a_line_end_split_between_chunks():
    driver = chunked()
    assert driver.say(raw=bdat(b"a\r") + bdat(b"") + bdat(b"\nb\r") + bdat(b"\n", last=True)) == [250] * 4
    assert driver.accepted == [b"a\nb\n"]


@pytest.mark.parametrize(
    ("pieces", "refusal"),
    [
        ([b"a\nb\r\n"], replies.BARE_LINE_END),
        ([b"a\rb\r\n"], replies.BARE_LINE_END),
        ([b"a\r", b"b"], replies.BARE_LINE_END),
        ([b"a\r"], replies.BARE_LINE_END),
        ([b"a", b"\n"], replies.BARE_LINE_END),
        ([b"a\0"], replies.HAS_NUL),
        ([b"x" * 15, b"x" * 6 + b"\r\n"], replies.CONTENT_LINE_TOO_LONG),
        ([b"x" * 21], replies.CONTENT_LINE_TOO_LONG),
        ([b"x\r\n" * 20, b"x\r\n" * 20], replies.TOO_LARGE),
        ([b"x\r\n" * 33, b"y"], replies.TOO_LARGE),
    ],
)
def test_bad_content_is_refused_as_by_data(pieces, refusal):
    """The chunk in which it shows is refused, behind its octets; later ones have no transaction."""
    *first, last = pieces
    driver = chunked(small(max_line_length=20, max_message_size=100))
    said = driver.say(raw=b"".join(bdat(piece) for piece in first) + bdat(last, last=True) + b"NOOP\r\n")
    assert said == [*[250] * len(first), refusal.code, 250]
    assert refusal.wire in driver.output
    assert driver.accepted == []
    assert driver.core.state is states.READY
    assert driver.events[-1] == events.ContentDropped(refusal)


def test_what_is_refused_at_the_first_chunk_was_no_content_yet():
    driver = chunked(small(max_message_size=100))
    assert driver.say(raw=bdat(b"x" * 101)) == [552]
    assert driver.names()[-1] == "TransactionReset"
    assert "ContentBegins" not in driver.names()


def test_a_refused_content_waits_for_its_octets():
    driver = chunked(ContentBegins=replies.NO_ROOM)
    assert driver.say(raw=b"BDAT 10\r\nMAIL FR") == []
    assert driver.say(raw=b"OM:NOOP\r\n") == [452, 250]
    assert driver.names()[-2:] == ["ContentBegins", "TransactionReset"]
    assert driver.core.state is states.READY


def test_a_refusal_that_ends_the_session_does_not_wait():
    driver = chunked(ContentBegins=replies.SHUTTING_DOWN)
    assert driver.say(raw=b"BDAT 10\r\n") == [421]
    assert driver.core.state is states.CLOSED


def test_over_size_is_said_once_and_the_rest_is_drained():
    driver = chunked(small(max_message_size=100))
    chunk = bdat(b"x" * 58 + b"\r\n")
    assert driver.say(raw=chunk * 3 + bdat(b"y", last=True) + b"NOOP\r\n") == [250, 552, 503, 503, 250]
    assert replies.MAIL_FIRST.wire in driver.output
    assert driver.accepted == []
    driver.envelope()
    assert driver.say(raw=bdat(b"ok\r\n", last=True)) == [250]
    assert driver.accepted == [b"ok\n"]


def test_chunks_that_are_too_large_together_are_refused_before_their_octets():
    driver = chunked(small(max_message_size=100))
    driver.say(raw=bdat(b"x" * 49 + b"\r"))
    assert driver.say("BDAT 51") == []
    assert driver.events[-1] == events.ContentDropped(replies.TOO_LARGE)
    assert driver.say(raw=b"x" * 51) == [552]


@pytest.mark.parametrize(
    ("state", "refusal", "after"),
    [
        (states.REFUSED, replies.NO_SERVICE, states.REFUSED),
        (states.GREETED, replies.HELLO_FIRST, states.GREETED),
        (states.READY, replies.MAIL_FIRST, states.READY),
        (states.MAIL, replies.NO_VALID_RECIPIENTS, states.READY),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_bdat_out_of_sequence_has_octets_all_the_same(state, refusal, after):
    driver = at(state)
    assert driver.say(raw=bdat(b"MAIL FROM:<evil@x>\r\n") + bdat(b"QUIT\r\n", last=True)) == [refusal.code, 503]
    assert refusal.wire in driver.output
    assert driver.core.state is after


def test_bdat_before_a_login():
    driver = Driver(SUBMISSION, tls=True)
    driver.say("EHLO x")
    assert driver.say(raw=bdat(b"AUTH PLAIN " + ANNA + b"\r\n")) == [530]
    assert not driver.core.authenticated


def test_bdat_where_it_is_not_offered():
    driver = ready(Profile("x", extensions=BASIC_EXTENSIONS - {"CHUNKING"}))
    driver.envelope()
    assert driver.say(raw=bdat(b"RSET\r\n", last=True)) == [502]
    old = Driver()
    assert old.say("HELO old", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", raw=bdat(b"RSET\r\n")) == [250, 250, 250, 503]


def test_data_and_bdat_do_not_mix():
    driver = chunked()
    assert driver.say(raw=bdat(b"one\r\n")) == [250]
    assert driver.say("DATA", "RCPT TO:<e@f>", "MAIL FROM:<x@y>") == [503, 503, 503]
    assert driver.core.state is states.CHUNKED
    assert driver.say(raw=bdat(b"two\r\n", last=True)) == [250]
    assert driver.accepted == [b"one\ntwo\n"]
    driver.envelope()
    assert driver.say("DATA", "BDAT 0 LAST", ".") == [354, 250]
    assert driver.accepted[1:] == [b"BDAT 0 LAST\n"]


def test_bdat_after_the_last_one():
    driver = chunked()
    assert driver.say(raw=bdat(b"x\r\n", last=True) + bdat(b"y\r\n", last=True)) == [250, 503]


# Syntax.


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("0", (0, False)), ("0 LAST", (0, True)), ("7 last", (7, True)), ("00000000000000000007", (7, False)),
        ("18446744073709551616", (2**64, False)),
    ],
)  # fmt: skip
def test_sizes(argument, value):
    assert read_bdat(argument) == value


@pytest.mark.parametrize(
    "argument",
    [
        "",
        "LAST",
        "-1",
        "+1",
        "1.0",
        "0x10",
        "1e3",
        "1_000",
        "٣",
        "²",
        "1" * 21,
        "0" * 21,
        "1\t2",
        "1,LAST",
        "ABC 1",
    ],
)
def test_sizes_that_cannot_be_read_end_the_session(argument):
    """What follows may be octets of a content, which are no commands."""
    assert chunk_size(argument) is None
    with pytest.raises(Refused):
        read_bdat(argument)
    driver = chunked()
    said = driver.say(f"BDAT {argument}", "MAIL FROM:<evil@x>")
    assert said in ([501, 421], [500, 421])
    assert driver.output.endswith(replies.OUT_OF_STEP.wire)
    assert driver.core.state is states.CLOSED
    assert driver.accepted == []


@pytest.mark.parametrize("argument", ["5 FIRST", "5 LAST LAST", "5  LAST", "5 LASTLY", "5 6"])
def test_sizes_with_more_behind_them_are_drained(argument):
    driver = chunked()
    assert driver.say(f"BDAT {argument}", raw=b"QUIT\nNOOP\r\n") == [501, 250]
    assert driver.core.state is states.READY
    assert driver.names()[-1] == "TransactionReset"


@pytest.mark.parametrize(
    "line",
    [
        b"BDAT 4\n",
        b"bdat 4 LAST\n",
        b"BDAT 4 " + b"L" * 13_000 + b"\r\n",
        b"BDAT 4\0\r\n",
        b"BDAT\t4\r\n",
        b"BDAT 4\r\r\n",
    ],
    ids=lambda line: repr(line[:12]),
)
def test_lines_that_are_none(line):
    driver = chunked()
    assert driver.say(raw=line + b"RSET\r\n") == [500, 421]
    assert driver.core.state is states.CLOSED


def test_a_line_over_the_limit_of_a_command_is_drained():
    driver = chunked()
    assert driver.say("BDAT 6" + " " * 600, raw=b"QUIT\r\nNOOP\r\n") == [500, 250]


# Bounds.


def test_a_refused_chunk_over_the_bound_is_not_waited_for():
    driver = ready(small(discard=1000))
    assert driver.say("BDAT 1001") == [503, 421]
    assert driver.events[-1] == events.Closing("a refused chunk without end")


def test_refused_chunks_have_one_bound_together():
    driver = ready(small(discard=1000, error_limit=0))
    said = driver.say(raw=bdat(b"x" * 300) * 10)
    assert said == [503, 503, 503, 421]
    assert driver.core.state is states.CLOSED


def test_an_accepted_message_forgives_what_was_thrown_away():
    driver = ready(small(discard=1000))
    for _ in range(3):
        assert driver.say(raw=bdat(b"x" * 800)) == [503]
        driver.envelope()
        assert driver.say(raw=bdat(b"ok\r\n", last=True)) == [250]


def test_a_chunk_that_could_never_be_taken_is_refused_at_once():
    driver = chunked()
    assert driver.say("BDAT 99999999999999999999") == [552, 421]


def test_the_peer_leaves_within_a_chunk():
    driver = chunked()
    driver.say(raw=b"BDAT 10\r\nabc")
    driver.core.receive_eof()
    driver.turn()
    assert driver.names()[-1] == "Closing"
    assert "ContentEnds" not in driver.names()


# The holder.


def run_to_slice(content, last):
    """A core whose holder has just been given a slice."""
    core = ServerCore(MX, PASSWORD_MECHANISMS)
    core.receive(b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n" + bdat(content, last) + b"NOOP\r\n")
    while not isinstance(event := core.next_event(), events.ContentSlice):
        core.answer(YES[type(event)])
    core.data_to_send()
    return core


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("content", [b"a\r\n", b"no line end"])
def test_a_holder_that_fails_at_a_slice(content, last):
    core = run_to_slice(content, last)
    core.drop_content(replies.LOCAL_ERROR)
    core.drop_content(replies.NO_ROOM)
    assert core.next_event() == events.ContentDropped(replies.LOCAL_ERROR)
    assert core.next_event() is None
    assert core.data_to_send() == replies.LOCAL_ERROR.wire + replies.OK.wire
    assert core.state is states.READY


def test_a_holder_that_fails_at_the_line_end_that_was_added():
    core = run_to_slice(b"no line end", True)
    assert core.next_event() == events.ContentSlice(b"\n")
    core.drop_content(replies.LOCAL_ERROR)
    assert core.next_event() == events.ContentDropped(replies.LOCAL_ERROR)
    assert core.next_event() is None
    assert core.data_to_send() == replies.LOCAL_ERROR.wire + replies.OK.wire


def test_no_chunk_is_answered_before_its_slices_are_taken():
    core = run_to_slice(b"a\r\n", False)
    assert core.data_to_send() == b""
    assert core.next_event() is None
    assert core.data_to_send() == replies.CHUNK_OK.wire + replies.OK.wire


def test_nothing_is_dropped_between_chunks():
    driver = chunked()
    driver.say("BDAT 0")
    with pytest.raises(OutOfTurn):
        driver.core.drop_content(replies.LOCAL_ERROR)


def test_hanging_up_between_chunks():
    driver = chunked()
    driver.say(raw=bdat(b"a\r\n"))
    driver.core.hang_up(replies.SHUTTING_DOWN)
    driver.turn()
    assert driver.accepted == []
    assert driver.core.state is states.CLOSED


# The same by DATA and by BDAT, however it is cut.

LINES = st.lists(st.text("a.\r\n\0é", max_size=6).map(str.encode), max_size=6)


def by_data(content):
    driver = chunked()
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    stuffed = b"." + stuffed if stuffed.startswith(b".") else stuffed
    said = driver.say(
        "DATA", raw=stuffed + (b"" if content.endswith(b"\r\n") or not content else b"\r\n") + b".\r\n"
    )
    return said[-1], driver.accepted


def by_bdat(content, cuts):
    driver = chunked()
    places = sorted({min(cut, len(content)) for cut in cuts})
    parts = [content[a:b] for a, b in zip([0, *places], [*places, len(content)], strict=True)]
    said = driver.say(raw=b"".join(map(bdat, parts[:-1])) + bdat(parts[-1], last=True))
    assert driver.core.state is states.READY
    return next((code for code in said if code > 250), 250), driver.accepted


@given(LINES.map(b"\r\n".join), st.lists(st.integers(0, 50), max_size=5))
def test_bdat_gives_what_data_gives(content, cuts):
    if content.endswith(b"\r"):
        content += b"\n"  # by DATA a CR at the end would meet the LF of the line end that is added
    assert by_bdat(content, cuts) == by_data(content)


@given(st.lists(st.integers(1, 200), max_size=6))
def test_however_the_octets_arrive(cuts):
    octets = (
        b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
        + bdat(b"one\r\ntw")
        + bdat(b"o\r")
        + bdat(b"\n.\r\n", last=True)
    )
    octets += bdat(b"no transaction") + b"BDAT 3 x\r\nabcNOOP\r\n"
    driver, said = Driver(), []
    places = sorted({min(cut, len(octets)) for cut in cuts})
    for a, b in zip([0, *places], [*places, len(octets)], strict=True):
        said += driver.say(raw=octets[a:b])
    assert said == [250, 250, 250, 250, 250, 250, 503, 503, 250]
    assert driver.accepted == [b"one\ntwo\n.\n"]


def test_a_custom_refusal_of_the_content_is_said_as_it_is():
    no = reply(550, (5, 7, 1), "Not today")
    driver = chunked(ContentEnds=no)
    assert driver.say(raw=bdat(b"x\r\n", last=True)) == [550]
    assert driver.output == no.wire
