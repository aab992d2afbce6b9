"""Command lines and their arguments."""

import pytest

from mailserver.smtp import replies
from mailserver.smtp.address import NULL, Mailbox
from mailserver.smtp.command import Refused, line_limit, read_hello, read_mail, read_rcpt, split
from mailserver.smtp.params import MailParams, RcptParams

OFFERED = frozenset({"SIZE", "8BITMIME", "SMTPUTF8"})


def refusal(call, *args):
    with pytest.raises(Refused) as refused:
        call(*args)
    return refused.value.reply


def test_split():
    assert split(b"mail FROM:<a@b>  ") == ("MAIL", "FROM:<a@b>")
    assert split(b"NOOP") == ("NOOP", "")
    assert split(b"") == ("", "")


@pytest.mark.parametrize(
    "line", [b"NOOP\0", b"NO\rOP", b"EHLO a\tb", b"\xff", b"EHLO \x7f", "NOOP \u202e".encode()]
)
def test_lines_are_printable_utf8(line):
    assert refusal(split, line) is replies.BAD_CHARACTERS


@pytest.mark.parametrize("name", ["mx.example.org", "[192.0.2.1]", "[IPv6:::1]", "my_laptop", "a"])
def test_hello(name):
    assert read_hello(name) == name


@pytest.mark.parametrize("name", ["", "a b", "(x)", "a" * 256, "<a>", 'a"b', "a\\b"])
def test_bad_hello(name):
    assert refusal(read_hello, name) is replies.BAD_HELLO


def test_mail():
    anna = Mailbox.parse("anna@example.org")
    assert read_mail("FROM:<anna@example.org>", OFFERED) == (anna, MailParams())
    assert read_mail("from: <anna@example.org> SIZE=7", OFFERED) == (anna, MailParams(size=7))
    assert read_mail("FROM:<>", OFFERED) == (NULL, MailParams())
    assert read_mail("FROM:<ü@b> SMTPUTF8", OFFERED) == (Mailbox.parse("ü@b"), MailParams(smtputf8=True))


@pytest.mark.parametrize(
    ("argument", "code", "status"),
    [
        ("", 501, "5.5.4"), ("<a@b>", 501, "5.5.4"), ("TO:<a@b>", 501, "5.5.4"), ("FROM:a@b", 501, "5.1.7"),
        ("FROM:<a@b", 501, "5.1.7"), ("FROM:<postmaster>", 501, "5.1.7"), ("FROM:<a>", 501, "5.1.7"),
        ("FROM:<a@b>SIZE=1", 501, "5.1.7"), ("FROM:<a@b> FOO", 555, "5.5.4"), ("FROM:<a@b> SIZE=x", 501, "5.5.4"),
        ("FROM:<a@b> RET=HDRS", 555, "5.5.4"), ("FROM:<ü@b>", 553, "5.6.7"), ("FROM:<a@ü>", 553, "5.6.7"),
    ],
)  # fmt: skip
def test_bad_mail(argument, code, status):
    reply = refusal(read_mail, argument, OFFERED)
    assert (reply.code, str(reply.status)) == (code, status)


def test_without_smtputf8_offered_utf8_is_refused():
    assert refusal(read_mail, "FROM:<ü@b> SMTPUTF8", frozenset()) is replies.NEEDS_SMTPUTF8


def test_rcpt():
    anna = Mailbox.parse("anna@example.org")
    assert read_rcpt("TO:<anna@example.org>", OFFERED, False) == (anna, RcptParams())
    assert read_rcpt("to:<Postmaster>", OFFERED, False) == (Mailbox("postmaster", None), RcptParams())
    assert read_rcpt("TO:<@x:ü@b>", OFFERED, True)[0] == Mailbox.parse("ü@b")


@pytest.mark.parametrize(
    ("argument", "code", "status"),
    [
        ("", 501, "5.5.4"), ("FROM:<a@b>", 501, "5.5.4"), ("TO:<>", 501, "5.1.3"), ("TO:<a>", 501, "5.1.3"),
        ("TO:<a@b> NOTIFY=NEVER", 555, "5.5.4"), ("TO:<ü@b>", 553, "5.6.7"),
    ],
)  # fmt: skip
def test_bad_rcpt(argument, code, status):
    reply = refusal(read_rcpt, argument, OFFERED, False)
    assert (reply.code, str(reply.status)) == (code, status)


def test_extensions_lengthen_lines():
    assert line_limit("MAIL", 512, OFFERED) == 512 + 26 + 17 + 10
    assert line_limit("RCPT", 512, frozenset({"DSN"})) == 512 + 529
    assert line_limit("NOOP", 512, OFFERED) == 512
