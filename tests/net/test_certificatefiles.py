"""Certificates of a running server: what is replaced is noticed, what is broken changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from mailserver.net.certificatefiles import LOOK, CertificateFiles
from mailserver.net.certificates import CertificateProblem
from mailserver.threads import inline
from tests.harness.handshake import Handshake, any_server, der_of, issue, write_pair


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Log:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def event(self, name: str, /, **fields: object) -> None:
        self.events.append((name, fields))

    def failure(self, what: str, error: object, /, **_: object) -> None:
        self.events.append((what, {"error": error}))


class Place:
    """Two certificates in a directory, and the object under test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files = {
            "default": write_pair(directory, "default", "mx.example.org"),
            "other": write_pair(directory, "other", "mail.example.net"),
        }
        self.clock, self.log = Clock(), Log()
        self.threads: Any = inline
        self.work: list[str] = []
        self.certificates = CertificateFiles(self.files, self.thread, self.clock, self.log)  # type: ignore[arg-type]

    def thread(self, kind: str, work: Callable[..., Any], *args: Any) -> Any:
        self.work.append(kind)
        return self.threads(kind, work, *args)

    def start(self) -> Place:
        self.certificates.start()
        self.tls = self.certificates.listener("default")
        return self

    def renew(self, name: str, *names: str, days: int = 30) -> None:
        """Both files anew, as tools do it: each at a stroke."""
        for file, octets in zip(self.files[name], issue(names, days=days), strict=True):
            put(file, octets)

    def shows(self, name: str, server_name: str | None = None) -> bool:
        """Whether a new connection gets what is in the files of `name` now."""
        return Handshake(self.tls, any_server(), server_name).shown == der_of(self.files[name][0])

    def look(self) -> list[str]:
        """Half a minute goes by: the events of it."""
        self.clock.now += LOOK
        before = len(self.log.events)
        self.certificates.tick()
        return [name for name, _ in self.log.events[before:]]

    def reload(self) -> list[tuple[str, bool]]:
        result: list[Any] = []
        Deferred.fromCoroutine(self.certificates.reload()).addCallback(result.append)
        return [(one.name, changed) for one, changed in result[0]]

    @property
    def problems(self) -> list[str]:
        return [str(row["problem"]) for row in self.certificates.status()]


def put(file: Path, octets: bytes) -> None:
    new = file.with_suffix(".new")
    new.write_bytes(octets)
    new.replace(file)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_what_is_wrong_at_the_start_is_raised(place: Place) -> None:
    place.files["other"][1].unlink()
    with pytest.raises(CertificateProblem, match=r"the key file .*other\.key does not exist"):
        place.certificates.start()


def test_every_certificate_is_for_its_names(place: Place) -> None:
    place.start()
    assert place.shows("default")
    assert place.shows("other", "mail.example.net")


def test_nothing_new_is_nothing_said_and_nothing_read(place: Place) -> None:
    place.start()
    assert place.look() == []
    assert place.reload() == [("default", False), ("other", False)]
    assert place.log.events == []
    assert [row["problem"] for row in place.certificates.status()] == ["", ""]


def test_files_are_looked_at_every_half_minute_in_a_thread(place: Place) -> None:
    place.start()
    for _ in range(int(LOOK) * 4 - 1):
        place.clock.now += 1
        place.certificates.tick()
    assert place.work == ["disk"] * 3


def test_without_certificates_there_is_nothing_to_look_at(place: Place) -> None:
    none = CertificateFiles({}, place.thread, place.clock, place.log)  # type: ignore[arg-type]
    none.start()
    place.clock.now += 2 * LOOK
    none.tick()
    assert place.work == []
    assert none.status() == []


@pytest.mark.parametrize("name", ["default", "other"])
def test_a_new_certificate_is_noticed(place: Place, name: str) -> None:
    place.start()
    server_name = "mail.example.net" if name == "other" else None
    place.renew(name, server_name or "mx.example.org", days=60)
    assert not place.shows(name, server_name)
    assert place.look() == ["certificate.reloaded"]
    assert place.shows(name, server_name)
    fields = place.log.events[0][1]
    assert fields["name"] == name
    assert fields["expires"] in [row["expires"] for row in place.certificates.status()]
    assert place.look() == []


def test_reload_does_not_wait(place: Place) -> None:
    place.start()
    place.renew("other", "mail.example.net")
    assert place.reload() == [("default", False), ("other", True)]
    assert place.shows("other", "mail.example.net")


def test_every_listener_gets_it(place: Place) -> None:
    place.start()
    second = place.certificates.listener("other")
    place.renew("other", "mail.example.net")
    place.look()
    assert Handshake(second, any_server()).shown == der_of(place.files["other"][0])
    assert place.shows("default")


def test_new_names_are_asked_for(place: Place) -> None:
    place.start()
    place.renew("other", "new.example.net")
    place.look()
    assert place.shows("other", "new.example.net")
    assert place.shows("default", "mail.example.net")


@pytest.mark.parametrize("first", [0, 1], ids=["chain first", "key first"])
def test_two_files_replaced_one_after_the_other(place: Place, first: int) -> None:
    """For a moment the key does not belong to the certificate. That is no news."""
    place.start()
    before = Handshake(place.tls, any_server()).shown
    new = issue(["mx.example.org"])
    put(place.files["default"][first], new[first])
    assert place.look() == []
    assert Handshake(place.tls, any_server()).shown == before
    assert place.problems == ["", ""]
    put(place.files["default"][1 - first], new[1 - first])
    assert place.look() == ["certificate.reloaded"]
    assert place.shows("default")


def test_what_stays_broken_is_told_once_and_the_old_one_stays(place: Place) -> None:
    place.start()
    before = Handshake(place.tls, any_server()).shown
    put(place.files["default"][0], b"nonsense")
    assert [place.look() for _ in range(4)] == [[], ["certificate.refused"], [], []]
    name, fields = place.log.events[0]
    assert (name, fields["name"]) == ("certificate.refused", "default")
    assert "no certificate in PEM form" in str(fields["problem"])
    assert place.problems == [fields["problem"], ""]
    assert Handshake(place.tls, any_server()).shown == before
    # The other one is not held up by it.
    place.renew("other", "mail.example.net")
    assert place.look() == ["certificate.reloaded"]
    assert place.shows("other", "mail.example.net")
    # And it is well again by itself.
    place.renew("default", "mx.example.org")
    assert place.look() == ["certificate.reloaded"]
    assert place.problems == ["", ""]
    assert place.shows("default")


def test_the_old_files_put_back_are_the_end_of_it(place: Place) -> None:
    place.start()
    old = place.files["default"][0].read_bytes()
    put(place.files["default"][0], b"")
    place.look()
    place.look()
    assert place.problems[0]
    put(place.files["default"][0], old)
    assert place.look() == []
    assert place.problems == ["", ""]


def test_a_file_that_is_gone_and_one_that_is_closed(place: Place) -> None:
    place.start()
    place.files["default"][1].unlink()
    os.chmod(place.files["other"][0], 0)
    place.files["other"][0].unlink()
    place.files["other"][0].mkdir()
    assert [place.look() for _ in range(3)] == [[], ["certificate.refused"] * 2, []]
    assert "does not exist" in place.problems[0]
    assert "cannot be read" in place.problems[1]


def test_reload_says_at_once_what_is_wrong(place: Place) -> None:
    place.start()
    put(place.files["default"][1], issue(["mx.example.org"])[1])
    assert place.reload() == [("default", False), ("other", False)]
    assert [name for name, _ in place.log.events] == ["certificate.refused"]
    assert "does not belong" in place.problems[0]
    assert place.look() == []


def test_another_problem_is_told_too(place: Place) -> None:
    place.start()
    put(place.files["default"][0], b"nonsense")
    place.look()
    assert place.look() == ["certificate.refused"]
    place.files["default"][0].unlink()
    assert [place.look(), place.look(), place.look()] == [[], ["certificate.refused"], []]


def test_a_key_too_small_for_openssl_changes_nothing(place: Place) -> None:
    place.start()
    for file, octets in zip(place.files["default"], issue(["mx.example.org"], bits=1024), strict=True):
        put(file, octets)
    place.look()
    assert place.look() == ["certificate.refused"]
    assert "cannot be used for TLS" in place.problems[0]
    place.renew("other", "mail.example.net")
    assert place.look() == ["certificate.reloaded"]


def test_only_one_look_at_a_time(place: Place) -> None:
    place.start()
    waiting: list[tuple[Deferred[Any], Any]] = []

    def later(_: str, work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        waiting.append((done, lambda: work(*args)))
        return done

    place.threads = later
    place.look()
    place.look()
    result: list[Any] = []
    place.renew("other", "mail.example.net")
    Deferred.fromCoroutine(place.certificates.reload()).addCallback(result.append)
    assert len(waiting) == 1
    while waiting:
        done, work = waiting.pop(0)
        done.callback(work())
    assert [changed for _, changed in result[0]] == [False, True]
    assert [name for name, _ in place.log.events] == ["certificate.reloaded"]


def test_a_bug_in_a_thread_is_told_and_the_next_look_works(place: Place) -> None:
    place.start()

    def broken(*_: object) -> Any:
        raise RuntimeError("no threads today")

    place.threads = broken
    assert place.look() == ["certificates were not looked at"]
    failed: list[Any] = []
    Deferred.fromCoroutine(place.certificates.reload()).addErrback(failed.append)
    assert failed[0].check(RuntimeError)
    place.threads = inline
    place.renew("default", "mx.example.org")
    assert place.look() == ["certificate.reloaded"]
