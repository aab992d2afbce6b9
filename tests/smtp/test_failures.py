"""What a session knows after a failure: nothing of the transaction (DESIGN: law 2).

Generated: every failure that can end a transaction, or happen outside of one, times every command that may come
next. Without a new MAIL there is no recipient, no content and no delivery; with one, all is as it was.
"""

from dataclasses import replace

import pytest

from mailserver.smtp import replies, states
from mailserver.smtp.limits import BASIC_EXTENSIONS, Profile, ServerLimits
from mailserver.smtp.reply import reply
from tests.harness.servercore import ANNA, LMTP, Driver

OPEN = Profile(
    "mx.example.org", extensions=BASIC_EXTENSIONS | {"SMTPUTF8"}, mechanisms=("PLAIN", "LOGIN"),
    auth_in_clear=True, starttls=True,
    limits=ServerLimits(max_message_size=1000, max_line_length=100, max_recipients=2),
)  # fmt: skip
POLICY = reply(550, (5, 7, 1), "Not from you")
LARGE = reply(552, (5, 3, 4), "Quota")
TRANSACTION = ("MAIL FROM:<a@b>", "RCPT TO:<c@d>")


def by_data(content):
    return (*TRANSACTION, b"DATA\r\n" + content + b".\r\n")


def by_bdat(content, last=True):
    return (*TRANSACTION, b"BDAT %d%s\r\n%s" % (len(content), b" LAST" if last else b"", content))


BEGINS = {"ContentBegins": replies.NO_ROOM}
# name: what the holder answers, what is said, the last code.
FAILURES = {
    "policy at the end of DATA": ({"ContentEnds": POLICY}, by_data(b"x\r\n"), 550),
    "policy at the end of BDAT": ({"ContentEnds": POLICY}, by_bdat(b"x\r\n"), 550),
    "size at the end of DATA": ({"ContentEnds": LARGE}, by_data(b"x\r\n"), 552),
    "size at the end of BDAT": ({"ContentEnds": LARGE}, by_bdat(b"x\r\n"), 552),
    "disk at the end of DATA": ({"ContentEnds": replies.NO_ROOM}, by_data(b"x\r\n"), 452),
    "disk at the end of BDAT": ({"ContentEnds": replies.NO_ROOM}, by_bdat(b"x\r\n"), 452),
    "disk at DATA": (BEGINS, (*TRANSACTION, "DATA"), 452),
    "disk at BDAT": (BEGINS, by_bdat(b"MAIL FROM:<x@y>\r\n", last=False), 452),
    "552 inside DATA": ({}, by_data(b"x\r\n" * 400), 552),
    "552 inside BDAT": ({}, by_bdat(b"x\r\n" * 400, last=False), 552),
    "552 at BDAT LAST": ({}, by_bdat(b"x\r\n" * 400), 552),
    "552 at the second BDAT": ({}, (*by_bdat(b"x\r\n" * 300, last=False), b"BDAT 300\r\n" + b"y\r\n" * 100), 552),
    "a bare line end in DATA": ({}, by_data(b"x\ny\r\n"), 550),
    "a bare line end in BDAT": ({}, by_bdat(b"x\ny\r\n", last=False), 550),
    "a CR at the end of BDAT LAST": ({}, by_bdat(b"x\r"), 550),
    "a NUL in DATA": ({}, by_data(b"\0\r\n"), 550),
    "a NUL in BDAT": ({}, by_bdat(b"\0\r\n"), 550),
    "a long line in DATA": ({}, by_data(b"x" * 101 + b"\r\n"), 550),
    "a long line in BDAT": ({}, by_bdat(b"x" * 101 + b"\r\n"), 550),
    "a wrong BDAT": ({}, (*TRANSACTION, b"BDAT 6 FIRST\r\nDATA\r\n"), 501),
    "a wrong second BDAT": ({}, (*by_bdat(b"x\r\n", last=False), b"BDAT 6 FIRST\r\nDATA\r\n"), 501),
    "BDAT without MAIL": ({}, (b"BDAT 6 LAST\r\nDATA\r\n",), 503),
    "BDAT without a recipient": ({}, ("MAIL FROM:<a@b>", b"BDAT 6 LAST\r\nDATA\r\n"), 554),
    "BDAT after BDAT LAST": ({}, (*by_bdat(b"x\r\n"), b"BDAT 6 LAST\r\nDATA\r\n"), 503),
    "a refused MAIL": ({"MailFrom": POLICY}, ("MAIL FROM:<a@b>",), 550),
    "MAIL over SIZE": ({}, ("MAIL FROM:<a@b> SIZE=1001",), 552),
    "a wrong MAIL": ({}, ("MAIL FROM:a@b",), 501),
    "VRFY with UTF-8": ({}, ("VRFY jürgen@bücher.example",), 553),
    "VRFY with UTF-8, as RFC 6531 has it": ({}, ("VRFY jürgen@bücher.example SMTPUTF8",), 252),
    "a failed AUTH": ({"Authenticate": reply(535, (5, 7, 8), "no")}, (b"AUTH PLAIN " + ANNA + b"\r\n",), 535),
    "an AUTH not now": ({"Authenticate": replies.NO_CAPACITY}, (b"AUTH PLAIN " + ANNA + b"\r\n",), 454),
    "a cancelled AUTH": ({}, ("AUTH LOGIN", "*"), 501),
    "an AUTH that is no base64": ({}, ("AUTH LOGIN", "!"), 501),
    "an AUTH line that ends with LF": ({}, ("AUTH LOGIN", b"QUJD\n"), 500),
    "an AUTH line too long": ({}, ("AUTH LOGIN", "A" * 12_300), 500),
    "STARTTLS": ({}, ("STARTTLS",), 220),
    "a message that was taken": ({}, by_data(b"x\r\n"), 250),
    "RSET": ({}, (*TRANSACTION, "RSET"), 250),
    "RSET between chunks": ({}, (*by_bdat(b"x\r\n", last=False), "RSET"), 250),
    "EHLO": ({}, (*TRANSACTION, "EHLO x"), 250),
    "EHLO between chunks": ({}, (*by_bdat(b"x\r\n", last=False), "EHLO x"), 250),
}  # fmt: skip
# What comes next, and its code: where the session is ready, and where it needs EHLO.
NEXT = {
    "RCPT TO:<c@d>": (503, 503), "DATA": (503, 503), "BDAT 4": (503, 503), "BDAT 4 LAST": (503, 503),
    "BDAT 0": (503, 503), "BDAT 0 LAST": (503, 503), "MAIL FROM:<a@b>": (250, 503), "RSET": (250, 250),
    "NOOP": (250, 250), "EHLO x": (250, 250), "HELO x": (250, 250), "VRFY x": (252, 252), "EXPN x": (502, 502),
    "HELP": (214, 214), "AUTH PLAIN": (334, 503), "XYZZY": (500, 500), "QUIT": (221, 221),
}  # fmt: skip


def after(name, profile=OPEN):
    """A driver in which the failure has happened, with a holder that says yes from now on."""
    answers, steps, code = FAILURES[name]
    driver = Driver(profile, tls=False, **answers)
    driver.say("LHLO x" if profile.lmtp else "EHLO x")
    said = []
    for step in steps:
        octets = step if isinstance(step, bytes) else step.encode() + b"\r\n"
        said += driver.say(raw=octets.replace(b"EHLO", b"LHLO") if profile.lmtp else octets)
    assert said[-1] == code
    driver.answers = Driver().answers
    driver.events.clear()
    return driver


@pytest.mark.parametrize("following", NEXT)
@pytest.mark.parametrize("name", FAILURES)
def test_every_failure_and_every_next_command(name, following):
    driver = after(name)
    ready, greeted = NEXT[following]
    expected = greeted if driver.core.state is states.GREETED else ready
    octets = b"QUIT" if following.startswith("BDAT 4") else b""
    assert driver.say(following, raw=octets)[:1] == [expected]
    assert driver.accepted == []
    assert {"RcptTo", "ContentBegins", "ContentEnds"}.isdisjoint(driver.names())


def data(content):
    return b"DATA\r\n" + content + b".\r\n"


def bdat(content):
    return b"BDAT %d LAST\r\n%s" % (len(content), content)


@pytest.mark.parametrize("way", [data, bdat])
@pytest.mark.parametrize("name", FAILURES)
def test_a_new_transaction_knows_nothing_of_the_failed_one(name, way):
    """Its recipients are its own, and so are its counts."""
    driver = after(name)
    if driver.core.state is states.GREETED:
        driver.say("EHLO x")
        driver.events.clear()
    assert driver.say("MAIL FROM:<a@b>", "DATA", "RCPT TO:<e@f>", "RCPT TO:<g@h>", "RCPT TO:<i@j>") == [
        250, 554, 250, 250, 452,
    ]  # fmt: skip
    assert driver.say(raw=way(b"new\r\n"))[-1] == 250
    assert driver.accepted == [b"new\n"]
    assert driver.names().count("RcptTo") == 2
    assert driver.names()[-3:] == ["ContentBegins", "ContentSlice", "ContentEnds"]


@pytest.mark.parametrize("name", [name for name in FAILURES if "AUTH" not in name])
def test_the_same_over_lmtp(name):
    if (answers := FAILURES[name])[2] == 554:
        assert answers[1][0] == "MAIL FROM:<a@b>"
        return
    driver = after(name, replace(LMTP, extensions=OPEN.extensions, limits=OPEN.limits))
    assert driver.say("RCPT TO:<c@d>", "DATA", "NOOP") == [503, 503, 250]
    assert driver.say(raw=b"BDAT 4\r\nQUIT" + b"NOOP\r\n") == [503, 250]
    assert driver.accepted == []


def first(driver, way):
    driver.envelope()
    assert driver.say(raw=way(b"x\r\n"))[-1] == 250


@pytest.mark.parametrize("way", [data, bdat])
@pytest.mark.parametrize("before", [data, bdat])
@pytest.mark.parametrize(
    ("content", "code"),
    [(b"x\r\n" * 400, 552), (b"x" * 101 + b"\r\n", 550), (b"a\nb\r\n", 550), (b"\0\r\n", 550), (b"y\r\n", 250)],
    ids=["size", "line length", "bare LF", "NUL", "good"],
)
def test_the_second_message_meets_every_check_again(before, way, content, code):
    driver = Driver(OPEN)
    driver.say("EHLO x")
    first(driver, before)
    assert driver.say("MAIL FROM:<a@b> SIZE=1001") == [552]
    assert driver.say("MAIL FROM:<a@b>", *["RCPT TO:<c@d>"] * 3) == [250, 250, 250, 452]
    assert driver.say(raw=way(content))[-1] == code
    assert driver.accepted == [b"x\n"] + ([b"y\n"] if code == 250 else [])


def test_a_login_does_not_survive_starttls():
    driver = Driver(replace(OPEN, auth_required=True))
    driver.say("EHLO x")
    assert driver.say(f"AUTH PLAIN {ANNA.decode()}", "MAIL FROM:<a@b>", "RSET") == [235, 250, 250]
    assert driver.say("STARTTLS", "EHLO x") == [220]
    assert driver.say("EHLO x", "MAIL FROM:<a@b>", "BDAT 2", raw=b"\r\n") == [250, 530, 530]
