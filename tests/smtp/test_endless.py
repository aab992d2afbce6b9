"""Octets and commands without end: what is held stays small, what is thrown away is bounded, the session ends.

No octet is counted by the clock: memory is looked at in what the core holds, and traced for the whole of it.
"""

import tracemalloc
from dataclasses import replace

import pytest

from mailserver.smtp import events, replies, states
from mailserver.smtp.limits import ServerLimits
from mailserver.smtp.tally import MAX_BROKEN, PATIENT
from tests.harness.servercore import LMTP, MX, SUBMISSION, Driver, at, ready

PIECE = 4096
# More than any line that is read, and what of it is held until it is thrown away.
MOST_HELD = 12_288 + PIECE


def flood(driver, piece, most, held=MOST_HELD):
    """Send `piece` until the session ends, `most` octets at most; the last code, and how many octets it took."""
    sent, said = 0, []
    while sent < most and driver.core.state is not states.CLOSED:
        said += driver.say(raw=piece)
        driver.events = [event for event in driver.events if not isinstance(event, events.ContentSlice)]
        sent += len(piece)
        assert driver.core.buffered <= held
        assert driver.core.unsent == 0
    return (said[-1] if said else None), sent


@pytest.mark.parametrize(
    "begins", [b"", b"NOOP ", b"AUTH PLAIN ", b"MAIL FROM:<", b"BDAT ", b"BDAT 1", b"\0", b"\r"]
)
@pytest.mark.parametrize("octet", [b"x", b"0", b" ", b"\r", b"\0", "é".encode()])
def test_a_command_without_end(begins, octet):
    driver = ready()
    driver.say(raw=begins)
    code, sent = flood(driver, octet * PIECE, 10**6)
    assert (code, driver.core.state) == (421, states.CLOSED)
    assert sent < 80_000 * len(octet)


@pytest.mark.parametrize("state", [states.REFUSED, states.GREETED, states.MAIL, states.RCPT, states.CHUNKED])
def test_a_command_without_end_in_every_state(state):
    driver = at(state)
    assert flood(driver, b"x" * PIECE, 10**6)[0] == 421


def test_an_auth_response_without_end():
    driver = ready(SUBMISSION, tls=True)
    driver.say("AUTH LOGIN")
    assert driver.core.state is states.AUTH
    assert flood(driver, b"A" * PIECE, 10**6)[0] == 421
    assert not driver.core.authenticated


def test_one_octet_at_a_time():
    driver = ready()
    code, sent = flood(driver, b"x", 10**6, held=12_289)
    assert (code, sent) == (421, 65_537)


LIMITED = replace(MX, limits=ServerLimits(max_message_size=100_000, discard=200_000))


@pytest.mark.parametrize("profile", [LIMITED, replace(LIMITED, normalizes=True)], ids=["refuse", "normalize"])
@pytest.mark.parametrize("piece", [b"x" * PIECE, b"\r" * PIECE, b"\n" * PIECE, b"\0" * PIECE, b".\r\n." * 1024])
def test_a_content_without_end(piece, profile):
    driver = ready(profile)
    driver.envelope()
    driver.say("DATA")
    code, sent = flood(driver, b"x" + piece, 10**7)
    assert code == 421
    # Stuffed dots are no part of its size.
    assert sent < 400_000
    assert "ContentEnds" not in driver.names()


def test_a_line_of_content_without_end_is_refused_early():
    driver = ready(replace(MX, limits=ServerLimits(max_line_length=998)))
    driver.envelope()
    driver.say("DATA")
    driver.say(raw=b"x" * 999)
    assert driver.events[-1] == events.ContentDropped(replies.CONTENT_LINE_TOO_LONG)


def test_a_chunk_without_end():
    driver = ready(LIMITED)
    driver.envelope()
    assert driver.say("BDAT 100000") == []
    assert flood(driver, b"x" * PIECE, 98_304) == (None, 98_304)
    assert driver.core.buffered == 0
    assert driver.say(raw=b"x" * 1696) == [250]
    assert driver.say("BDAT 1") == []
    assert driver.say(raw=b"x") == [552]


def test_refused_chunks_without_end():
    driver = ready(LIMITED)
    assert driver.say("BDAT 200000") == []
    code, sent = flood(driver, b"x" * PIECE, 196_608)
    assert (code, sent) == (None, 196_608)
    assert driver.say(raw=b"x" * 3392) == [503]
    assert driver.say("BDAT 1", raw=b"x") == [421]


# Commands without end. Whatever is said again and again, the session ends in the hundreds.

AGAIN = {
    "NOOP": b"NOOP\r\n",
    "RSET": b"RSET\r\n",
    "EHLO": b"EHLO x\r\n",
    "VRFY": b"VRFY x\r\n",
    "HELP": b"HELP\r\n",
    "EXPN": b"EXPN x\r\n",
    "no verb": b"\r\n",
    "bare LF": b"\n",
    "an unknown verb": b"XYZZY\r\n",
    "empty BDATs without MAIL": b"BDAT 0\r\n",
    "small BDATs without MAIL": b"BDAT 3\r\nabc",
    "AUTH": b"AUTH PLAIN\r\n",
    "STARTTLS with an argument": b"STARTTLS now\r\n",
    "empty BDATs": b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n" + b"BDAT 0\r\n" * 2000,
    "transactions that are given up": b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRSET\r\n",
    "transactions that EHLO ends": b"MAIL FROM:<a@b>\r\nEHLO x\r\n",
    "contents that are refused": b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\na\nb\r\n.\r\n",
    "chunks that are refused": b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 3\r\na\nb",
    "too large": b"MAIL FROM:<a@b> SIZE=99999999999\r\n",
    "nested MAIL": b"MAIL FROM:<a@b>\r\n",
    "RCPT without end": b"MAIL FROM:<a@b>\r\n" + b"RCPT TO:<c@d>\r\n" * 2000,
}


@pytest.mark.parametrize("what", AGAIN)
def test_commands_without_end(what):
    driver = ready(error_replies := replace(MX, limits=ServerLimits(max_recipients=100)))
    assert error_replies.limits.error_limit == 20
    code, sent = flood(driver, AGAIN[what], 400_000, held=40_000)
    assert (code, driver.core.state) == (421, states.CLOSED)
    assert sent <= 40_000


@pytest.mark.parametrize("question", ["MailFrom", "ContentEnds", "Hello"])
def test_refusals_for_now_without_end(question):
    """4yz is no error, for a while: a client that is asked to come again does nothing wrong."""
    driver = ready()
    driver.answers[getattr(events, question)] = replies.LOCAL_ERROR
    lines = {
        "MailFrom": ["MAIL FROM:<a@b>"],
        "ContentEnds": ["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", "."],
        "Hello": ["EHLO x"],
    }[question]
    count = 0
    while driver.core.state is not states.CLOSED:
        assert driver.say(*lines)[-1] in (451, 421)
        count += 1
    assert count in ((PATIENT + 20,) if question != "Hello" else (119,))


def test_a_thousand_recipients_too_many_are_borne():
    driver = ready()
    driver.envelope(*["c@d"] * 100)
    for _ in range(PATIENT):
        assert driver.say("RCPT TO:<c@d>") == [452]
    assert driver.say("DATA", ".") == [354, 250]
    driver.envelope(*["c@d"] * 100)
    said = driver.say(*["RCPT TO:<c@d>"] * (PATIENT + 20))
    assert said == [452] * (PATIENT + 20) + [421]


@pytest.mark.parametrize(
    "line", [b"NOOP\n", b"NO\rOP\r\n", b"NOOP \0\r\n", b"RCPT TO:<a@b>\r\r\n", b"\n", b"MAIL FROM:<a@\0b>\r\n"]
)
@pytest.mark.parametrize("profile", [MX, LMTP], ids=["smtp", "lmtp"])
def test_broken_lines_end_the_session_when_repeated(line, profile):
    driver = ready(profile)
    for _ in range(MAX_BROKEN - 1):
        assert driver.say(raw=line + b"NOOP\r\n") == [500, 250]
        driver.envelope()
        assert driver.say("DATA", ".") == [354, 250]
    assert driver.say(raw=line + b"NOOP\r\n") == [500, 421]
    assert driver.output.endswith(replies.BROKEN_LINES.wire)
    assert driver.events[-1] == events.Closing("broken command lines")


def test_other_bad_octets_are_ordinary_errors():
    driver = ready()
    for _ in range(MAX_BROKEN + 2):
        assert driver.say("NOOP \x1b[0m", raw=b"NOOP \xff\r\n") == [500, 500]


def traced(step, times):
    """Octets that are held after `times` calls of `step` and were not before."""
    step()
    tracemalloc.start()
    for _ in range(times):
        step()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return grown


@pytest.mark.parametrize(
    "octets",
    [
        b"NOOP\r\n" * 20, b"BDAT 0\r\n" * 20, b"RCPT TO:<c@d>\r\n" * 20, b"BDAT 400\r\n" + b"y" * 400,
        b"\r\n" * 20,
        b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 99\r\n" + b"x" * 99 + b"BDAT 0 LAST\r\n",
        b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n" + b"x" * 999 + b"\r\n.\r\n",
    ],
    ids=["NOOP", "empty BDAT", "RCPT", "refused BDAT", "no verb", "BDAT", "DATA"],
)  # fmt: skip
def test_memory_is_flat_where_no_bound_ends_the_session(octets):
    """What a session keeps does not depend on how much it has heard."""
    unbounded = ServerLimits(error_limit=0, junk_limit=0, discard=0, max_recipients=0)
    driver = ready(replace(MX, limits=unbounded))

    def step():
        driver.say(raw=octets)
        driver.events.clear()

    few, many = traced(step, 10), traced(step, 100)
    assert driver.core.state is not states.CLOSED
    assert many < few + 4096


def test_memory_that_grows_is_seen():
    """The positive control of the above."""
    held = []
    assert traced(lambda: held.append(b"x" * 100 + bytes(1)), 400) > traced(lambda: None, 400) + 4096


def test_a_closed_core_holds_nothing():
    driver = Driver()
    driver.say("QUIT", raw=b"x" * 10_000)
    assert driver.say(raw=b"x" * 100_000) == []
    assert driver.core.buffered == 0
