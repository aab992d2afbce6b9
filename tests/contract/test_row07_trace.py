"""Row 7: receivedHeader once for each recipient, after its callable; what it answers is one line."""

from __future__ import annotations

import pytest

from tests.contract.application import Application, answering, coroutine, fired
from tests.contract.differences import differs
from tests.contract.servers import FROM, HELLO, MESSAGE, TO, TO_BERT, Ours, Stock, codes, same

# What a stock server does with a coroutine: it never awaits it.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")

FOLDED = b"Received: from a\n\tby b\n\tfor c"


def test_its_arguments() -> None:
    app = same(Application, HELLO, FROM, TO, TO_BERT, b"DATA")
    (first, second) = app.arguments("receivedHeader")
    assert first[0] == (b"client.example", b"192.0.2.7")
    assert [len(first[2]), len(second[2])] == [1, 1]
    assert isinstance(first[2], list)


def test_a_folded_header_comes_in_one_call() -> None:
    app = same(lambda: Application(receivedHeader=answering(FOLDED)), *MESSAGE)
    assert app.sinks[0].lines == [FOLDED, b"Subject: hi", b"", b"hello"]


@pytest.mark.parametrize("answer", [b"", None, ""])
def test_an_empty_answer_is_no_header(answer: object) -> None:
    app = same(lambda: Application(receivedHeader=answering(answer)), *MESSAGE)
    assert app.sinks[0].lines == [b"Subject: hi", b"", b"hello"]


@pytest.mark.parametrize(
    "content",
    [
        (b"no header", b"."),
        (b"", b"body", b"."),
        (b"a: b", b"no header", b"."),
        (b"no header", b"a: b", b"", b"."),
        (b".",),
        (b"", b"."),
        (b"..", b"..x", b"."),
    ],
)
def test_a_content_without_header_gets_an_empty_line(content: tuple[bytes, ...]) -> None:
    app = same(Application, HELLO, FROM, TO, TO_BERT, b"DATA", *content)
    assert app.names()[-1] == "eomReceived"


@differs(7, "`receivedHeader` must answer at once", "it may answer a Deferred or a coroutine")
@pytest.mark.parametrize("how", [fired, coroutine])
def test_an_answer_later(how) -> None:
    stock = Stock(Application(receivedHeader=how))
    stock.talk(*MESSAGE)
    assert all(isinstance(line, bytes) for sink in stock.app.sinks for line in sink.lines) is False
    ours = Ours(Application(receivedHeader=how))
    assert codes(ours.talk(*MESSAGE))[-1] == 250
    assert ours.app.sinks[0].lines[0].startswith(b"Received: ")
