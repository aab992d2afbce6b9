"""The names that programs may import stay what they are, until somebody decides otherwise."""

from __future__ import annotations

import difflib

from tests import publicnames

ADVICE = (
    "what programs may import has changed; if that is meant, say so in docs/changes.md, run "
    "`python -m tests.publicnames` and commit tests/data/public_names.txt with it"
)


def test_the_public_names_are_those_of_the_file() -> None:
    before, now = publicnames.FILE.read_text().splitlines(), publicnames.text().splitlines()
    changed = [
        line for line in difflib.unified_diff(before, now, lineterm="", n=1) if line[:3] not in ("---", "+++")
    ]
    assert not changed, "\n".join([ADVICE, *changed])


def test_what_the_programs_of_the_manual_need_is_there() -> None:
    """A file that was written from nothing does not pass."""
    frozen = publicnames.FILE.read_text().splitlines()
    for line in (
        "mailserver.sendmail(",
        "mailserver.accounts.StaticDirectory(addresses)",
        "mailserver.interfaces.ITransport",
        "mailserver.message.State",
        "mailserver.reception.ESMTPFactory(",
        "mailserver.relay.build_queue(settings, *, reactor, ",
        "mailserver.service.build(settings, *, reactor, portal=, directory=, spool=, resolver=, transports=, ",
        "mailserver.testing.MailKit(",
        "mailserver.transport.FunctionTransport(function)",
    ):
        assert any(one.startswith(line) for one in frozen), line
