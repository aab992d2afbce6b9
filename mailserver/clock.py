"""The two clocks, handed in wherever time matters so that a test can turn them.

``wall`` is for what people and other hosts see (Date, due times on disk); ``monotonic`` for deadlines.
"""

from __future__ import annotations

import time

from zope.interface import implementer

from mailserver.interfaces import IClock


@implementer(IClock)
class SystemClock:
    """The machine's clocks."""

    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
