"""The log: its lines, what it refuses, and what happens when it cannot be written."""

from __future__ import annotations

import errno
import io
import os
import re
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.python.failure import Failure

from mailserver.log import Log, new_session_id, observer
from mailserver.message.state import State
from mailserver.smtp.address import Mailbox
from mailserver.smtp.status import Status

NOON = 1_795_525_200.125
STAMP = "2026-11-24T13:00:00.125Z"


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = NOON

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class Disk:
    """A stream that takes at most `room` octets, and then has the disk's errors."""

    def __init__(self, room: int | None = None) -> None:
        self.octets = b""
        self.room = room
        self.writes = 0

    def write(self, octets: bytes) -> int:
        self.writes += 1
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = octets if self.room is None else octets[: self.room]
        self.room = None if self.room is None else self.room - len(taken)
        self.octets += taken
        return len(taken)

    @property
    def lines(self) -> list[str]:
        return self.octets.decode().split("\n")[:-1]


def one(name: str = "x", /, **fields: object) -> str:
    """The line of one event, without its time."""
    disk = Disk()
    log = Log(disk, Clock())
    log.event(name, **fields)
    log.flush()
    (line,) = disk.lines
    stamp, _, rest = line.partition(" ")
    assert stamp == STAMP
    return rest


def test_a_line_has_time_name_and_fields_in_order():
    line = one("message.accepted", session="1f0c", queue="01-ab", **{"from": "<a@b>"}, size=123)
    assert line == "message.accepted session=1f0c queue=01-ab from=<a@b> size=123"


def test_a_field_may_be_called_name():
    assert one("x", name="y", self="z") == "x name=y self=z"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("a=b", "a=b"),
        ("", '""'),
        ("two words", '"two words"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("grün", '"grün"'),
        ("a\r\nb\tc", '"a\\r\\nb\\tc"'),
        ("\x1b[31m\x00\x7f\x85\xa0", '"\\x1b[31m\\x00\\x7f\\x85\\xa0"'),
        ("\u2028\u2029\u202e\u2066\u200b\ufeff", '"\\u2028\\u2029\\u202e\\u2066\\u200b\\ufeff"'),
        ("\U000e0001", '"\\U000e0001"'),
        (b"octets", "octets"),
        (b"\xff\xfe\xc3\xa9", '"\\xff\\xfeé"'),
        (bytearray(b"a b"), '"a b"'),
        ("\udcff\ud800", '"\\xff\\ud800"'),
        (None, "-"),
        (True, "true"),
        (False, "false"),
        (-7, "-7"),
        (2**70, str(2**70)),
        (10**5000, '"a int that cannot be shown: ValueError"'),
        (1.5, "1.500"),
        (["a", b"b", 3], "a,b,3"),
        (("a b", "c"), '"a b,c"'),
        (Status(5, 7, 1), "5.7.1"),
        (Mailbox("a", None), "a"),
        (State.RELAYED, "relayed"),
        (ValueError("a b"), '"a b"'),
    ],
    ids=lambda value: ascii(value)[:20] if not isinstance(value, int) else "",
)
def test_values(value, text):

    assert one(v=value) == f"x v={text}"


def test_what_cannot_be_shown_is_no_error():
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert one(v=Broken()) == 'x v="a Broken that cannot be shown: RuntimeError"'


@pytest.mark.parametrize("value", ["x" * 501, "x" * 10**6, b"x" * 10**6, "\x01" * 500, ["x" * 50] * 10**4])
def test_values_are_bounded(value):
    text = one(v=value).removeprefix("x v=")
    assert len(text) <= 503
    assert text.endswith('…"')
    assert len(one(v="x" * 500)) == len("x v=") + 500


ATTACKS = [
    "x\n2026-11-24T13:00:00.123Z message.accepted queue=fake",
    "x\r2026-11-24T13:00:00.123Z login.succeeded",
    "x\x0b\x0c\x1c\x1d\x1e\x85y",
    "x\u2028y\u2029z",
    '" queue=fake x="',
    "\\\n",
    "\x1b]0;title\x07\x1b[2J\x9b31m",
    "abc\u202egpj.exe",
    "a\x00b",
    b"\x80\n\xff",
    b"\xc0\x8a",
    "x" * 499 + "\n",
]


@pytest.mark.parametrize("hostile", ATTACKS, ids=range(len(ATTACKS)))
def test_hostile_values_stay_in_their_field(hostile):
    line = one("mail.refused", said=hostile, after="end")
    assert re.fullmatch(r'mail\.refused said="(?:[^"\\]|\\.)*" after=end', line)
    assert line.isprintable()


@given(st.one_of(st.text(), st.binary(), st.text('"\\ =\n\r\u2028a')))
def test_any_value_stays_in_its_field(value):
    line = one(v=value, after=1)
    assert re.fullmatch(r'x v=(?:"(?:[^"\\]|\\.)*"|[!#-\[\]-~]+) after=1', line)
    assert line.isprintable()


@pytest.mark.parametrize("field", ["password", "secret", "credentials", "content"])
def test_secrets_are_refused(field):
    disk = Disk()
    log = Log(disk, Clock())
    with pytest.raises(TypeError, match=field):
        log.event("login", **{field: "x"})
    with pytest.raises(TypeError, match=field):
        log.failure("login", ValueError(), **{field: "x"})
    log.flush()
    assert disk.octets == b""


def test_the_time_follows_the_clock_both_ways():
    disk, clock = Disk(), Clock()
    log = Log(disk, clock)
    for wall in (NOON, NOON + 0.875, NOON - 86_400, NOON + 31_536_000, 0.0):
        clock.now = wall
        log.event("x")
    log.flush()
    assert [line.split()[0] for line in disk.lines] == [
        "2026-11-24T13:00:00.125Z",
        "2026-11-24T13:00:01.000Z",
        "2026-11-23T13:00:00.125Z",
        "2027-11-24T13:00:00.125Z",
        "1970-01-01T00:00:00.000Z",
    ]


def test_lines_wait_for_a_flush_or_for_64_kib():
    disk = Disk()
    log = Log(disk, Clock())
    log.event("x", text="y" * 100)
    assert disk.writes == 0
    log.flush()
    log.flush()
    assert disk.writes == 1
    for _ in range(500):
        log.event("x", text="y" * 100)
    assert disk.writes == 2
    assert len(disk.octets) > 65_536


class TestFailure:
    def logged(self, exception: BaseException | Failure) -> list[str]:
        disk = Disk()
        log = Log(disk, Clock())
        log.failure("the router failed", exception, queue="01-ab")
        log.flush()
        return disk.lines

    def raised(self, error: Exception) -> Exception:
        try:
            raise error
        except Exception as caught:
            return caught

    def test_the_trace_is_indented_below_the_event(self):
        first, *trace = self.logged(self.raised(ValueError("no route")))
        assert first == f'{STAMP} failure what="the router failed" error="ValueError: no route" queue=01-ab'
        assert trace[0] == "    Traceback (most recent call last):"
        assert any("in raised" in line for line in trace)
        assert trace[-1] == "    ValueError: no route"

    def test_a_twisted_failure_too(self):
        try:
            raise ValueError("no route")
        except ValueError:
            first, *trace = self.logged(Failure())
        assert 'error="ValueError: no route"' in first
        assert any("test_a_twisted_failure_too" in line for line in trace)

    def test_a_hostile_message_can_begin_no_line(self):
        lines = self.logged(self.raised(ValueError(f"x\n{STAMP} message.accepted\x1b[2J\u2028\r{STAMP} y")))
        assert all(line.startswith("    ") for line in lines[1:])
        assert all(line.isprintable() for line in lines)

    def test_a_long_trace_is_cut(self):
        def deep(depth: int) -> None:
            if depth:
                deep(depth - 1)
            raise ValueError("x" * 10**6 + "\n" * 10**5)

        with pytest.raises(ValueError, match="x") as caught:
            deep(300)
        assert len("\n".join(self.logged(caught.value))) < 60_000

    def test_an_exception_that_cannot_be_shown(self):
        class Broken(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no")

        assert "that cannot be shown" in self.logged(self.raised(Broken()))[0]


class TestFullDisk:
    def test_lost_lines_are_counted_and_told(self):
        disk = Disk(room=0)
        log = Log(disk, Clock())
        for _ in range(3):
            log.event("lost")
        log.flush()
        log.event("lost")
        log.flush()
        disk.room = None
        log.flush()
        assert disk.octets == b""
        log.event("kept")
        log.flush()
        log.event("kept")
        log.flush()
        assert disk.lines == [f"{STAMP} log.lost lines=4", f"{STAMP} kept", f"{STAMP} kept"]

    def test_a_torn_line_is_ended_before_the_next(self):
        disk = Disk(room=10)
        log = Log(disk, Clock())
        log.event("torn")
        log.flush()
        disk.room = None
        log.event("kept")
        log.flush()
        assert disk.lines == ["2026-11-24", f"{STAMP} log.lost lines=1", f"{STAMP} kept"]

    def test_short_writes_are_continued(self):
        class Slow(Disk):
            def write(self, octets: bytes) -> int:
                return super().write(octets[:7])

        disk = Slow()
        log = Log(disk, Clock())
        log.event("whole", v="x" * 50)
        log.flush()
        assert disk.lines == [f"{STAMP} whole v={'x' * 50}"]

    @pytest.mark.parametrize("stream", ["closed", "deaf"])
    def test_no_stream_raises(self, stream):
        target = io.BytesIO()
        if stream == "closed":
            target.close()
        else:
            target.write = lambda octets: None  # a pipe that would block
        log = Log(target, Clock())
        log.event("x")
        log.flush()
        log.close()


class TestFile:
    def test_appends_and_is_closed_to_strangers(self, tmp_path):
        path = tmp_path / "mail.log"
        path.write_bytes(b"before\n")
        path.chmod(0o600)
        log = Log(path, Clock())
        log.event("x")
        log.close()
        log.close()
        assert path.read_text() == f"before\n{STAMP} x\n"
        Log(str(tmp_path / "new.log"), Clock()).open()
        assert stat.S_IMODE((tmp_path / "new.log").stat().st_mode) & 0o137 == 0

    def test_a_directory_that_is_missing_is_an_error_at_once(self, tmp_path):
        log = Log(tmp_path / "none" / "mail.log", Clock())
        with pytest.raises(FileNotFoundError):
            log.open()

    def test_no_file_is_made_before_it_is_opened_or_written(self, tmp_path):
        path = tmp_path / "mail.log"
        log = Log(path, Clock())
        log.event("early")
        log.flush()
        assert path.read_text() == f"{STAMP} early\n"
        Log(tmp_path / "other.log", Clock()).close()
        assert os.listdir(tmp_path) == ["mail.log"]

    def test_rotation(self, tmp_path):
        path = tmp_path / "mail.log"
        log = Log(path, Clock())
        log.open()
        log.event("first")
        os.rename(path, tmp_path / "mail.log.1")
        log.reopen()
        log.event("second")
        log.close()
        assert (tmp_path / "mail.log.1").read_text() == f"{STAMP} first\n"
        assert path.read_text() == f"{STAMP} second\n"

    def test_a_failed_rotation_goes_on_in_the_old_file(self, tmp_path):
        directory = tmp_path / "log"
        directory.mkdir()
        log = Log(directory / "mail.log", Clock())
        log.open()
        directory.rename(tmp_path / "old")
        log.reopen()
        log.event("x")
        log.close()
        lines = (tmp_path / "old" / "mail.log").read_text().splitlines()
        assert lines[0].startswith(f"{STAMP} log.reopen-failed path=")
        assert lines[1] == f"{STAMP} x"

    def test_a_stream_stays_open(self):
        stream = io.BytesIO()
        log = Log(stream, Clock())
        log.event("x")
        log.reopen()
        log.close()
        assert stream.getvalue() == f"{STAMP} x\n".encode()

    def test_no_path_is_standard_error(self, capfd):
        log = Log("", Clock())
        log.event("x")
        log.reopen()
        log.close()
        os.write(2, b"still open\n")
        assert capfd.readouterr().err == f"{STAMP} x\nstill open\n"


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="json"):
        Log(Disk(), Clock(), "json")


def test_session_ids_are_short_and_never_the_same():
    ids = {new_session_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch("[0-9a-f]{12}", each) for each in ids)


class TestObserver:
    def logged(self, emit) -> list[str]:
        disk = Disk()
        log = Log(disk, Clock())
        emit(Logger(namespace="demo", observer=observer(log)))
        log.flush()
        return disk.lines

    def test_it_is_an_observer(self):
        assert ILogObserver.providedBy(observer(Log(Disk(), Clock())))

    def test_failures_and_critical_events_pass(self):
        def emit(logger):
            logger.critical("lost {what}", what="all\nof it")
            try:
                raise ValueError("bug")
            except ValueError:
                logger.failure("while working")

        critical, failure, *trace = self.logged(emit)
        assert critical == f'{STAMP} twisted.critical namespace=demo text="lost all\\nof it"'
        assert failure.startswith(f'{STAMP} failure what=twisted error="ValueError: bug" namespace=demo')
        assert trace[-1].strip() == "builtins.ValueError: bug"

    def test_everything_else_does_not(self):
        def emit(logger):
            for level in (LogLevel.debug, LogLevel.info, LogLevel.warn, LogLevel.error):
                logger.emit(level, "x")

        assert self.logged(emit) == []
