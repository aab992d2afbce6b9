"""Names that a stranger makes costly to read: they are refused before the work, not after it."""

from __future__ import annotations

import idna
import pytest

from mailserver.smtp import scram
from mailserver.smtp.address import AddressError, Domain, parse_path
from mailserver.smtp.limits import Profile
from mailserver.smtp.scram import MAX_NAME, Unspeakable
from tests.smtp.test_server import Driver


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The labels that are converted."""
    seen: list[str] = []
    alabel = idna.alabel
    monkeypatch.setattr(idna, "alabel", lambda label: seen.append(label) or alabel(label))
    return seen


@pytest.mark.parametrize("name", ["\u4e00." * 200 + "test", "\u4e00" * 300, "\u4e00." * 42 + "toolong"])
def test_a_name_that_cannot_fit_is_not_converted(converted: list[str], name: str) -> None:
    with pytest.raises(AddressError, match="longer than"):
        Domain.parse(name)
    assert converted == []


def test_the_longest_names_of_one_character_each_are_read(converted: list[str]) -> None:
    assert len(Domain.parse(".".join("\u00fc" * 31)).name) <= 255
    assert len(converted) == 31


def test_a_source_route_is_looked_at_without_conversion(converted: list[str]) -> None:
    mailbox, _ = parse_path("<@\u4e00.test,@\u4e01.test:anna@example.org>", smtputf8=True)
    assert (str(mailbox), converted) == ("anna@example.org", [])


def test_a_source_route_has_a_bound() -> None:
    route = ",".join(["@\u4e00"] * 60)
    with pytest.raises(AddressError, match="source route is longer"):
        parse_path(f"<{route}:anna@example.org>", smtputf8=True)


@pytest.mark.parametrize("name", ["\ufdfa" * 2990, "a" * (MAX_NAME + 1), "=2C" * (MAX_NAME + 1)])
def test_a_long_name_is_not_prepared(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(scram, "prepare", lambda *_, **__: pytest.fail("it was"))
    with pytest.raises(Unspeakable, match="longer"):
        scram._name(name)


def test_the_longest_address_is_a_name() -> None:
    assert scram._name("=2C" * MAX_NAME) == "," * MAX_NAME


def test_lines_that_are_not_ascii_make_a_turn_shorter() -> None:
    driver = Driver(Profile("mx.example.org"))
    driver.say("EHLO x")
    driver.core.lines_left = 100
    assert driver.say(*["VRFY \u4e00"] * 30) == [553] * 10
    driver.core.lines_left = 100
    assert len(driver.say(*["NOOP"] * 10)) > 0
