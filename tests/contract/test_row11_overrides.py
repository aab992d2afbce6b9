"""Row 11: a protocol of one's own is not kept, and is told so when the port opens."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.mail.smtp import ESMTP, SMTP
from twisted.trial.unittest import TestCase

from mailserver.interfaces import MailServerError
from mailserver.reception import ESMTPFactory, OverriddenProtocol
from tests.contract.differences import differs


class WithCommand(ESMTP):
    def do_EXPN(self, rest: bytes) -> None:
        self.sendCode(250, b"everybody")


class WithExtension(ESMTP):
    def ext_XFOO(self, rest: bytes) -> None:
        self.sendCode(250, b"foo")


class WithState(ESMTP):
    def state_DATA(self, line: bytes) -> None:
        self.dataLineReceived(line)


class Mixin:
    def do_HELP(self, rest: bytes) -> None:
        """Anything."""


class WithMixin(Mixin, ESMTP):
    pass


class WithValidation(SMTP):
    def validateTo(self, user: Any) -> Any:
        return None


class WithAttribute(ESMTP):
    noisy = False


class Nothing(ESMTP):
    """Only another name."""


class OurOwn(ESMTPFactory):
    protocol = WithCommand


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        (WithCommand, "do_EXPN"),
        (WithExtension, "ext_XFOO"),
        (WithState, "state_DATA"),
        (WithMixin, "do_HELP"),
        (WithValidation, "validateTo"),
        (WithAttribute, "noisy"),
    ],
)
@differs(
    11,
    "`factory.protocol` may be a subclass that overrides `do_*`, `ext_*`, `state_*`",
    "the engine is ours: such a class is an error when the port opens, which names what it overrides",
)
def test_an_overriding_protocol_is_an_error_at_start(protocol: type, name: str) -> None:
    factory = ESMTPFactory()
    factory.protocol = protocol
    with pytest.raises(OverriddenProtocol, match=f"{protocol.__name__} overrides {name}: .*IMessageDelivery"):
        factory.doStart()
    with pytest.raises(OverriddenProtocol):
        factory.buildProtocol(None)


def test_as_a_class_attribute() -> None:
    with pytest.raises(MailServerError, match="do_EXPN"):
        OurOwn().startFactory()


@pytest.mark.parametrize("protocol", [ESMTP, SMTP, Nothing, None])
def test_twisteds_own_protocol_stands_for_ours(protocol: Any) -> None:
    factory = ESMTPFactory()
    factory.protocol = protocol
    factory.startFactory()
    assert factory.buildProtocol(None) is not None


@pytest.mark.parametrize("protocol", [lambda: None, object, "ESMTP"])
def test_what_is_no_protocol_at_all(protocol: Any) -> None:
    factory = ESMTPFactory()
    factory.protocol = protocol
    with pytest.raises(OverriddenProtocol, match="is no protocol of this factory"):
        factory.startFactory()


class TestPort(TestCase):
    @inlineCallbacks
    def test_the_port_does_not_open(self):
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        failure = yield self.assertFailure(endpoint.listen(OurOwn()), OverriddenProtocol)
        assert "do_EXPN" in str(failure)
