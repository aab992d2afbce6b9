"""The certificates of a whole server, in memory: its tick notices new ones, its command takes them at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mailserver.admin.command import ControlError
from mailserver.preflight import problems_of, warnings
from mailserver.settings.listener import Certificate, Listener
from mailserver.testing import MailKit
from tests.harness.handshake import Handshake, any_server, der_of, issue, write_pair


class Server:
    """A kit's, with two certificates in files of the test."""

    def __init__(self, kit: MailKit, directory: Path) -> None:
        self.kit, self.directory = kit, directory
        for name in ("default", "other"):
            self.renew(name)
        certificates = [
            Certificate(name=name, chain=directory / f"{name}.crt", key=directory / f"{name}.key")
            for name in ("default", "other")
        ]
        kit.configure(host_name="default.example", certificates=certificates)

    def renew(self, name: str) -> None:
        write_pair(self.directory, name, f"{name}.example")

    def shows(self, name: str) -> bool:
        """Whether every listener shows what is in the files to whoever asks for it."""
        wanted = der_of(self.directory / f"{name}.crt")
        tls = [door.factory.context for door in self.kit.server.listeners.doors]
        return all(Handshake(one, any_server(), f"{name}.example").shown == wanted for one in tls)

    def run(self, command: str) -> Any:
        return self.kit.wait(self.kit.server.control.run(command))


@pytest.fixture
def server(mailkit: MailKit, tmp_path: Path) -> Server:
    return Server(mailkit, tmp_path)


def test_both_are_shown_to_those_who_ask(server: Server) -> None:
    assert server.shows("default")
    assert server.shows("other")
    listed = server.run("status")["certificates"]
    assert [(row["name"], row["problem"]) for row in listed] == [("default", ""), ("other", "")]
    assert all(row["expires"].startswith("20") for row in listed)


def test_a_replaced_file_is_noticed_by_the_tick(server: Server) -> None:
    assert server.shows("other")
    server.renew("other")
    assert not server.shows("other")
    server.kit.advance(hours=1)  # the kit ticks no more often while nothing happens
    assert server.shows("other")
    assert server.kit.log.count(" certificate.reloaded name=other expires=20") == 1


def test_the_command_takes_it_at_once(server: Server) -> None:
    assert server.run("certificate reload")["said"] == "no certificate has changed"
    server.renew("default")
    reply = server.run("certificate reload")
    assert reply["said"].startswith("new connections get default (until 20")
    assert [(row["name"], row["new"]) for row in reply["certificates"]] == [("default", True), ("other", False)]
    assert server.shows("default")


def test_the_command_refuses_what_is_broken_and_takes_the_rest(server: Server) -> None:
    assert server.shows("default")
    server.renew("other")
    (server.directory / "default.key").write_bytes(issue(["default.example"])[1])
    with pytest.raises(ControlError, match=r"certificates\.default: the key .* does not belong .*stays in use"):
        server.run("certificate reload")
    assert server.shows("other")
    problems = [row["problem"] for row in server.run("status")["certificates"]]
    assert "does not belong" in problems[0]
    assert problems[1] == ""
    assert "certificate.refused name=default" in server.kit.log


def test_a_server_without_tls_reads_no_certificate(mailkit: MailKit, tmp_path: Path) -> None:
    absent = Certificate(name="absent", chain=tmp_path / "absent.crt", key=tmp_path / "absent.key")
    mailkit.configure(certificates=[absent], listeners=[Listener(name="mx", role="mx", listen=["192.0.2.1:25"])])
    assert mailkit.server.certificates.status() == []
    mailkit.advance(hours=1)
    assert mailkit.wait(mailkit.server.control.run("certificate reload"))["certificates"] == []


def test_every_certificate_is_tried_before_a_start(server: Server) -> None:
    """One that no listener names is used all the same: by whoever asks for it."""
    settings = server.kit.server.settings
    assert [each for each in problems_of(settings) if "certificates." in each] == []
    # Its names are its own affair, and only the listeners' must be this host's.
    assert [
        each for each in warnings(settings, server.kit.clock.wall()) if "does not name this host" in each
    ] == []
    (server.directory / "other.key").unlink()
    assert [each for each in problems_of(settings) if each.startswith("certificates.other: the key file")]
