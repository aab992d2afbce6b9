"""Where a recipient goes: local, static, smart host, MX, or nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from mailserver.message.envelope import Envelope
from mailserver.message.outcome import Klass, Outcome
from mailserver.message.resolution import Found, Resolution
from mailserver.message.route import Route, TlsPolicy
from mailserver.queue.router import HOLD_REASON, LOCAL, Router, Routers, bracketed
from mailserver.settings import Relay, Settings, StaticRoute
from mailserver.smtp.address import Mailbox
from mailserver.smtp.status import Status

ENVELOPE = Envelope(Mailbox.parse("s@a.example"))


@pytest.fixture
def directory(make: Any) -> Any:
    return make.Directory()


def decide(directory: Any, make: Any, name: str, **relay: Any) -> Any:
    routes = (
        StaticRoute(domain="static.example", host="relay.example:2526", tls="off"),
        StaticRoute(domain="box.example", host="unix:run/lmtp", transport="lmtp"),
        StaticRoute(domain="six.example", host="[::1]:25", tls="verified", ca_file="/etc/ca.pem"),
    )
    settings = Settings(instance="mail", host_name="mx.here.example", relay=Relay(**relay), routes=routes)
    return Router(settings, directory).route(make.recipient(0, name), ENVELOPE)


def test_an_account_is_local_even_on_hold(directory: Any, make: Any) -> None:
    assert decide(directory, make, "anna@here.example", outgoing="hold") is LOCAL


@pytest.mark.parametrize("name", ["Anna@here.example", "anna+x@here.example"])
def test_an_account_by_another_name_goes_under_its_own(name: str, directory: Any, make: Any) -> None:
    assert decide(directory, make, name) == Route("local", "local", mailbox=Mailbox.parse("anna@here.example"))


def test_a_domain_elsewhere_is_looked_up(directory: Any, make: Any) -> None:
    assert decide(directory, make, "b@Mx.Example") == Route("smtp", "mx.example")
    assert decide(directory, make, "b@[192.0.2.1]") == Route("smtp", "[192.0.2.1]")


def test_on_hold_only_static_routes_leave(directory: Any, make: Any) -> None:
    assert decide(directory, make, "b@mx.example", outgoing="hold").hold == HOLD_REASON
    static = Route("smtp", "[relay.example]:2526", TlsPolicy("off"))
    assert decide(directory, make, "b@static.example", outgoing="hold") == static
    six = decide(directory, make, "b@six.example", outgoing="hold")
    assert (six.destination, six.tls.mode, str(six.tls.ca_file)) == ("[::1]:25", "verified", "/etc/ca.pem")
    assert decide(directory, make, "b@box.example") == Route("lmtp", "unix:mail/run/lmtp")
    # A static route is for that domain alone.
    assert decide(directory, make, "b@sub.static.example").destination == "sub.static.example"


def test_the_smart_host_takes_the_rest(directory: Any, make: Any) -> None:
    smart = {"smart_host": "smart.example:587", "smart_host_tls": "opportunistic"}
    assert decide(directory, make, "b@mx.example", **smart) == Route("smtp", "[smart.example]:587")
    assert decide(directory, make, "b@mx.example", outgoing="hold", **smart).hold == HOLD_REASON
    assert decide(directory, make, "b@static.example", **smart).destination == "[relay.example]:2526"
    assert decide(directory, make, "anna@here.example", **smart) is LOCAL


def test_a_local_name_that_nobody_has_fails(directory: Any, make: Any) -> None:
    outcome = decide(directory, make, "nobody@here.example")
    assert isinstance(outcome, Outcome)
    assert (outcome.klass, outcome.status) == (Klass.PERMANENT, Status(5, 1, 1))


def test_an_alias_that_could_not_be_expanded_fails(directory: Any, make: Any) -> None:
    directory.aliases["loop@here.example"] = ["loop@here.example"]
    outcome = decide(directory, make, "loop@here.example")
    assert (outcome.klass, outcome.status) == (Klass.PERMANENT, Status(5, 4, 6))


def test_a_directory_may_take_its_time(make: Any) -> None:
    class Later:
        def resolve(self, mailbox: Mailbox) -> Any:
            return answer

    answer: Deferred[Resolution] = Deferred()
    routed = Deferred.fromCoroutine(decide(Later(), make, "anna@here.example"))
    assert not routed.called
    answer.callback(Resolution(Found.ACCOUNT, Mailbox.parse("anna@here.example")))
    assert routed.result is LOCAL


@pytest.mark.parametrize(
    ("text", "destination"),
    [("relay.example:25", "[relay.example]:25"), ("192.0.2.1:25", "[192.0.2.1]:25"), ("[::1]:25", "[::1]:25")],
)
def test_bracketed(text: str, destination: str) -> None:
    assert bracketed(text) == destination


class Fixed:
    """A router with one answer."""

    def __init__(self, answer, asked):
        self._answer, self._asked = answer, asked

    def route(self, recipient, envelope):
        self._asked.append(self)
        return self._answer() if callable(self._answer) else self._answer


async def later(value):
    return value


@pytest.mark.parametrize("way", ["plain", "later"])
def test_routers_are_asked_until_one_has_an_answer(way):
    def says(value):
        return value if way == "plain" else lambda: later(value)

    asked = []
    found = Route("acme", "there")
    routers = [Fixed(says(answer), asked) for answer in (None, None, found, LOCAL)]
    answer = Routers(routers).route(None, None)
    if way == "later":
        got = []
        Deferred.fromCoroutine(answer).addBoth(got.append)
        answer = got[0]
    assert answer is found
    assert asked == routers[:3]
    assert Routers([Fixed(None, [])]).route(None, None) is None
