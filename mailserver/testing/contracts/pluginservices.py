"""The services of a plugin under test: nothing of them reaches outside."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from mailserver.clock import SystemClock
from mailserver.log import Log
from mailserver.plugins import Services
from mailserver.statestore import MemoryStateStore
from mailserver.threads import inline


def services(name: str = "plugin", instance: str | Path = "instance", **more: Any) -> Services:
    """Services with a reactor that only has time (`twisted.internet.task.Clock`), threads that call at once, a log
    in memory, and an empty state store; `more` adds to them or takes their place."""
    clock = SystemClock()
    given: dict[str, Any] = {
        "host_name": "mx.example.test",
        "reactor": Clock(),
        "clock": clock,
        "threads": inline,
        "log": Log(io.BytesIO(), clock),
        "state": MemoryStateStore(clock),
        **more,
    }
    return Services(name=name, instance=Path(instance), **given)
