"""The server core: every state with every command, dialogues, abuse, and arbitrary splits."""

import random
from base64 import b64encode
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.smtp import events, replies, states
from mailserver.smtp.address import NULL, Mailbox
from mailserver.smtp.limits import BASIC_EXTENSIONS, Patience, Profile, ServerLimits
from mailserver.smtp.params import MailParams, RcptParams
from mailserver.smtp.reply import reply
from mailserver.smtp.sasl import PasswordCredentials
from mailserver.smtp.server import OutOfTurn, ServerCore
from tests.harness.servercore import ANNA, MX, SUBMISSION, Driver, at, ready

COMMANDS = {
    "EHLO": "EHLO x", "HELO": "HELO x", "MAIL": "MAIL FROM:<a@b>", "RCPT": "RCPT TO:<c@d>", "DATA": "DATA",
    "BDAT": "BDAT 0", "LAST": "BDAT 0 LAST", "LHLO": "LHLO x",
    "RSET": "RSET", "NOOP": "NOOP hi", "QUIT": "QUIT", "VRFY": "VRFY x", "EXPN": "EXPN x", "HELP": "HELP",
    "STARTTLS": "STARTTLS", "AUTH": "AUTH PLAIN", "XYZZY": "XYZZY",
}  # fmt: skip
SAME, GONE = None, states.CLOSED
# state: verb → (code, state afterwards); SAME is the state before.
TABLE = {
    states.REFUSED: {
        **dict.fromkeys(COMMANDS, (503, SAME)), "QUIT": (221, GONE), "XYZZY": (500, SAME), "LHLO": (500, SAME),
    },
    states.GREETED: {
        "EHLO": (250, states.READY), "HELO": (250, states.READY), "MAIL": (503, SAME), "RCPT": (503, SAME),
        "DATA": (503, SAME), "BDAT": (503, SAME), "LAST": (503, SAME), "LHLO": (500, SAME),
        "RSET": (250, SAME), "NOOP": (250, SAME), "QUIT": (221, GONE), "VRFY": (252, SAME),
        "EXPN": (502, SAME), "HELP": (214, SAME), "STARTTLS": (503, SAME), "AUTH": (503, SAME), "XYZZY": (500,
        SAME),
    },
    states.READY: {
        "EHLO": (250, SAME), "HELO": (250, SAME), "MAIL": (250, states.MAIL), "RCPT": (503, SAME),
        "DATA": (503, SAME), "BDAT": (503, SAME), "LAST": (503, SAME), "LHLO": (500, SAME),
        "RSET": (250, SAME), "NOOP": (250, SAME), "QUIT": (221, GONE), "VRFY": (252, SAME),
        "EXPN": (502, SAME), "HELP": (214, SAME), "STARTTLS": (220, states.GREETED), "AUTH": (502, SAME),
        "XYZZY": (500, SAME),
    },
    states.MAIL: {
        "EHLO": (250, states.READY), "HELO": (250, states.READY), "MAIL": (503, SAME), "RCPT": (250,
        states.RCPT),
        "DATA": (554, SAME), "BDAT": (554, states.READY), "LAST": (554, states.READY), "LHLO": (500, SAME),
        "RSET": (250, states.READY), "NOOP": (250, SAME), "QUIT": (221, GONE),
        "VRFY": (252, SAME), "EXPN": (502, SAME), "HELP": (214, SAME), "STARTTLS": (503, SAME), "AUTH": (503,
        SAME),
        "XYZZY": (500, SAME),
    },
    states.RCPT: {
        "EHLO": (250, states.READY), "HELO": (250, states.READY), "MAIL": (503, SAME), "RCPT": (250, SAME),
        "DATA": (354, states.CONTENT), "BDAT": (250, states.CHUNKED), "LAST": (250, states.READY),
        "LHLO": (500, SAME),
        "RSET": (250, states.READY), "NOOP": (250, SAME), "QUIT": (221, GONE),
        "VRFY": (252, SAME), "EXPN": (502, SAME), "HELP": (214, SAME), "STARTTLS": (503, SAME), "AUTH": (503,
        SAME),
        "XYZZY": (500, SAME),
    },
    states.CHUNKED: {
        "EHLO": (250, states.READY), "HELO": (250, states.READY), "MAIL": (503, SAME), "RCPT": (503, SAME),
        "DATA": (503, SAME), "BDAT": (250, SAME), "LAST": (250, states.READY), "LHLO": (500, SAME),
        "RSET": (250, states.READY), "NOOP": (250, SAME), "QUIT": (221, GONE), "VRFY": (252, SAME),
        "EXPN": (502, SAME), "HELP": (214, SAME), "STARTTLS": (503, SAME), "AUTH": (503, SAME),
        "XYZZY": (500, SAME),
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("state", "verb"),
    [(state, verb) for state in TABLE for verb in COMMANDS],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_command_in_every_state(state, verb):
    driver = at(state)
    code, after = TABLE[state][verb]
    assert driver.say(COMMANDS[verb]) == [code]
    assert driver.core.state is (after or state)
    forgotten = state.transaction and (
        verb in ("EHLO", "HELO", "RSET") or (verb in ("BDAT", "LAST") and code > 500)
    )
    assert ("TransactionReset" in driver.names()) is (forgotten or (verb, code) == ("STARTTLS", 220))


@pytest.mark.parametrize("verb", COMMANDS)
def test_lower_case_is_the_same(verb):
    one, other = at(states.READY), at(states.READY)
    assert one.say(COMMANDS[verb].lower()) == other.say(COMMANDS[verb])


@pytest.mark.parametrize("line", ["DATA now", "RSET x", "QUIT x", "EHLO", "HELO", "VRFY", "MAIL", "MAIL FROM:"])
def test_bad_arguments(line):
    driver = at(states.RCPT if line.startswith("DATA") else states.READY)
    before = driver.core.state
    assert driver.say(line) == [501]
    assert b" 5.5.4 " in driver.output or b" 5.1.7 " in driver.output
    assert driver.core.state is before


# The dialogue.


def test_one_message():
    driver = ready()
    assert driver.output == (
        b"250-mx.example.org\r\n250-8BITMIME\r\n250-CHUNKING\r\n250-ENHANCEDSTATUSCODES\r\n250-PIPELINING\r\n"
        b"250-SIZE 26214400\r\n250 STARTTLS\r\n"
    )
    assert driver.say("MAIL FROM:<> SIZE=20 BODY=8BITMIME", "RCPT TO:<anna@EXAMPLE.org>", "DATA") == [
        250,
        250,
        354,
    ]
    assert driver.say(raw=b"Subject: x\r\n\r\n..hi\r\n.\r\nQUIT\r\n") == [250, 221]
    assert driver.events == [
        events.Opened(),
        events.Hello("client.example", True),
        events.MailFrom(NULL, MailParams(size=20, body="8BITMIME")),
        events.RcptTo(Mailbox.parse("anna@example.org"), RcptParams()),
        events.ContentBegins(),
        events.ContentSlice(b"Subject: x\n\n.hi\n"),
        events.ContentEnds(),
        events.Closing("QUIT"),
    ]


def test_helo_offers_nothing():
    driver = Driver()
    driver.say("HELO old.example")
    assert driver.output == b"250 mx.example.org\r\n"
    assert driver.say("MAIL FROM:<a@b> SIZE=1") == [555]
    assert driver.say("MAIL FROM:<a@b>") == [250]


def test_two_messages_in_one_session():
    driver = ready()
    for _ in range(2):
        assert driver.say("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", "hi", ".") == [250, 250, 354, 250]


@pytest.mark.parametrize(
    ("answers", "steps", "codes", "state"),
    [
        ({"Hello": reply(550, (5, 7, 1), "no")}, 1, [550], states.GREETED),
        ({"MailFrom": replies.LOCAL_ERROR}, 2, [250, 451], states.READY),
        ({"RcptTo": replies.LOCAL_ERROR}, 4, [250, 250, 451, 554], states.MAIL),
        ({"RcptTo": replies.SHUTTING_DOWN}, 4, [250, 250, 421], states.CLOSED),
        ({"ContentBegins": replies.NO_ROOM}, 4, [250, 250, 250, 452], states.READY),
        ({"ContentEnds": replies.NO_ROOM}, 5, [250, 250, 250, 354, 452], states.READY),
        ({"Opened": replies.SHUTTING_DOWN}, 1, [], states.CLOSED),
    ],
)
def test_refusals_lead_where_the_table_says(answers, steps, codes, state):
    driver = Driver(**answers)
    lines = ["EHLO x", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", "."][:steps]
    assert driver.say(*lines) == codes
    assert driver.core.state is state


def test_a_refused_data_forgets_the_transaction():
    driver = ready(ContentBegins=replies.NO_ROOM)
    driver.say("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA")
    assert driver.names()[-2:] == ["ContentBegins", "TransactionReset"]
    assert driver.say("MAIL FROM:<a@b>") == [250]


def test_a_refused_ehlo_keeps_the_transaction():
    driver = at(states.RCPT)
    driver.answers[events.Hello] = reply(550, (5, 7, 1), "no")
    assert driver.say("EHLO y", "DATA") == [550, 354]


def test_nothing_is_parsed_while_a_question_is_open():
    core = ServerCore(MX)
    core.receive(b"EHLO x\r\nNOOP\r\n")
    assert core.next_event() == events.Opened()
    assert core.next_event() is None
    assert core.buffered == 14
    assert core.data_to_send() == b""
    assert core.waiting_for == ("answer", inf)
    core.answer(replies.greeting("x"))
    assert core.next_event() == events.Hello("x", True)


# Limits.


def test_declared_size():
    driver = ready()
    for size in ("26214401", "18446744073709551616", "9" * 400):
        assert driver.say(f"MAIL FROM:<a@b> SIZE={size}") == [552]
        assert b"5.3.4" in driver.output
    assert driver.say("MAIL FROM:<a@b> SIZE=26214400") == [250]


def small(**limits):
    return Profile("mx.example.org", limits=ServerLimits(**limits))


def content(driver):
    assert driver.say("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA")[-1] == 354


def test_too_large_a_content_is_refused_at_its_end_and_the_session_goes_on():
    driver = ready(small(max_message_size=100))
    content(driver)
    assert driver.say(raw=b"x" * 50 + b"\r\n") == []
    assert driver.say(raw=b"x" * 50 + b"\r\n") == []
    assert driver.events[-1] == events.ContentDropped(replies.TOO_LARGE)
    assert driver.say(raw=b"x" * 5000 + b"\r\n.\r\n") == [552]
    assert driver.names().count("ContentSlice") == 1
    assert "ContentEnds" not in driver.names()
    assert driver.say("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", "ok", ".") == [250, 250, 354, 250]


def test_a_bad_content_that_never_ends_ends_the_session():
    driver = ready(small(max_message_size=100, discard=10_000))
    content(driver)
    for _ in range(9):
        assert driver.say(raw=b"x" * 1000) == []
    assert driver.say(raw=b"x" * 2000) == [421]
    assert driver.core.state is states.CLOSED


@pytest.mark.parametrize(
    ("raw", "code", "status"),
    [(b"a\nb", 550, b"5.6.11"), (b"a\rb", 550, b"5.6.11"), (b"a\0b", 550, b"5.6.0"), (b"x" * 21, 550, b"5.6.0")],
)
def test_bad_content(raw, code, status):
    driver = ready(small(max_line_length=20))
    content(driver)
    assert driver.say(raw=raw + b"\r\n.\r\nNOOP\r\n") == [code, 250]
    assert status in driver.output
    assert "ContentEnds" not in driver.names()
    assert driver.core.state is states.READY


def test_too_many_recipients():
    driver = ready(small(max_recipients=2))
    assert driver.say("MAIL FROM:<a@b>", *["RCPT TO:<c@d>"] * 3, "DATA", ".") == [250, 250, 250, 452, 354, 250]
    assert driver.say("MAIL FROM:<a@b>", "RCPT TO:<c@d>") == [250, 250]


def test_long_lines():
    driver = ready(SUBMISSION, tls=True)
    assert driver.say("NOOP " + "x" * 505) == [250]
    assert driver.say("NOOP " + "x" * 506) == [500]
    assert driver.say("AUTH PLAIN " + "A" * (12_288 - 13)) == [501]
    assert driver.say("AUTH PLAIN " + "A" * (12_288 - 12)) == [500]
    assert driver.say("AUTH LOGIN", "A" * 12_287) == [334, 500]
    assert b"5.5.6" in driver.output
    assert driver.say("NOOP") == [250]


def test_a_line_without_end():
    driver = ready()
    for _ in range(60):
        assert driver.say(raw=b"x" * 1000) == []
        assert driver.core.buffered < 13_000
    assert driver.say(raw=b"x" * 10_000) == [500, 421]
    assert driver.core.state is states.CLOSED


def test_too_many_errors():
    driver = ready(small(error_limit=3))
    assert driver.say("FOO", "BAR", "NOOP", "BAZ", "NOOP") == [500, 500, 250, 500, 421]
    assert driver.events[-1] == events.Closing("too many errors")


def test_an_accepted_message_forgives_errors():
    driver = ready(small(error_limit=3))
    for _ in range(3):
        assert driver.say("FOO", "BAR") == [500, 500]
        assert driver.say("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", ".") == [250, 250, 354, 250]


def test_commands_that_bring_no_mail_forward_are_errors_after_a_while():
    driver = ready(small(junk_limit=4, error_limit=2))
    assert driver.say("NOOP", "rset", "VRFY x", "HELP", "NOOP") == [250, 250, 252, 214, 421]
    assert driver.events[-1] == events.Closing("too many errors")


def test_an_accepted_message_forgives_junk():
    driver = ready(small(junk_limit=4, error_limit=1))
    for _ in range(3):
        assert driver.say("NOOP", "RSET", "HELO x") == [250, 250, 250]
        assert driver.say("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", ".") == [250, 250, 354, 250]


def test_junk_without_a_limit():
    driver = ready(small(junk_limit=0, error_limit=1))
    assert driver.say(*["NOOP"] * 500) == [250] * 500


def test_temporary_refusals_are_no_errors():
    driver = ready(small(error_limit=2), MailFrom=replies.LOCAL_ERROR)
    assert driver.say(*["MAIL FROM:<a@b>"] * 4) == [451] * 4


def test_too_many_commands():
    driver = ready(small(max_commands=3))
    assert driver.say("NOOP", "NOOP", "NOOP") == [250, 250, 421]


# AUTH and TLS.


def test_submission_needs_starttls_then_auth():
    driver = ready(SUBMISSION)
    assert b"AUTH" not in driver.output
    for line in ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", "VRFY x"):
        assert driver.say(line) == [530]
        assert b"Must issue a STARTTLS command first" in driver.output
    assert driver.say(f"AUTH PLAIN {ANNA.decode()}") == [538]
    assert b"5.7.11" in driver.output
    assert driver.say("STARTTLS") == [220]
    assert driver.say("MAIL FROM:<a@b>") == [503]
    assert driver.say("EHLO x") == [250]
    assert b"250 AUTH PLAIN LOGIN" in driver.output
    assert b"STARTTLS" not in driver.output
    assert driver.say("STARTTLS") == [503]
    assert driver.say("MAIL FROM:<a@b>") == [530]
    assert b"Authentication required" in driver.output
    assert driver.say(f"AUTH PLAIN {ANNA.decode()}") == [235]
    assert driver.events[-1] == events.Authenticate("PLAIN", PasswordCredentials(b"", b"anna", b"secret"))
    assert driver.say("AUTH PLAIN") == [503]
    assert driver.say("MAIL FROM:<a@b> AUTH=<>") == [250]


def test_login_is_a_dialogue():
    driver = ready(SUBMISSION, tls=True)
    assert driver.say("AUTH LOGIN") == [334]
    assert driver.core.state is states.AUTH
    assert driver.say(b64encode(b"anna").decode()) == [334]
    assert driver.say(b64encode(b"secret").decode(), "EHLO x") == [235, 250]
    assert driver.core.authenticated


def test_a_wrong_password_leaves_the_session_where_it_was():
    bad = reply(535, (5, 7, 8), "no")
    driver = ready(SUBMISSION, tls=True, Authenticate=bad)
    assert driver.say(f"AUTH PLAIN {ANNA.decode()}", "MAIL FROM:<a@b>") == [535, 530]
    driver.answers[events.Authenticate] = replies.AUTHENTICATED
    assert driver.say(f"AUTH PLAIN {ANNA.decode()}", "MAIL FROM:<a@b>") == [235, 250]


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        (["AUTH"], [501]),
        (["AUTH X"], [504]),
        (["AUTH PLAIN !"], [501]),
        (["AUTH PLAIN ="], [501]),
        (["AUTH PLAIN", "*", "NOOP"], [334, 501, 250]),
        (["AUTH LOGIN", "YW5u", "EHLO x"], [334, 334, 501]),
    ],
)
def test_bad_auth(lines, codes):
    driver = ready(SUBMISSION, tls=True)
    assert driver.say(*lines) == codes
    assert driver.core.state is states.READY
    assert "Authenticate" not in driver.names()


def test_auth_in_clear_where_the_profile_says_so():
    driver = ready(Profile("x", mechanisms=("PLAIN",), auth_in_clear=True))
    assert b"250 AUTH PLAIN\r\n" in driver.output
    assert driver.say(f"AUTH PLAIN {ANNA.decode()}") == [235]


def test_a_refused_starttls_changes_nothing():
    driver = ready(StartTls=replies.LOCAL_ERROR)
    assert driver.say("STARTTLS", "MAIL FROM:<a@b>") == [451, 250]


def test_starttls_not_offered():
    assert ready(Profile("x")).say("STARTTLS") == [502]
    assert ready().say("STARTTLS now") == [501]


def test_what_came_behind_starttls_in_clear_is_thrown_away():
    # CVE-2011-0411: commands injected in clear would run as if they had come under TLS.
    driver = ready(SUBMISSION)
    assert driver.say("STARTTLS", "EHLO evil", f"AUTH PLAIN {ANNA.decode()}", "MAIL FROM:<evil@x>") == [220]
    assert driver.output.endswith(b"<TLS>")
    assert driver.core.buffered == 0
    assert driver.say("NOOP") == [250]
    assert driver.core.state is states.GREETED
    assert "Authenticate" not in driver.names()


def test_between_the_220_and_tls_all_input_is_thrown_away():
    core = ServerCore(MX)
    core.next_event()
    core.answer(replies.greeting("x"))
    core.receive(b"EHLO x\r\nSTARTTLS\r\nNO")
    core.next_event()
    core.answer(replies.OK)
    core.next_event()
    core.answer(replies.BEGIN_TLS)
    core.receive(b"OP\r\n")
    assert core.next_event() is None
    core.tls_started()
    assert core.next_event() == events.TransactionReset()
    assert (core.next_event(), core.buffered, core.tls) == (None, 0, True)


def test_starttls_forgets_the_login():
    driver = ready(Profile("x", mechanisms=("PLAIN",), auth_in_clear=True, starttls=True))
    driver.say(f"AUTH PLAIN {ANNA.decode()}", "STARTTLS")
    assert not driver.core.authenticated
    assert driver.say("AUTH PLAIN") == [503]


# Extensions that a profile may switch on.


def test_dsn_and_smtputf8_only_where_the_profile_has_them():
    full = Profile("x", extensions=BASIC_EXTENSIONS | {"DSN", "SMTPUTF8"})
    mail = "MAIL FROM:<ü@b> SMTPUTF8 RET=HDRS ENVID=1"
    rcpt = "RCPT TO:<ä@d> NOTIFY=NEVER ORCPT=rfc822;x@y"
    driver = ready(full)
    assert b"250-DSN\r\n" in driver.output
    assert driver.say(mail, rcpt) == [250, 250]
    assert driver.events[-1].params == RcptParams(frozenset({"NEVER"}), "rfc822;x@y")
    assert ready().say(mail) == [553]
    assert ready().say("MAIL FROM:<a@b> RET=HDRS") == [555]
    # SMTPUTF8 is a matter of each transaction.
    assert ready(full).say("MAIL FROM:<a@b>", "RCPT TO:<ä@d>") == [250, 553]


# Ends.


def test_the_end_of_input_ends_the_session_after_what_was_sent():
    driver = Driver()
    driver.core.receive(b"EHLO x\r\nNOOP\r\nhalf a li")
    driver.core.receive_eof()
    driver.turn()
    assert driver.output.endswith(b"250 2.0.0 Ok\r\n")
    assert driver.events[-1] == events.Closing("the peer ended the connection")


def test_time_outs():
    profile = Profile("x", patience=Patience(1, 2, 3))
    driver = Driver(profile)
    assert driver.core.waiting_for == ("greeting", 1)
    driver.say("EHLO x")
    assert driver.core.waiting_for == ("command", 2)
    content(driver)
    assert driver.core.waiting_for == ("data_block", 3)
    assert driver.core.busy
    driver.core.timed_out()
    assert driver.say() == [421]
    assert driver.core.waiting_for == ("closing", inf)
    assert driver.events[-1] == events.Closing("timed out waiting for data_block")


def test_hang_up():
    driver = at(states.RCPT)
    driver.core.hang_up(replies.SHUTTING_DOWN)
    driver.core.hang_up(replies.SHUTTING_DOWN)
    assert driver.say("NOOP") == [421]
    assert driver.names().count("Closing") == 1
    assert driver.core.buffered == 0


def test_dropping_a_content_from_outside():
    driver = ready()
    content(driver)
    driver.say("one line")
    driver.core.drop_content(replies.NO_ROOM)
    driver.core.drop_content(replies.LOCAL_ERROR)
    assert driver.say("more", ".", "NOOP") == [452, 250]
    assert driver.names()[-1] == "ContentDropped"
    assert driver.names().count("ContentSlice") == 1


def test_dropping_a_content_whose_end_is_there_already():
    driver = ready()
    content(driver)
    driver.core.receive(b"all of it\r\n.\r\n")
    assert driver.core.next_event() == events.ContentSlice(b"all of it\n")
    assert not driver.core.asking
    driver.core.drop_content(replies.NO_ROOM)
    assert driver.core.next_event() == events.ContentDropped(replies.NO_ROOM)
    assert driver.say("NOOP") == [452, 250]


def test_calls_out_of_turn_raise():
    core = ServerCore(MX)
    for call in (
        lambda: core.answer(replies.OK),  # the question has not been given yet
        lambda: core.hang_up(replies.SHUTTING_DOWN),
        core.timed_out,
        core.tls_started,
        lambda: core.drop_content(replies.NO_ROOM),
    ):
        with pytest.raises(OutOfTurn):
            call()
    core.next_event()
    for answers in ((), (replies.OK, replies.OK)):
        with pytest.raises(OutOfTurn):
            core.answer(*answers)
    core.answer(replies.greeting("x"))
    with pytest.raises(OutOfTurn):
        core.answer(replies.OK)


# Smuggling, and arbitrary input.


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r\n\0.\r\n", b"\r.\r\n"]
)
def test_a_smuggled_message_is_never_seen(end):
    raw = b"outer" + end + b"MAIL FROM:<evil@x>\r\nRCPT TO:<b@c>\r\nDATA\r\ninner\r\n.\r\n"
    for cut in range(len(raw)):
        driver = ready()
        content(driver)
        assert driver.say(raw=raw[:cut]) + driver.say(raw=raw[cut:]) == [550]
        assert driver.names().count("MailFrom") == 1
        assert "ContentEnds" not in driver.names()


DIALOGUE = (
    b"EHLO a\r\nMAIL FROM:<a@b>\r\nFOO\r\nRCPT TO:<c@d>\r\nbare\nDATA\r\n..x\r\n\r\n.\r\nRSET\r\n"
    b"AUTH LOGIN\r\nYQ==\r\n*\r\n"
    b"AUTH PLAIN AGEAYg==\r\n"
    + b"y" * 13_000
    + b"\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<>\r\nDATA\r\nz\nz\r\n.\r\nQUIT\r\n"
)


def play(parts):
    driver = Driver(Profile("x", mechanisms=("PLAIN", "LOGIN"), auth_in_clear=True))
    output = driver.output
    for part in parts:
        driver.say(raw=part)
        output += driver.output
    return output, [event for event in driver.events if type(event) is not events.ContentSlice]


def test_the_split_of_a_dialogue_makes_no_difference():
    whole = play([DIALOGUE])
    assert whole[0].endswith(b"221 2.0.0 Goodbye\r\n")
    chance = random.Random(5321)
    for _ in range(150):
        borders = [0, *sorted(chance.sample(range(len(DIALOGUE)), chance.randint(1, 40))), len(DIALOGUE)]
        parts = [DIALOGUE[a:b] for a, b in pairwise(borders)]
        assert play(parts) == whole, borders
    for cut in range(200):
        assert play([DIALOGUE[:cut], DIALOGUE[cut:]]) == whole


def test_one_octet_at_a_time():
    assert play([DIALOGUE[n : n + 1] for n in range(len(DIALOGUE))]) == play([DIALOGUE])


PIECES = st.sampled_from(
    [
        b"EHLO x\r\n", b"HELO x\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\n", b"DATA\r\n", b".\r\n",
        b"\r\n.\r\n",
        b"RSET\r\n", b"STARTTLS\r\n", b"AUTH PLAIN\r\n", b"AUTH LOGIN YQ==\r\n", b"YQ==\r\n", b"*\r\n", b"\n",
        b"\r", b"\0",
        b"NOOP\r\n", b"x" * 600, b"\r\n",
    ]
)  # fmt: skip


@given(st.lists(st.one_of(PIECES, st.binary(max_size=30)), max_size=40))
def test_nothing_that_a_peer_sends_raises(parts):
    driver = Driver(Profile("x", mechanisms=("PLAIN", "LOGIN"), auth_in_clear=True, starttls=True))
    for part in parts:
        driver.say(raw=part)
        assert driver.core.buffered <= 12_288
    driver.core.receive_eof()
    driver.turn()
    assert driver.core.state is states.CLOSED
    assert driver.names().count("Closing") == 1
