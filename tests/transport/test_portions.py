"""How many recipients a transaction has, whatever a host says to them: 1,000 recipients against hosts by rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from mailserver.message.envelope import Original, Recipient
from mailserver.message.outcome import Klass, Outcome, Scope, permanent, transient
from mailserver.message.state import State
from mailserver.smtp.address import Mailbox
from mailserver.smtp.status import Status
from mailserver.smtp.transaction import Phase
from mailserver.transport.portions import Portions

OK = Outcome(Klass.SUCCESS, Scope.RECIPIENT, Status(2, 0, 0), "ok", State.RELAYED, phase=Phase.FINAL)
CUT = transient("421 too many errors", Status(4, 7, 0), Scope.HOST)
UNKNOWN = permanent("no such user", Status(5, 1, 1))
CONTENT = permanent("spam", Status(5, 7, 1), Scope.MESSAGE)
UNCERTAIN = Outcome(Klass.TRANSIENT, Scope.HOST, Status(4, 4, 2), "lost", uncertain=True)


def refused(reply: str, status: Status) -> Outcome:
    return Outcome(
        Klass.TRANSIENT, Scope.RECIPIENT, status, reply, remote_reply=reply, phase=Phase.RCPT
    )  # fmt: skip


MANY = refused("452 4.5.3 too many recipients", Status(4, 5, 3))
OLD = refused("552 too many recipients", Status(4, 0, 0))
FULL = refused("452 4.2.2 mailbox full", Status(4, 2, 2))

Host = Callable[[int], Sequence[Outcome]]


def sent(number: int, host: Host) -> tuple[list[Outcome], list[int]]:
    """The outcomes of `number` recipients, and how many were asked in each transaction."""
    box = Mailbox.parse("anna@b.example")
    recipients = [Recipient(n, box, (Original(box),)) for n in range(number)]
    portions, asked = Portions(recipients), []
    while portion := portions.next:
        asked.append(len(portion))
        assert len(asked) < 200
        portions.told(dict(zip(portion, host(len(portion)), strict=True)))
    assert len(portions.outcomes) == number
    return [portions.outcomes[one] for one in recipients], asked


def takes(most: int, over: Outcome = MANY) -> Host:
    return lambda count: [OK] * min(count, most) + [over] * max(count - most, 0)


def test_a_hundred_at_a_time() -> None:
    assert sent(1000, takes(100)) == ([OK] * 1000, [100] * 10)
    assert sent(1, takes(100)) == ([OK], [1])


@pytest.mark.parametrize("over", [MANY, OLD])
def test_a_host_that_takes_fewer_gets_the_others_at_once(over: Outcome) -> None:
    assert sent(120, takes(40, over)) == ([OK] * 120, [100, 40, 40])


def test_a_host_that_ends_the_session_after_twenty_refusals_is_asked_for_fewer() -> None:
    def host(count: int) -> list[Outcome]:
        return [CUT] * 40 + [MANY] * 20 + [CUT] * (count - 60) if count > 60 else takes(40)(count)

    assert sent(120, host) == ([OK] * 120, [100, 40, 40, 40])


def test_nobody_taken_is_the_end() -> None:
    assert sent(300, takes(0)) == ([MANY] * 300, [100])
    assert sent(300, lambda count: [CUT] * count) == ([CUT] * 300, [100])
    assert sent(300, lambda count: [CONTENT] * count) == ([CONTENT] * 300, [100])
    assert sent(300, lambda count: [UNCERTAIN] * count) == ([UNCERTAIN] * 300, [100])


def test_whoever_is_refused_for_himself_stops_nobody() -> None:
    assert sent(250, lambda count: [UNKNOWN] * count) == ([UNKNOWN] * 250, [100, 100, 50])
    assert sent(3, lambda count: [OK, FULL, OK]) == ([OK, FULL, OK], [3])


def test_who_may_have_it_is_not_asked_again() -> None:
    outcomes, asked = sent(100, lambda count: [UNCERTAIN] * 40 + [MANY] * 60)
    assert (outcomes, asked) == ([UNCERTAIN] * 40 + [MANY] * 60, [100])


def test_outcomes_for_the_first_of_a_portion() -> None:
    """As from a host that announces what it takes at once (RFC 9422)."""
    box = Mailbox.parse("anna@b.example")
    recipients = [Recipient(n, box, (Original(box),)) for n in range(70)]
    portions, asked = Portions(recipients), []
    while portion := portions.next:
        first = portion[:30]
        asked.append(len(first))
        # Refusals, each for itself, stop nobody.
        portions.told(dict.fromkeys(first, UNKNOWN if len(asked) == 1 else OK))
    assert asked == [30, 30, 10]
    assert [portions.outcomes[one] for one in recipients] == [UNKNOWN] * 30 + [OK] * 40
