"""The table: messages per second as medians, the ratio to the peer, CPU and flushes. Ratios are never judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.load import Load
from benchmarks.measure import Sample

_HEAD = (
    "load", "server", "answered/s", "in Maildir/s", "ratio", "ratio", "CPU s/1,000", "syncs/message",
)  # fmt: skip
_UNDER = ("", "", "", "", "answered", "Maildir", "", "")


@dataclass
class Series:
    """All samples of one server under one load, and its flushes per message."""

    samples: list[Sample] = field(default_factory=list)
    syncs: float | None = None

    @property
    def answered(self) -> float:
        """Messages per second until answered."""
        return median(sample.messages / sample.answered for sample in self.samples)

    @property
    def stored(self) -> float:
        """Messages per second until in the Maildir."""
        return median(sample.messages / sample.stored for sample in self.samples)

    @property
    def cpu(self) -> float:
        """CPU seconds per 1,000 messages."""
        return median(1000 * sample.cpu / sample.messages for sample in self.samples)


def table(results: Mapping[Load, Mapping[str, Series]], peer: str) -> str:
    """The results as lines, each load with all servers, the peer last."""
    rows: list[Sequence[str]] = [_HEAD, _UNDER]
    for load, servers in results.items():
        against = servers[peer]
        for name, series in servers.items():
            if series.samples and against.samples:
                rows.append((str(load), name, *_figures(series, against, name == peer)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return "\n".join(_line(row, widths) for row in rows)


def _figures(series: Series, against: Series, itself: bool) -> list[str]:
    ratios = ["", ""] if itself else [
        f"{series.answered / against.answered:.1f}",
        f"{series.stored / against.stored:.1f}",
    ]  # fmt: skip
    syncs = "-" if series.syncs is None else f"{series.syncs:.3f}"
    return [f"{series.answered:,.0f}", f"{series.stored:,.0f}", *ratios, f"{series.cpu:.2f}", syncs]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.ljust(width) if column < 2 else cell.rjust(width)
             for column, (cell, width) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
    return "  ".join(cells).rstrip()
