"""Routes are grouping keys, attempts are not."""

from __future__ import annotations

from mailserver.message.content import Content
from mailserver.message.envelope import Envelope
from mailserver.message.route import TLS_MODES, Attempt, Route, TlsPolicy
from mailserver.smtp.address import NULL, Mailbox


def test_equal_routes_are_one_group() -> None:
    assert len({Route("smtp", "a.example"), Route("smtp", "a.example")}) == 1


def test_whatever_differs_is_another_group() -> None:
    routes = {
        Route("smtp", "a.example"),
        Route("lmtp", "a.example"),
        Route("smtp", "b.example"),
        Route("smtp", "a.example", TlsPolicy("verified")),
        Route("smtp", "a.example", reverse_path=NULL),
        Route("smtp", "a.example", hold="because"),
        Route("smtp", "a.example", mailbox=Mailbox.parse("a@b.example")),
    }
    assert len(routes) == 7


def test_an_attempt_is_itself_alone() -> None:
    one, other = (Attempt("id", Envelope(NULL), (), Content(), Route("a", "b"), 0.0) for _ in range(2))
    assert one != other
    assert {one: 1, other: 2}[one] == 1


def test_tls_is_opportunistic_by_default() -> None:
    assert Route("smtp", "a.example").tls.mode in TLS_MODES
    assert Route("smtp", "a.example").tls == TlsPolicy("opportunistic", "")
