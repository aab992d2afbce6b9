"""Intake: completes headers, expands aliases, drops nothing."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from mailserver.message.content import Content
from mailserver.message.envelope import Envelope, Facts, Original
from mailserver.message.prepared import Prepared, new_queue_id
from mailserver.message.resolution import Resolution
from mailserver.queue.intake import DEPTH, EXPANDED, Intake
from mailserver.smtp.address import NULL, Mailbox

ENVELOPE = Envelope(Mailbox.parse("s@a.example"))
ARRIVED = 1_764_000_000.25


class Store:
    """Takes what it is given."""

    def __init__(self) -> None:
        self.stored: list[Prepared] = []

    async def store(self, prepared: Prepared) -> str:
        self.stored.append(prepared)
        return prepared.queue_id


class Later:
    """A directory that answers by coroutines."""

    def __init__(self, directory: Any) -> None:
        self.directory = directory

    async def resolve(self, mailbox: Mailbox) -> Resolution:
        answer: Resolution = self.directory.resolve(mailbox)
        return answer


@pytest.fixture
def directory(make: Any) -> Any:
    return make.Directory()


def facts(*names: str, submitted: bool = False, notify: frozenset[str] | None = None) -> Facts:
    originals = tuple(Original(Mailbox.parse(name), notify) for name in names)
    return Facts(new_queue_id(ARRIVED), originals, ARRIVED, submitted)


def accept(directory: Any, content: Content, what: Facts) -> Prepared:
    store = Store()
    done = Deferred.fromCoroutine(_accepted(Intake(store, directory, "mx.here.example"), content, what))
    assert done.result == what.queue_id
    (prepared,) = store.stored
    return prepared


async def _accepted(intake: Intake, content: Content, what: Facts) -> str:
    return await intake.accept(ENVELOPE, content, what)


def expand(directory: Any, *names: str) -> dict[str, list[str]]:
    """The recipients, each with its originals. Directories that answer at once and later agree."""
    at_once = accept(directory, Content(), facts(*names)).recipients
    later = accept(Later(directory), Content(), facts(*names)).recipients
    assert at_once == later
    assert [one.number for one in at_once] == list(range(len(at_once)))
    return {str(one.mailbox): [str(original.mailbox) for original in one.originals] for one in at_once}


# Reports of expansions (RFC 3461 §5.2.7).


def notified(directory: Any, words: str, name: str = "team@here.example", sender: str = "s@a.example") -> Any:
    notify = frozenset(words.split(",")) if words else None
    original = Original(Mailbox.parse(name), notify, "rfc822;Team@here.example")
    envelope = Envelope(Mailbox.parse(sender) if sender else NULL)
    store = Store()
    intake = Intake(store, directory, "mx.here.example")
    what = Facts(new_queue_id(ARRIVED), (original,), ARRIVED)
    prepared: Any = intake.prepare(envelope, Content(), what)
    if not isinstance(prepared, Prepared):
        prepared = Deferred.fromCoroutine(prepared).result
    return [
        (str(one.mailbox), one.expanded, ",".join(sorted(given.notify or ())), given.orcpt)
        for one in prepared.recipients
        for given in one.originals
    ]


ORCPT = "rfc822;Team@here.example"


@pytest.mark.parametrize(
    ("words", "left"),
    [("SUCCESS", "NEVER"), ("SUCCESS,FAILURE", "FAILURE"), ("SUCCESS,FAILURE,DELAY", "DELAY,FAILURE")],
)
def test_an_alias_for_several_is_reported_as_expanded_and_no_success_behind_it(
    words: str, left: str, directory: Any
) -> None:
    directory.aliases["team@here.example"] = ["anna@here.example", "x@else.example"]
    behind = [(name, False, left, ORCPT) for name in ("anna@here.example", "x@else.example")]
    assert notified(directory, words) == [*behind, ("team@here.example", True, "SUCCESS", ORCPT)]
    # Nobody is there to be told; what is behind says no more for that.
    assert notified(directory, words, sender="") == behind


@pytest.mark.parametrize("words", ["", "NEVER", "FAILURE", "DELAY,FAILURE"])
def test_without_success_nothing_is_said_of_an_expansion(words: str, directory: Any) -> None:
    directory.aliases["team@here.example"] = ["anna@here.example", "x@else.example"]
    behind = [(name, False, words, ORCPT) for name in ("anna@here.example", "x@else.example")]
    assert notified(directory, words) == behind


def test_an_alias_for_one_passes_everything_on(directory: Any) -> None:
    directory.aliases["team@here.example"] = ["anna@here.example"]
    assert notified(directory, "SUCCESS") == [("anna@here.example", False, "SUCCESS", ORCPT)]
    assert notified(directory, "SUCCESS", "anna@here.example") == [("anna@here.example", False, "SUCCESS", ORCPT)]


# Recipients.


def test_accounts_strangers_and_unknown_names_stand_as_they_are(directory: Any) -> None:
    names = ["anna@here.example", "x@else.example", "nobody@here.example"]
    assert expand(directory, *names) == {name: [name] for name in names}


def test_the_fast_path_asks_once_and_awaits_nothing(directory: Any) -> None:
    intake = Intake(Store(), directory, "mx.here.example")
    prepared = intake.prepare(ENVELOPE, Content(), facts("anna@here.example", "x@else.example"))
    assert isinstance(prepared, Prepared)
    assert directory.asked == 2


def test_equal_mailboxes_are_one_recipient_with_every_original(directory: Any) -> None:
    directory.aliases["team@here.example"] = ["anna@here.example", "ben@here.example"]
    names = ["Anna@here.example", "team@here.example", "anna+x@here.example", "Anna@here.example"]
    assert expand(directory, *names) == {
        "anna@here.example": [
            "Anna@here.example",
            "team@here.example",
            "anna+x@here.example",
            "Anna@here.example",
        ],
        "ben@here.example": ["team@here.example"],
    }


def test_originals_keep_their_notify_and_orcpt(directory: Any) -> None:
    directory.aliases["team@here.example"] = ["anna@here.example"]
    never, words = frozenset({"NEVER"}), "rfc822;team@here.example"
    originals = (
        Original(Mailbox.parse("team@here.example"), never, words),
        Original(Mailbox.parse("anna@here.example")),
    )
    prepared = accept(directory, Content(), Facts(new_queue_id(ARRIVED), originals, ARRIVED))
    assert [one.originals for one in prepared.recipients] == [originals]


def test_aliases_of_aliases_and_of_strangers(directory: Any) -> None:
    directory.aliases["all@here.example"] = ["team@here.example", "x@else.example"]
    directory.aliases["team@here.example"] = ["anna@here.example", "gone@here.example"]
    assert list(expand(directory, "All@here.example")) == [
        "x@else.example", "anna@here.example", "gone@here.example",
    ]  # fmt: skip


def test_a_loop_that_leads_nowhere_else_stands_as_it_is(directory: Any) -> None:
    directory.aliases["a@here.example"] = ["b@here.example"]
    directory.aliases["b@here.example"] = ["a@here.example"]
    assert expand(directory, "a@here.example") == {"a@here.example": ["a@here.example"]}


def test_a_loop_with_a_way_out_takes_it(directory: Any) -> None:
    directory.aliases["a@here.example"] = ["b@here.example", "a@here.example"]
    directory.aliases["b@here.example"] = ["a@here.example", "anna@here.example"]
    assert expand(directory, "a@here.example") == {"anna@here.example": ["a@here.example"]}


def test_an_alias_without_targets_stands_as_it_is(directory: Any) -> None:
    directory.aliases["a@here.example"] = []
    assert expand(directory, "a@here.example") == {"a@here.example": ["a@here.example"]}


def chain(directory: Any, length: int) -> str:
    for n in range(1, length):
        directory.aliases[f"a{n}@here.example"] = [f"a{n + 1}@here.example"]
    directory.aliases[f"a{length}@here.example"] = ["Ben@here.example"]
    return "a1@here.example"


def test_so_many_aliases_one_behind_the_other_are_followed(directory: Any) -> None:
    assert list(expand(directory, chain(directory, DEPTH))) == ["ben@here.example"]


def test_what_is_too_deep_stands_as_it_is(directory: Any) -> None:
    assert list(expand(directory, chain(directory, DEPTH + 1))) == [f"a{DEPTH + 1}@here.example"]


def test_a_long_list_is_expanded_whole_under_canonical_names(directory: Any) -> None:
    directory.aliases["list@here.example"] = [f"X{n}@here.example" for n in range(3 * EXPANDED)]
    assert list(expand(directory, "list@here.example")) == [f"x{n}@here.example" for n in range(3 * EXPANDED)]


def test_lists_of_lists_end_at_a_bound_and_the_rest_stands(directory: Any) -> None:
    lists = [f"list{n}@here.example" for n in range(40)]
    directory.aliases["all@here.example"] = lists
    for n, name in enumerate(lists):
        directory.aliases[name] = [f"m{n}-{m}@here.example" for m in range(100)]
    found = list(expand(directory, "all@here.example"))
    assert EXPANDED < len(found) < 2 * EXPANDED
    kept = [name for name in found if name.startswith("list")]
    # Nothing is dropped: each list is either expanded or there itself.
    assert kept == lists[-len(kept) :]
    assert {f"m{n}-99@here.example" for n in range(40 - len(kept))} <= set(found)


def test_a_list_of_everybody_in_each_list_does_not_explode(directory: Any) -> None:
    lists = [f"list{n}@here.example" for n in range(100)]
    for name in lists:
        directory.aliases[name] = lists
    assert expand(directory, lists[0]) == {lists[0]: [lists[0]]}
    assert directory.asked < 1_000


def test_no_recipient_is_a_bug_of_the_caller(directory: Any) -> None:
    with pytest.raises(ValueError, match="recipient"):
        Intake(Store(), directory, "mx.here.example").prepare(ENVELOPE, Content(), facts())


# The header.


def completed(directory: Any, octets: bytes, head: bytes = b"", submitted: bool = True) -> bytes:
    content = Content.of(octets)
    content.head = head
    prepared = accept(directory, content, facts("anna@here.example", submitted=submitted))
    assert prepared.content is content
    return b"".join(content.chunks()).replace(prepared.queue_id.encode(), b"ID")


RECEIVED = b"Received: from x;\n\tdate\n"
DATE = b"Date: Mon, 24 Nov 2025 16:00:00 +0000\n"
MESSAGE_ID = b"Message-ID: <ID@mx.here.example>\n"


@pytest.mark.parametrize(
    ("octets", "added"),
    [
        (b"Subject: hi\n\nhi\n", DATE + MESSAGE_ID),
        (b"DATE: then\nSubject: hi\n\nhi\n", MESSAGE_ID),
        (b"message-id : <a@b>\nSubject: hi\n\nhi\n", DATE),
        (b"Date: then\nMessage-Id: <a@b>\n\nhi\n", b""),
        (b"X: a\n Date: folded, no field\n\nDate: in the body\n", DATE + MESSAGE_ID),
    ],
)
def test_a_submitted_message_gets_what_it_lacks(octets: bytes, added: bytes, directory: Any) -> None:
    assert completed(directory, octets, RECEIVED) == RECEIVED + added + octets
    # What strangers send is left alone.
    assert completed(directory, octets, RECEIVED, submitted=False) == RECEIVED + octets


@pytest.mark.parametrize("octets", [b"no header here\n", b"Dear Ben: hi\n\nbye\n", b" folded\n"])
def test_a_content_without_header_gets_an_empty_line(octets: bytes, directory: Any) -> None:
    assert completed(directory, octets, RECEIVED, submitted=False) == RECEIVED + b"\n" + octets


@pytest.mark.parametrize("octets", [b"", b"\nonly a body\n"])
def test_an_empty_header_needs_no_second_empty_line(octets: bytes, directory: Any) -> None:
    assert completed(directory, octets, RECEIVED, submitted=False) == RECEIVED + octets


def test_nothing_prepended_nothing_changed(directory: Any) -> None:
    assert completed(directory, b"no header here\n", submitted=False) == b"no header here\n"
