"""Row 3: logout is called exactly once for each login: at the end, when another replaces it, at STARTTLS."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tests.contract.application import Application, raising
from tests.contract.differences import differs
from tests.contract.servers import BAD_PLAIN, FROM, HELLO, MESSAGE, PLAIN, TO, Ours, Stock, codes, same


def test_at_the_end_of_the_connection() -> None:
    assert same(Application, *MESSAGE, lose=True).names()[-1] == "logout"
    assert same(Application, HELLO, PLAIN, lose=True).names()[-1] == "logout"
    assert same(Application, HELLO, FROM, TO, b"DATA", b"x", lose=True).names()[-2:] == [
        "connectionLost",
        "logout",
    ]


def test_not_without_a_login() -> None:
    server = Ours(Application())
    server.talk(HELLO)
    server.lose()
    assert server.app.calls == []


@differs(3, "an avatar that is replaced by another login is never logged out", "it is, once, at that moment")
def test_when_another_login_replaces_it() -> None:
    servers = [kind(Application()) for kind in (Stock, Ours)]
    for server in servers:
        server.talk(HELLO, FROM, b"RSET", PLAIN)
        server.lose()
    assert [args for server in servers for args in server.app.arguments("logout")] == [
        (b"anna",),
        ((),),
        (b"anna",),
    ]
    ours = Ours(Application())
    ours.talk(HELLO, FROM, b"RSET", BAD_PLAIN)
    assert "logout" not in ours.app.names()


@differs(
    3,
    "what was known before STARTTLS is not forgotten (class: CVE-2011-0411)",
    "all knowledge is forgotten (RFC 3207 §4.2): the avatar is logged out",
    security=True,
)
def test_at_starttls() -> None:
    servers = [kind(Application(), context=object()) for kind in (Stock, Ours)]
    for server in servers:
        server.talk(HELLO, PLAIN, b"STARTTLS")
        assert server.transport.tls
    stock, ours = servers
    assert stock.app.arguments("logout") == []
    assert ours.app.arguments("logout") == [(b"anna",)]
    ours.talk(HELLO, FROM)
    assert ours.app.names().count("requestAvatar") == 2
    ours.lose()
    assert ours.app.arguments("logout") == [(b"anna",), ((),)]


def test_a_logout_that_raises_harms_nobody() -> None:
    ours = Ours(Application(logout=raising(ZeroDivisionError())))
    assert codes(ours.talk(HELLO, FROM, b"RSET", PLAIN, FROM)) == [250, 250, 250, 235, 250]
    ours.lose()
    assert ours.app.names().count("logout") == 2


def test_a_login_that_comes_after_the_end_is_undone() -> None:
    def behaviour(plain, *args):
        # A canceller that answers all the same.
        return Deferred(lambda waiting: waiting.callback(plain))

    ours = Ours(Application(requestAvatar=behaviour))
    ours.send(HELLO + b"\r\n" + FROM + b"\r\n")
    ours.lose()
    assert ours.app.names() == ["login", "requestAvatar", "logout"]
