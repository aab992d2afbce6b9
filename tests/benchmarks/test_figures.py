"""The figures of the benchmarks: medians, ratios, counted calls, and that a wrong letter is seen."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.load import Load, arrived
from benchmarks.machine import cpu_seconds, file_system, memory, reset_peak
from benchmarks.measure import Sample, counted
from benchmarks.report import Series, table

STRACE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 98.21    0.005500        2750         2           syncfs
  1.79    0.000100          10        10         1 fdatasync
------ ----------- ----------- --------- --------- ----------------
100.00    0.005600         466        12         1 total
"""


def test_calls_are_counted_without_the_total() -> None:
    assert counted(STRACE) == 12
    assert counted("") == 0


def test_the_table_has_medians_and_ratios() -> None:
    load = Load(10, True, 100)
    ours = Series([Sample(100, 0.1, 0.2, 0.05), Sample(100, 9.0, 9.0, 9.0), Sample(100, 0.1, 0.2, 0.05)], 0.125)
    peer = Series([Sample(100, 0.4, 0.4, 0.1)])
    lines = table({load: {"ours": ours, "peer": peer}}, "peer").splitlines()
    assert lines[2].split() == ["10", "at", "once,", "kept", "ours", "1,000", "500", "4.0", "2.0", "0.50", "0.125"]
    assert lines[3].split() == ["10", "at", "once,", "kept", "peer", "250", "250", "1.00", "-"]


def test_a_load_that_was_not_reached_is_left_out() -> None:
    assert len(table({Load(1, True, 1): {"ours": Series(), "peer": Series()}}, "peer").splitlines()) == 2


def test_arrivals_are_compared(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    for name, message_id, body in (("1", b"a", b"whole\n"), ("2", b"b", b"whol\n"), ("3", b"a", b"whole\n")):
        (tmp_path / "new" / name).write_bytes(b"Message-Id: <%s>\n\n%s" % (message_id, body))
    assert arrived(tmp_path, b"whole\n") == (3, 2, 2)


def test_the_machine_is_read(tmp_path: Path) -> None:
    assert "(" in file_system(tmp_path)
    assert cpu_seconds(os.getpid()) > 0


def test_the_peak_of_memory_is_since_it_was_reset() -> None:
    me = os.getpid()
    large = bytearray(b"x" * (64 << 20))
    assert memory(me, "VmHWM") >= len(large)
    before = memory(me, "VmHWM")
    del large
    reset_peak(me)
    assert memory(me, "VmHWM") < before - (32 << 20)
    assert memory(me) <= memory(me, "VmHWM")
