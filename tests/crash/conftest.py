"""What the crash tests share: servers, next hops and tracers that are gone when the test is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon, free_address
from tests.harness.nexthop import NextHop
from tests.harness.strace import Trace


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Call it for a server in a directory of the test; the argument is added to its settings."""
    with ExitStack() as stack:

        def one(more: str = "") -> Daemon:
            daemon = Daemon(tmp_path, more)
            stack.callback(daemon.kill)
            return daemon

        yield one


@pytest.fixture
def attach(tmp_path: Path, peer: Callable[[str], str], make: object) -> Iterator[Callable[..., Trace]]:
    """Call it to attach strace to a server that runs; for tests with the mark ``peer("strace")``."""
    del make  # asked for only so that the tracer ends before the server
    with ExitStack() as stack:

        def one(daemon: Daemon, inject: str = "") -> Trace:
            assert daemon.process is not None
            trace = Trace(peer("strace"), daemon.process.pid, tmp_path / "trace", inject)
            stack.callback(trace.close)
            return trace

        yield one


@pytest.fixture
def next_hop() -> Iterator[NextHop]:
    """A listening next hop."""
    hop = NextHop(free_address())
    yield hop
    hop.close()
