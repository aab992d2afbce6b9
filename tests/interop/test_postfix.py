"""A real Postfix before us, as the server that sends, and behind us, as the next hop."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.harness.daemon import DOMAIN, Daemon, until
from tests.harness.postfix import Postfix
from tests.interop.contents import CONTENTS, USUAL, crlf, delivered, whole

pytestmark = [pytest.mark.daemon, pytest.mark.peer("postfix-master")]

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
RECEIVED = rb"Received: from [^\n]*\n(?:\t[^\n]*\n)+"
# What Postfix's virtual delivery prepends, its own Received, and ours.
OF_POSTFIX = re.compile(rb"(?:(?:Return-Path|X-Original-To|Delivered-To): [^\n]*\n)+" + RECEIVED)
NAMES = (*USUAL, "no-final-newline", "empty-body")


@pytest.fixture(scope="module")
def servers(lasting_daemons: Callable[..., Daemon]) -> Iterator[tuple[Daemon, Postfix]]:
    from tests.conftest import find_peer

    daemon = lasting_daemons()
    postfix = Postfix(daemon.address, daemon.ca_file, daemon.ca_file.with_name("default.key"))
    daemon.write_settings(f"""
[relay]
connection_reuse = 1

[routes."near.test"]
host = "{postfix.place}"
tls = "opportunistic"

[routes."far.test"]
host = "{postfix.place}"
tls = "off"
""")
    master = find_peer("postfix-master")
    assert master
    daemon.start()
    try:
        yield daemon, postfix.start(master)
    finally:
        postfix.stop()


def without_received(content: bytes) -> bytes:
    """`content` without the Received on top of it."""
    found = re.match(RECEIVED, content)
    assert found, content[:500]
    return content[found.end() :]


@pytest.mark.parametrize("name", NAMES)
def test_from_postfix_to_the_mx_port(name: str, servers: tuple[Daemon, Postfix]) -> None:
    daemon, postfix = servers
    before = len(daemon.letters())
    with postfix.client() as client:
        client.sendmail("zoe@far.test", [ALICE], crlf(CONTENTS[name]))
    assert without_received(delivered(daemon, before)) == whole(CONTENTS[name])


@pytest.mark.parametrize("name", NAMES)
def test_from_postfix_with_starttls_and_a_login(name: str, servers: tuple[Daemon, Postfix]) -> None:
    daemon, postfix = servers
    before = len(daemon.letters("bob"))
    with postfix.client() as client:
        client.sendmail(ALICE, [BOB], crlf(CONTENTS[name]))
    letter = daemon.wait_letters(before + 1, "bob")[before].read_bytes()
    assert b"with ESMTPSA id" in letter.partition(b"\n\n")[0]
    # The Cyrus library computes SCRAM on its own: that both sides agree is worth more than our own client's word.
    daemon.wait_log(r" login\.accepted .* account=alice@mail\.test mechanism=SCRAM-SHA-256")
    assert without_received(delivered(daemon, before, "bob")) == whole(CONTENTS[name])


def test_from_postfix_to_several_recipients(servers: tuple[Daemon, Postfix]) -> None:
    daemon, postfix = servers
    before = len(daemon.letters())
    with postfix.client() as client:
        client.sendmail("", [f"nobody@{DOMAIN}", ALICE, f"alice+tag@{DOMAIN}"], crlf(CONTENTS["plain"]))
    assert without_received(delivered(daemon, before)) == CONTENTS["plain"]
    assert len(daemon.letters()) == before + 1
    assert re.search(r"to=<nobody@mail.test>.* status=bounced .*550 5\.1\.1 No such user here", postfix.log())


@pytest.mark.parametrize("name", NAMES)
def test_to_postfix(name: str, servers: tuple[Daemon, Postfix]) -> None:
    daemon, postfix = servers
    before = len([*postfix.directory.glob("box/new/*")])
    with daemon.submission() as client:
        client.sendmail(ALICE, ["zoe@near.test"], crlf(CONTENTS[name]))
    letter = postfix.wait_letters(before + 1)[before].read_bytes()
    assert b"using TLSv1.3" in letter.partition(b"\n\n")[0]
    prepended = OF_POSTFIX.match(letter)
    assert prepended, letter[:1000]
    assert without_received(letter[prepended.end() :]) == whole(CONTENTS[name])


def test_to_postfix_small_messages_go_by_bdat(servers: tuple[Daemon, Postfix]) -> None:
    daemon, postfix = servers
    before = postfix.log().count(" bdat=1 ")
    with daemon.submission() as client:
        client.sendmail(ALICE, ["zoe@near.test"], crlf(CONTENTS["plain"]))
    until(postfix.log, lambda log: log.count(" bdat=1 ") > before)


def test_to_postfix_for_several_recipients_of_whom_it_refuses_one(servers: tuple[Daemon, Postfix]) -> None:
    daemon, postfix = servers
    before = len(daemon.letters())
    with daemon.submission() as client:
        client.sendmail(ALICE, ["a@near.test", "b@near.test", "zoe@far.test"], crlf(CONTENTS["plain"]))
    report = daemon.wait_letters(before + 1)[before].read_bytes()
    assert b"Final-Recipient: rfc822;zoe@far.test\n" in report.replace(b"rfc822; ", b"rfc822;")
    for name in ("a", "b"):
        sent = re.compile(rf"to=<{name}@near\.test>.* status=sent")
        until(postfix.log, sent.search)
