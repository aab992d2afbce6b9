"""LMTP (RFC 2033) in the server core: LHLO, and a reply for each recipient."""

from dataclasses import replace

import pytest

from mailserver.smtp import events, replies, states
from mailserver.smtp.limits import ServerLimits
from mailserver.smtp.reply import reply
from mailserver.smtp.server import OutOfTurn
from tests.harness.servercore import LMTP, MX, Driver, at, ready
from tests.smtp.test_server import COMMANDS, TABLE

GONE = reply(550, (5, 1, 1), "Mailbox is gone")


def test_lhlo_offers_what_ehlo_does():
    lmtp, smtp = ready(LMTP), ready(MX)
    assert lmtp.output == smtp.output
    assert lmtp.events[-1] == events.Hello("client.example", True)


@pytest.mark.parametrize(("profile", "unknown"), [(LMTP, "EHLO"), (LMTP, "HELO"), (MX, "LHLO")])
def test_the_other_hello_is_unknown(profile, unknown):
    driver = Driver(profile)
    assert driver.say(f"{unknown} x") == [500]
    assert driver.core.state is states.GREETED


def test_it_speaks_of_lhlo():
    driver = Driver(LMTP)
    assert driver.say("MAIL FROM:<a@b>", "HELP", "AUTH PLAIN") == [503, 214, 503]
    assert replies.LHLO_FIRST.wire in driver.output
    assert replies.LMTP_HELP.wire in driver.output
    driver.say("LHLO x")
    assert driver.say("AUTH PLAIN") == [502]


def test_one_reply_answers_for_every_recipient():
    driver = ready(LMTP)
    driver.envelope("a@b", "c@d", "e@f")
    assert driver.say("DATA", "hi", ".", "NOOP") == [354, 250, 250, 250, 250]


def test_a_reply_of_its_own_for_each_recipient():
    driver = ready(LMTP, ContentEnds=(replies.OK, GONE, replies.LOCAL_ERROR))
    driver.envelope("a@b", "c@d", "e@f")
    assert driver.say("DATA", "hi", ".") == [354, 250, 550, 451]
    driver.envelope("a@b", "c@d", "e@f")
    assert driver.say("BDAT 4", raw=b"hi\r\nBDAT 0 LAST\r\n") == [250, 250, 550, 451]


@pytest.mark.parametrize("count", [2, 4])
def test_as_many_replies_as_recipients(count):
    driver = ready(LMTP, ContentEnds=(replies.OK,) * count)
    driver.envelope("a@b", "c@d", "e@f")
    with pytest.raises(OutOfTurn):
        driver.say("DATA", ".")


def test_smtp_has_one_reply_to_a_content():
    driver = ready(MX, ContentEnds=(replies.OK, replies.LOCAL_ERROR))
    driver.envelope("a@b", "c@d")
    with pytest.raises(OutOfTurn):
        driver.say("DATA", ".")


def test_a_refused_recipient_is_owed_no_reply():
    driver = ready(replace(LMTP, limits=ServerLimits(max_recipients=2)))
    assert driver.say("MAIL FROM:<a@b>", *["RCPT TO:<c@d>"] * 3) == [250, 250, 250, 452]
    assert driver.say("DATA", ".") == [354, 250, 250]


def test_without_a_recipient_data_is_503():
    driver = ready(LMTP, RcptTo=GONE)
    assert driver.say("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA") == [250, 550, 503]
    assert replies.NO_RECIPIENTS_YET.wire in driver.output
    assert driver.say("BDAT 2 LAST", raw=b"\r\n") == [503]


@pytest.mark.parametrize(
    "end",
    [
        b"DATA\r\na\nb\r\n.\r\n", b"DATA\r\na\0\r\n.\r\n", b"DATA\r\n" + b"x" * 101 + b"\r\n.\r\n",
        b"BDAT 3 LAST\r\na\nb", b"BDAT 101 LAST\r\n" + b"x" * 101, b"BDAT 5 LAST x\r\n12345"
    ],
)  # fmt: skip
def test_a_refused_content_is_refused_for_each(end):
    driver = ready(replace(LMTP, limits=ServerLimits(max_message_size=100)))
    driver.envelope("a@b", "c@d", "e@f")
    said = [code for code in driver.say(raw=end + b"NOOP\r\n") if code != 354]
    owed = 1 if end.endswith(b"LAST x\r\n12345") else 3
    assert len(said) == owed + 1
    assert all(500 <= code < 560 for code in said[:-1])
    assert driver.accepted == []


def test_a_refused_data_is_refused_once():
    driver = ready(LMTP, ContentBegins=replies.NO_ROOM)
    driver.envelope("a@b", "c@d")
    assert driver.say("DATA", "NOOP") == [452, 250]


def test_the_replies_to_chunks_sent_ahead():
    """RFC 2033 §4.3 counts the replies to BDAT LAST by the recipients that were accepted, and a client that has
    sent it ahead of a refusal counts so too. Every other BDAT has one."""
    driver = ready(replace(LMTP, limits=ServerLimits(max_message_size=10)))
    driver.envelope("a@b", "c@d")
    said = driver.say(raw=b"BDAT 11\r\n" + b"x" * 11 + b"BDAT 1\r\nyBDAT 0 LAST\r\nNOOP\r\n")
    assert said == [552, 503, 503, 503, 250]
    assert driver.say("BDAT 0 LAST", "NOOP") == [503, 250]


@pytest.mark.parametrize("between", ["RSET", "LHLO x"])
def test_a_new_beginning_is_owed_nothing(between):
    driver = ready(LMTP)
    driver.envelope("a@b", "c@d")
    assert driver.say(between, "BDAT 0 LAST", "NOOP") == [250, 503, 250]


def test_an_end_of_the_session_leaves_nobody_without_a_reply():
    """One content is one error, however many recipients hear of it; and where it is the last one, or a 421, the
    replies come before the end."""
    driver = ready(replace(LMTP, limits=ServerLimits(error_limit=2)), ContentEnds=GONE)
    driver.envelope("a@b", "c@d", "e@f")
    assert driver.say("DATA", ".") == [354, 550, 550, 550]
    driver.envelope("a@b", "c@d", "e@f")
    assert driver.say("DATA", ".") == [354, 550, 550, 550, 421]
    driver = ready(LMTP, ContentEnds=(replies.OK, replies.SHUTTING_DOWN, replies.OK))
    driver.envelope("a@b", "c@d", "e@f")
    assert driver.say("DATA", ".", "NOOP") == [354, 250, 421, 250]
    assert driver.core.state is states.CLOSED


def test_one_that_was_stored_forgives_errors():
    driver = ready(replace(LMTP, limits=ServerLimits(error_limit=3)), ContentEnds=(GONE, replies.OK))
    for _ in range(3):
        assert driver.say("FOO") == [500]
        driver.envelope("a@b", "c@d")
        assert driver.say("DATA", ".") == [354, 550, 250]


def in_lmtp(state, verb):
    """What the table of SMTP says, but for the words of RFC 2033."""
    if verb in ("EHLO", "HELO"):
        return 500, None
    code, after = TABLE[state]["EHLO" if verb == "LHLO" else verb]
    return (503 if code == 554 and verb in ("DATA", "BDAT", "LAST") else code), after


@pytest.mark.parametrize(
    ("state", "verb"),
    [(state, verb) for state in TABLE for verb in COMMANDS],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_command_in_every_state(state, verb):
    driver = at(state, LMTP)
    code, after = in_lmtp(state, verb)
    assert driver.say(COMMANDS[verb]) == [code]
    assert driver.core.state is (after or state)


def test_a_refused_mail_forgets_the_recipients_of_the_transaction_that_failed():
    """One reply too many, and a client that pipelines reads each as the answer to the wrong command."""
    driver = ready(LMTP)
    driver.envelope("a@b", "c@d")
    assert driver.say("BDAT 3", raw=b"a\nb") == [550]
    assert driver.say("MAIL FROM:<@@>", "RCPT TO:<a@b>") == [501, 503]
    assert driver.say("BDAT 3 LAST", raw=b"a\r\n") == [503]
