"""The pytest plugin: the fixture ``mailkit``, a fresh :class:`~mailserver.testing.kit.MailKit` for each test.

It is registered as an entry point, so that an installed mailserver is all a test suite needs; what it costs a
suite without mail is this module. When a test fails, the log of its kit is shown with it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mailserver.testing.kit import MailKit

# Asserts in the contracts explain themselves as those in test modules do.
pytest.register_assert_rewrite("mailserver.testing.contracts")
_KIT = pytest.StashKey["MailKit"]()


@pytest.fixture
def mailkit(request: pytest.FixtureRequest) -> Iterator[MailKit]:
    """A mail server in memory with the world around it; stopped after the test."""
    from mailserver.testing.kit import MailKit  # noqa: PLC0415  suites without mail need not pay for it

    kit = MailKit()
    request.node.stash[_KIT] = kit
    yield kit
    kit.stop()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, None, None]:
    """A test that failed shows what its server logged."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    kit = item.stash.get(_KIT, None)
    if kit is not None and report.failed and kit.log:
        report.sections.append(("mailkit log", kit.log))
