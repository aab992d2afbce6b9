"""Whatever a function raises is an outcome: a claim must never be left without one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Original, Recipient
from mailserver.message.outcome import Klass
from mailserver.message.route import Attempt, Route
from mailserver.smtp.address import NULL, Mailbox
from mailserver.transport.function import FunctionTransport


@pytest.mark.parametrize("raised", [asyncio.CancelledError(), SystemExit(1), KeyboardInterrupt(), ValueError("x")])
def test_what_is_no_exception_is_transient_too(raised: BaseException) -> None:
    def function(_mail: Any) -> None:
        raise raised

    box = Mailbox.parse("a@b.example")
    recipient = Recipient(0, box, (Original(box),))
    attempt = Attempt("q", Envelope(NULL), (recipient,), Content.of(b"x\n"), Route("local", "local"), 0.0)
    results: list[Any] = []
    Deferred.fromCoroutine(FunctionTransport(function).deliver(attempt)).addBoth(results.append)
    assert results[0][recipient].klass is Klass.TRANSIENT
