"""The protocol alone, without Twisted, sockets or clock: ``python -m benchmarks.core [--quick]``.

Commands per second of the mix EHLO, MAIL, five RCPT and RSET with all their parameters, parsed to values and
answered: one in each segment, and all behind the EHLO in one. Content in MiB per second, in the pieces in which
a reactor reads, with every check that is on by default. Medians of some runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from mailserver.smtp import events
from mailserver.smtp.limits import BASIC_EXTENSIONS, Profile, ServerLimits
from mailserver.smtp.reply import reply
from mailserver.smtp.server import ServerCore

MIXES = 2_000
CONTENT_MIB = 64
MEANT_MIB_PER_SECOND = 250
RUNS = 5
MIB = 1_048_576
_READ = 65_536
_LIMITS = ServerLimits(max_message_size=1 << 30, junk_limit=0)
_PROFILE = Profile("mx.bench.test", BASIC_EXTENSIONS | {"DSN", "SMTPUTF8"}, limits=_LIMITS)
_ACCEPTED = reply(250, (2, 1, 0), "Fine")
_TEXT = b"The quick brown fox jumps over the lazy dog. The dog, for its part, saw it.\r\n"


def mix(number: int) -> list[bytes]:
    """The commands of one transaction that comes to nothing; each has names of its own."""
    commands = [
        b"EHLO host%d.source.test" % number,
        b"MAIL FROM:<sender.%d@source%d.test> SIZE=4711 BODY=8BITMIME RET=HDRS ENVID=id+2B%d" % ((number,) * 3),
    ]
    for each in range(5):
        values = (number, each) * 2
        commands.append(
            b"RCPT TO:<to.%d.%d@bench.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first+2B%d.%d@bench.test" % values
        )
    commands.append(b"RSET")
    return [command + b"\r\n" for command in commands]


def _answer(core: ServerCore, counts: dict[type, int]) -> None:
    """Accept every question, as whoever holds the core does."""
    while (event := core.next_event()) is not None:
        kind = type(event)
        counts[kind] = counts.get(kind, 0) + 1
        if core.asking:
            core.answer(_ACCEPTED)


def _session() -> tuple[ServerCore, dict[type, int]]:
    core, counts = ServerCore(_PROFILE), dict[type, int]()
    _answer(core, counts)
    core.data_to_send()
    return core, counts


def commands_per_second(mixes: Sequence[Sequence[bytes]]) -> float:
    """`mixes` are segments, eight commands in each mix. Raises RuntimeError when one of them is not accepted."""
    core, counts = _session()
    start = time.perf_counter()
    for segments in mixes:
        for segment in segments:
            core.receive(segment)
            _answer(core, counts)
            core.data_to_send()
    seconds = time.perf_counter() - start
    if counts.get(events.RcptTo) != 5 * len(mixes) or counts.get(events.MailFrom) != len(mixes):
        raise RuntimeError(f"commands were refused: {counts}")
    return 8 * len(mixes) / seconds


def mib_per_second(pieces: Iterable[bytes], octets: int) -> float:
    """One content, its end included. Raises RuntimeError when it is not accepted."""
    core, counts = _session()
    for command in (b"EHLO a.test\r\n", b"MAIL FROM:<a@a.test>\r\n", b"RCPT TO:<b@b.test>\r\n", b"DATA\r\n"):
        core.receive(command)
        _answer(core, counts)
    start = time.perf_counter()
    for piece in pieces:
        core.receive(piece)
        _answer(core, counts)
    seconds = time.perf_counter() - start
    if counts.get(events.ContentEnds) != 1:
        raise RuntimeError(f"the content was refused: {counts}")
    return octets / MIB / seconds


def _content(lines: bytes, mebibytes: int) -> list[bytes]:
    whole = lines * (mebibytes * MIB // len(lines)) + b".\r\n"
    return [whole[at : at + _READ] for at in range(0, len(whole), _READ)]


def _contents() -> dict[str, bytes]:
    return {
        "lines of 76": _TEXT,
        "each tenth with a dot": _TEXT * 9 + b".." + _TEXT[2:],
        "lines of 998": b"x" * 998 + b"\r\n",
        "lines of 100,000": b"x" * 100_000 + b"\r\n",
    }


def _middle(measure: Callable[[], float], runs: int) -> float:
    return median(measure() for _ in range(runs))


def main() -> None:
    """Measure, and say it. Raises SystemExit when Twisted is there: then it is not the core alone."""
    if foreign := sorted(name for name in sys.modules if name.partition(".")[0] in ("twisted", "zope")):
        raise SystemExit(f"not the core alone: {foreign}")
    quick = "--quick" in sys.argv
    runs, share = (1, 4) if quick else (RUNS, 1)
    single = [mix(number) for number in range(MIXES // share)]
    joined = [[first, b"".join(rest)] for first, *rest in single]
    one, many = (_middle(lambda mixes=mixes: commands_per_second(mixes), runs) for mixes in (single, joined))  # type: ignore[misc]  # mypy infers no type for a default of a lambda
    print(f"{one:,.0f} commands/s one by one, {many:,.0f} pipelined")
    for name, lines in _contents().items():
        pieces = _content(lines, CONTENT_MIB // share)
        octets = sum(map(len, pieces))
        rate = _middle(lambda pieces=pieces, octets=octets: mib_per_second(pieces, octets), runs)  # type: ignore[misc]  # as above
        print(f"content, {name}: {rate:,.0f} MiB/s (at least {MEANT_MIB_PER_SECOND} are meant)")


if __name__ == "__main__":
    main()
