"""The smart host's login goes to the smart host, and to nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailserver.settings.model import Listener, Relay, Settings
from mailserver.smtp.plan import Login
from mailserver.transport.login import LoginProblem, SmartHostLogin


def login_of(instance: Path, smart_host: str = "smtp.example.net:587") -> SmartHostLogin:
    relay = Relay(smart_host=smart_host, smart_host_user="me", smart_host_password_file="secret")
    listener = Listener(role="mx", listen=["127.0.0.1:2525"])
    return SmartHostLogin(
        Settings(instance=instance, host_name="me.example.org", listeners=[listener], relay=relay)
    )


@pytest.mark.parametrize("text", ["pa ss\n", "pa ss\r\nsecond line\n", "pa ss"])
def test_the_first_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret").write_text(text, newline="")
    assert login_of(tmp_path)("[smtp.example.net]:587") == Login("me", "pa ss")


def test_an_ipv6_smart_host(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x\n")
    assert login_of(tmp_path, "[2001:db8::1]:587")("[2001:db8::1]:587") is not None


@pytest.mark.parametrize(
    "destination", ["smtp.example.net", "[smtp.example.net]:25", "[smtp.example.net]", "[other.example.net]:587"]
)
def test_nobody_else(tmp_path: Path, destination: str) -> None:
    assert login_of(tmp_path)(destination) is None


def test_no_login_at_all(tmp_path: Path) -> None:
    settings = Settings(
        instance=tmp_path,
        host_name="me.example.org",
        listeners=[Listener(role="mx", listen=["127.0.0.1:2525"])],
        relay=Relay(smart_host="smtp.example.net:587"),
    )
    assert SmartHostLogin(settings)("[smtp.example.net]:587") is None


def test_a_file_that_comes_later(tmp_path: Path) -> None:
    login = login_of(tmp_path)
    with pytest.raises(LoginProblem, match=r"secret cannot be read: No such file"):
        login("[smtp.example.net]:587")
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(LoginProblem, match="is empty"):
        login("[smtp.example.net]:587")
    (tmp_path / "secret").write_bytes(b"\xff\n")
    with pytest.raises(LoginProblem, match="not UTF-8"):
        login("[smtp.example.net]:587")
    (tmp_path / "secret").write_text("x\n")
    assert login("[smtp.example.net]:587") == Login("me", "x")
