"""What the store could not keep is refused where it is given."""

from __future__ import annotations

from typing import Any

import pytest

from mailserver.queue.outbox import _check_text

WRONG = [(["a"], TypeError), (b"x", TypeError), (42, TypeError), ("\udc80", ValueError), ("a\0", ValueError)]


@pytest.mark.parametrize(("text", "error"), WRONG)
def test_keys_and_names_are_text_that_prints(text: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        _check_text(text, "a key")


def test_ordinary_keys_pass() -> None:
    _check_text("order-42/übung", "a key")
