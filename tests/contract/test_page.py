"""The page of differences is what the tests say."""

from __future__ import annotations

from tests.contract.page import PAGE, found, page


def test_the_page_is_up_to_date() -> None:
    text = PAGE.read_text()
    assert page(text) == text, "run: python -m tests.contract.page"


def test_every_difference_is_told_once_and_in_one_line() -> None:
    differences = found()
    assert len({(one.row, one.stock) for one in differences}) == len(differences) > 20
    assert not any("\n" in one.stock + one.ours or "|" in one.stock + one.ours for one in differences)


def test_a_defect_of_security_is_named_by_its_class_alone() -> None:
    for one in found():
        assert one.security is ("class: " in one.stock), one
