"""ESMTP parameters."""

import pytest

from mailserver.smtp.address import NULL, Mailbox
from mailserver.smtp.params import (
    BadParameter,
    MailParams,
    RcptParams,
    UnknownParameter,
    parse_mail_params,
    parse_rcpt_params,
)

ALL = frozenset({"SIZE", "8BITMIME", "SMTPUTF8", "DSN", "AUTH"})


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("", MailParams()),
        ("SIZE=0", MailParams(size=0)),
        ("size=00000000000000000000000000012", MailParams(size=12)),
        ("SIZE=" + "9" * 400, MailParams(size=10**20)),
        ("BODY=8bitmime  SIZE=5", MailParams(size=5, body="8BITMIME")),
        ("BODY=7BIT SMTPUTF8", MailParams(body="7BIT", smtputf8=True)),
        ("RET=hdrs ENVID=QQ+2B+3D", MailParams(ret="HDRS", envid="QQ+=")),
        ("AUTH=<>", MailParams(auth=NULL)),
        ("AUTH=e+3Dmc2@example.com", MailParams(auth=Mailbox.parse("e=mc2@example.com"))),
    ],
)
def test_mail(text, params):
    assert parse_mail_params(text, ALL) == params


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("", RcptParams()),
        ("NOTIFY=never", RcptParams(notify=frozenset({"NEVER"}))),
        ("NOTIFY=SUCCESS,FAILURE,DELAY", RcptParams(notify=frozenset({"SUCCESS", "FAILURE", "DELAY"}))),
        ("ORCPT=RFC822;a+2Bb@x.example", RcptParams(orcpt="rfc822;a+b@x.example")),
    ],
)
def test_rcpt(text, params):
    assert parse_rcpt_params(text, ALL) == params


@pytest.mark.parametrize(
    "text",
    [
        "SIZE", "SIZE=", "SIZE=-1", "SIZE=x", "SIZE=1 SIZE=1", "SIZE=1=2", "SIZE=²", "BODY=", "BODY=9BIT", "BODY",
        "SMTPUTF8=1", "RET=ALL", "ENVID=", "ENVID=a+0Ab", "ENVID=a+00", "ENVID=+0d", "ENVID=a+", "ENVID=a+Z0",
        "ENVID=" + "a" * 101, "ENVID=ü", "ENVID=+FF", "ENVID=+C4+8A",
        "ENVID=+E2+80+A8", "AUTH=", "AUTH=nobody", "AUTH=a+0D@b",
    ],
)  # fmt: skip
def test_malformed_mail_parameters(text):
    with pytest.raises(BadParameter):
        parse_mail_params(text, ALL)


@pytest.mark.parametrize(
    "text",
    [
        "NOTIFY=", "NOTIFY=NEVER,DELAY", "NOTIFY=OFTEN", "NOTIFY=DELAY NOTIFY=DELAY", "ORCPT=a@b", "ORCPT=rfc822;",
        "ORCPT=;a", "ORCPT=rf c;a", "ORCPT=rfc822;a+0A", "ORCPT=rfc822;" + "a" * 500,
        "ORCPT=utf-8;\\x{0A}@b.example", "ORCPT=utf-8;\uff20@b.example",
    ],
)  # fmt: skip
def test_malformed_rcpt_parameters(text):
    with pytest.raises((BadParameter, UnknownParameter)):
        parse_rcpt_params(text, ALL)


@pytest.mark.parametrize("text", ["FOO", "FOO=1", "=1", "NOTIFY=NEVER", "SIZEX=1", "BODY=7BIT FOO"])
def test_unknown_parameters(text):
    with pytest.raises(UnknownParameter):
        parse_mail_params(text, ALL)


@pytest.mark.parametrize(
    ("text", "extension"),
    [
        ("SIZE=1", "SIZE"),
        ("BODY=7BIT", "8BITMIME"),
        ("SMTPUTF8", "SMTPUTF8"),
        ("RET=FULL", "DSN"),
        ("AUTH=<>", "AUTH"),
    ],
)
def test_what_was_not_offered_is_unknown(text, extension):
    parse_mail_params(text, frozenset({extension}))
    with pytest.raises(UnknownParameter):
        parse_mail_params(text, ALL - {extension})
