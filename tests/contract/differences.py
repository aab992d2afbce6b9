"""Where stock ``twisted.mail`` differs, collected from the tests that show it.

A test that asserts what stock does and what ours does is marked::

    @differs(8, "a failure of one sink is 550 for all", "each failure keeps its code")

``python -m tests.contract.page`` writes them into docs/coming-from-twisted-mail.md. A defect of security is named
by its class only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T", bound=Callable[..., object])


@dataclass(frozen=True, order=True)
class Difference:
    """`row` is that of the contract, 0 for what is in no row."""

    row: int
    stock: str
    ours: str
    security: bool = False


FOUND: set[Difference] = set()


def differs(row: int, stock: str, ours: str, security: bool = False) -> Callable[[T], T]:
    """Marks the test that shows a difference."""

    def mark(test: T) -> T:
        FOUND.add(Difference(row, stock, ours, security))
        return test

    return mark
