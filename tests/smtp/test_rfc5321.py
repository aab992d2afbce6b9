"""RFC 5321 by its words: what each line is answered, where it may stand, and that nothing else has changed.

Each row is a line, the beginning of its reply, and the state in which the session stands afterwards, if not the
one before. The states come from :func:`tests.harness.servercore.at`; every (state, command) pair is in
`test_server`.
"""

import pytest

from mailserver.smtp import events, states
from mailserver.smtp.address import NULL, Domain, Mailbox
from mailserver.smtp.limits import BASIC_EXTENSIONS, Profile
from tests.harness.servercore import ANNA, SUBMISSION, Driver, at, ready

FULL = Profile(
    "mx.example.org", extensions=BASIC_EXTENSIONS | {"DSN", "SMTPUTF8"}, mechanisms=("PLAIN", "LOGIN"),
    auth_in_clear=True,
)  # fmt: skip
MAIL, RCPT = "MAIL FROM:", "RCPT TO:"


def reply_to(driver, line):
    driver.say(line)
    return driver.output.decode()


@pytest.mark.parametrize(
    ("line", "begins", "after"),
    [
        # §4.1.1.1: a name or a literal; what it says is not held against it (§4.1.4).
        ("EHLO mx.example", "250-mx.example.org\r\n", None), ("ehlo [192.0.2.1]", "250-", None),
        ("EHLO [IPv6:2001:db8::1]", "250-", None), ("EHLO under_score", "250-", None), ("HELO x", "250 mx.", None),
        ("EHLO", "501 5.5.4 ", None), ("HELO", "501 5.5.4 ", None), ("EHLO a b", "501 5.5.4 ", None),
        ("EHLO " + "a" * 256, "501 5.5.4 ", None),
        # §4.1.1.6 to §4.1.1.9, §3.5, §7.3.
        ("VRFY anna", "252 2.5.2 ", None), ("VRFY <anna@example.org>", "252 2.5.2 ", None),
        ("VRFY", "501 5.5.4 ", None), ("VRFY ünal SMTPUTF8", "252 2.5.2 ", None), ("VRFY ünal", "553 5.6.7 ",
        None),
        ("EXPN staff", "502 5.5.1 ", None), ("HELP", "214-2.0.0 ", None), ("HELP MAIL", "214-2.0.0 ", None),
        ("NOOP", "250 2.0.0 ", None), ("NOOP whatever this is", "250 2.0.0 ", None),
        # §4.1.1.5, §4.1.1.10, and what takes no argument.
        ("RSET", "250 2.0.0 ", None), ("RSET now", "501 5.5.4 ", None), ("QUIT now", "501 5.5.4 ", None),
        ("QUIT", "221 2.0.0 ", states.CLOSED),
        # §4.2.4, §4.3.2: unknown is 500, out of sequence 503.
        ("", "500 5.5.2 ", None), (" NOOP", "500 5.5.2 ", None), ("XYZZY", "500 5.5.2 ", None), ("MAILFROM:<a@b>",
        "500 5.5.2 ", None),
        ("NOOP\tx", "500 5.5.2 ", None), ("TURN", "500 5.5.2 ", None), ("SEND FROM:<a@b>", "500 5.5.2 ", None),
        (f"{RCPT}<a@b>", "503 5.5.1 ", None), ("DATA", "503 5.5.1 ", None), ("BDAT 0", "503 5.5.1 ", None),
        # §4.1.1: verbs in any case, white space at the end is borne.
        ("nOoP  ", "250 2.0.0 ", None), ("rset ", "250 2.0.0 ", None), ("mail from:<a@b>  ", "250 2.1.0 ",
        states.MAIL),
        ("STARTTLS", "502 5.5.1 ", None),
        # RFC 4954 §4.
        ("AUTH", "501 5.5.4 ", None), ("AUTH XYZZY", "504 5.5.4 ", None), ("AUTH PLAIN !", "501 5.5.2 ", None),
        ("AUTH PLAIN =", "501 5.5.2 ", None), (f"AUTH PLAIN {ANNA.decode()} x", "501 5.5.2 ", None),
        ("AUTH PLAIN", "334 \r\n", states.AUTH), ("auth login", "334 VXNl", states.AUTH),
    ],
)  # fmt: skip
def test_commands(line, begins, after):
    driver = ready(FULL)
    assert reply_to(driver, line).startswith(begins)
    assert driver.core.state is (after or states.READY)


GOOD_PATHS = {
    "<a@b>": ("a", "b"), "<Anna.B@EXAMPLE.org>": ("Anna.B", "example.org"), '<"a b"@c>': ("a b", "c"),
    '<"a\\"b"@c>': ('a"b', "c"), '<"@"@c>': ("@", "c"), '<" "@c>': (" ", "c"), '<".."@c>': ("..", "c"),
    "<a@[192.0.2.1]>": ("a", "[192.0.2.1]"), "<a@[IPv6:::1]>": ("a", "[IPv6:::1]"),
    "<a@[ipv6:2001:DB8::192.0.2.1]>": ("a", "[IPv6:2001:db8::c000:201]"), "<a@[x400:c=de]>": ("a", "[x400:c=de]"),
    "<@relay.example:a@b>": ("a", "b"), "<@[192.0.2.1],@[IPv6:::1]:a@b>": ("a", "b"), " <a@b>": ("a", "b"),
    "<!#$%&'*+-/=?^_`{|}~@b>": ("!#$%&'*+-/=?^_`{|}~", "b"), f"<{'a' * 64}@b>": ("a" * 64, "b"),
    f"<a@{'b' * 63}.c>": ("a", f"{'b' * 63}.c"),
}  # fmt: skip
BAD_PATHS = [
    "a@b", "<a@b", "a@b>", "<a>", "<@b>", "<a@>", '<""@b>', '<"@b>', '<"a@b>', '<a"b"@c>', "<a b@c>", "<.a@b>",
    "<a.@b>", "<a..b@c>",
    "<a@-b>", "<a@b->", "<a@b..c>", "<a@b_c>", "<a@b.>", "<a@[192.0.2]>", "<a@[192.0.2.256]>", "<a@[192.0.2.01]>",
    "<a@192.0.2.1]>",
    "<a@[IPv6:1::2::3]>", "<a@[IPv6:fe80::1%eth0]>", "<a@[IPv6:]>", "<a@[tag:]>", "<a@[:x]>", "<a@[-:x]>",
    "<a@[t_g:x]>",
    "<@x>", "<@x:>", "<@:a@b>", "<@x,y:a@b>", "<x:a@b>", "<<a@b>>", "< a@b>", "<a@b >", "<a@b>x", "<a@b>>",
    f"<{'a' * 65}@b>", f"<a@{'b' * 64}>", "<a@" + ".".join(["b" * 50] * 6) + ">", "<a,b@c>", "<a:b@c>",
    "<(x)a@b>", "<a@b@c>",
]  # fmt: skip


@pytest.mark.parametrize("path", GOOD_PATHS)
def test_paths_that_are_taken(path):
    local, domain = GOOD_PATHS[path]
    driver = ready(FULL)
    assert driver.say(MAIL + path, RCPT + path) == [250, 250]
    mailbox = Mailbox(local, Domain(domain))
    assert driver.events[-2].reverse_path == driver.events[-1].forward_path == mailbox


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_that_are_refused(path):
    driver = ready(FULL)
    assert reply_to(driver, MAIL + path).startswith("501 5.1.7 Bad address: ")
    assert driver.core.state is states.READY
    driver.say(f"{MAIL}<>")
    assert reply_to(driver, RCPT + path).startswith("501 5.1.3 Bad address: ")
    assert driver.core.state is states.MAIL
    assert "RcptTo" not in driver.names()


def test_special_paths():
    """§4.5.5 the null reverse-path, §4.5.1 postmaster without a domain, in any case; neither is the other."""
    driver = ready(FULL)
    assert driver.say(f"{MAIL}<>", f"{RCPT}<POSTmaster>", f"{RCPT}<>") == [250, 250, 501]
    assert driver.events[-2].reverse_path == NULL
    assert driver.events[-1].forward_path == Mailbox("postmaster", None)
    assert reply_to(ready(FULL), f"{MAIL}<postmaster>").startswith("501 5.1.7 ")


@pytest.mark.parametrize(
    ("line", "begins"),
    [
        ("MAIL", "501 5.5.4 "), ("MAIL <a@b>", "501 5.5.4 "), ("MAIL TO:<a@b>", "501 5.5.4 "), ("MAIL FROM <a@b>",
        "501 5.5.4 "),
        (f"{MAIL}<ü@b>", "553 5.6.7 "), (f"{MAIL}<a@bü.example>", "553 5.6.7 "),
        (f"{MAIL}<a@b> SIZE=26214401", "552 5.3.4 "), (f"{MAIL}<a@b> SIZE=18446744073709551616", "552 5.3.4 "),
        (f"{MAIL}<a@b> SIZE=" + "9" * 30, "552 5.3.4 "),
        *[(f"{MAIL}<a@b> {bad}", "501 5.5.4 ") for bad in (
            "SIZE", "SIZE=", "SIZE=-1", "SIZE=+1", "SIZE=0x1", "SIZE=1.0", "SIZE=1 SIZE=1", "SIZE=1 size=2",
            "SIZE=1=1", "BODY", "BODY=",
            "BODY=BINARY", "BODY=7BIT BODY=7BIT", "SMTPUTF8=1", "SMTPUTF8 SMTPUTF8", "RET", "RET=", "RET=ALL",
            "RET=FULL,HDRS",
            "RET=FULL RET=HDRS", "ENVID", "ENVID=", "ENVID=+", "ENVID=+0", "ENVID=+0G", "ENVID=+2b", "ENVID=+00",
            "ENVID=a+0A",
            "ENVID=a+0Db", "ENVID=+7F", "ENVID=+C3", "ENVID=a=b", "ENVID=a ENVID=b", "AUTH", "AUTH=", "AUTH=a",
            "AUTH=a@b+0A", "AUTH=+00@b",
            "AUTH=<> AUTH=<>",
        )],
        *[(f"{MAIL}<a@b> {unknown}", "555 5.5.4 ") for unknown in (
            "X", "X=1", "=", "=1", "SIZEX=1", "BODY8=7BIT", "NOTIFY=NEVER", "ORCPT=rfc822;a@b", "REQUIRETLS",
            "HOLDFOR=1", "BY=1;R", "MT-PRIORITY=1",
        )],
    ],
)  # fmt: skip
def test_mail_that_is_refused(line, begins):
    driver = ready(FULL)
    assert reply_to(driver, line).startswith(begins)
    assert driver.core.state is states.READY
    assert driver.say(f"{MAIL}<a@b> SIZE=0", f"{RCPT}<c@d>", "DATA", ".") == [250, 250, 354, 250]


@pytest.mark.parametrize(
    "parameters",
    [
        "SIZE=0", "SIZE=26214400", "size=00000000000000000000000000000000000001", "BODY=7BIT", "body=8bitmime",
        "SMTPUTF8", "RET=FULL", "ret=hdrs",
        "ENVID=a+2Bb+3Dc+20d", "ENVID=" + "a" * 100, "AUTH=<>", "AUTH=a+2Bb@c.example", "SIZE=1  BODY=7BIT",
        "SIZE=1 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x AUTH=<>",
    ],
)  # fmt: skip
def test_mail_parameters_that_are_taken(parameters):
    assert ready(FULL).say(f"{MAIL}<a@b> {parameters}") == [250]


@pytest.mark.parametrize(
    ("line", "begins"),
    [
        ("RCPT", "501 5.5.4 "), ("RCPT <a@b>", "501 5.5.4 "), ("RCPT FROM:<a@b>", "501 5.5.4 "), (f"{RCPT}<>",
        "501 5.1.3 "),
        (f"{RCPT}<ü@b>", "553 5.6.7 "),
        *[(f"{RCPT}<a@b> {bad}", "501 5.5.4 ") for bad in (
            "NOTIFY", "NOTIFY=", "NOTIFY=ALWAYS", "NOTIFY=NEVER,FAILURE", "NOTIFY=FAILURE,",
            "NOTIFY=FAILURE,,DELAY", "NOTIFY=NEVER NOTIFY=NEVER",
            "NOTIFY=DELAY notify=DELAY", "ORCPT", "ORCPT=", "ORCPT=a@b", "ORCPT=;a@b", "ORCPT=rfc822;",
            "ORCPT=rfc822;a+00", "ORCPT=rfc822;a+0A@b",
            "ORCPT=rfc822;a+0d", "ORCPT=rfc822;+", "ORCPT=rf/c;a", "ORCPT=rfc822;" + "a" * 494,
            "ORCPT=rfc822;a ORCPT=rfc822;a",
        )],
        *[(f"{RCPT}<a@b> {unknown}", "555 5.5.4 ") for unknown in ("X", "SIZE=1", "BODY=7BIT", "SMTPUTF8",
        "RET=FULL", "RRVS=1")],
    ],
)  # fmt: skip
def test_rcpt_that_is_refused(line, begins):
    driver = ready(FULL)
    driver.say(f"{MAIL}<a@b>")
    assert reply_to(driver, line).startswith(begins)
    assert driver.core.state is states.MAIL
    assert driver.say("DATA") == [554]


@pytest.mark.parametrize(
    "parameters",
    [
        "NOTIFY=NEVER", "notify=success", "NOTIFY=SUCCESS,FAILURE,DELAY", "NOTIFY=DELAY,DELAY",
        "ORCPT=rfc822;a+2Bb@c",
        "ORCPT=x400;c+3Dde", "ORCPT=rfc822;" + "a" * 493, "NOTIFY=FAILURE ORCPT=rfc822;a@b",
    ],
)  # fmt: skip
def test_rcpt_parameters_that_are_taken(parameters):
    driver = ready(FULL)
    assert driver.say(f"{MAIL}<a@b>", f"{RCPT}<a@b> {parameters}") == [250, 250]


def test_at_least_a_hundred_recipients():
    """§4.5.3.1.8, §4.5.3.1.10."""
    driver = ready(FULL)
    driver.envelope(*[f"r{number}@b" for number in range(100)])
    assert reply_to(driver, f"{RCPT}<one@more>").startswith("452 4.5.3 ")
    assert driver.say("DATA", ".") == [354, 250]


@pytest.mark.parametrize(
    ("verb", "parameters", "longest"),
    [
        # §4.5.3.1.4, and what each extension adds to a line.
        ("NOOP ", "", 512), ("MAIL FROM:<a@b>", " SIZE=1 BODY=7BIT SMTPUTF8 RET=FULL ENVID=x AUTH=<>",
        512 + 26 + 17 + 10 + 115 + 500),
        ("RCPT TO:<a@b>", " NOTIFY=NEVER", 512 + 529), ("AUTH PLAIN", "", 12_288), ("BDAT 0", "", 512),
    ],
)  # fmt: skip
def test_lengths_of_lines(verb, parameters, longest):
    for length, refused in ((longest, False), (longest + 1, True)):
        driver = at(states.MAIL, FULL) if verb.startswith("RCPT") else ready(FULL)
        line = verb + parameters
        driver.say(line + " " * (length - 2 - len(line)))
        assert driver.output.startswith(b"500 5.5.2 Line too long") is refused


def test_a_session_that_was_refused_by_its_greeting():
    """§3.1: after a 554 every command but QUIT is 503."""
    driver = at(states.REFUSED, FULL)
    for line in ("EHLO x", "MAIL FROM:<a@b>", "VRFY x", "RSET", "AUTH PLAIN"):
        assert reply_to(driver, line).startswith("503 5.5.1 ")
    assert driver.say("QUIT") == [221]


def test_nothing_before_a_login_where_one_is_needed():
    """RFC 4954 §6: NOOP, RSET, EHLO, QUIT and AUTH are free."""
    driver = Driver(SUBMISSION, tls=True)
    driver.say("EHLO x")
    for line in ("MAIL FROM:<a@b>", "RCPT TO:<a@b>", "DATA", "VRFY x", "EXPN x", "BDAT 0 LAST"):
        assert reply_to(driver, line).startswith("530 5.7.0 ")
    assert driver.say("NOOP", "RSET", "EHLO x", "HELP") == [250, 250, 250, 214]
    assert driver.say(f"AUTH PLAIN {ANNA.decode()}", "AUTH PLAIN", "MAIL FROM:<a@b>", "AUTH PLAIN") == [
        235,
        503,
        250,
        503,
    ]


def test_a_source_route_is_read_and_ignored():
    driver = ready(FULL)
    assert driver.say("MAIL FROM:<@one,@two:a@b>") == [250]
    assert driver.events[-1] == events.MailFrom(Mailbox.parse("a@b"), driver.events[-1].params)
