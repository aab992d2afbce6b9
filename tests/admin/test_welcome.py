"""The words of `make run`: every fact that its first reader needs, and no promise that is not true."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailserver.accounts.store import AccountStore
from mailserver.admin.welcome import main, welcome
from mailserver.clock import SystemClock
from mailserver.settings.model import Certificate, Listener, Relay, Settings
from mailserver.smtp.address import Mailbox
from mailserver.spool.lock import SpoolLock
from mailserver.threads import inline

YOU = Mailbox.parse("you@mail.test")
TOML = """
host_name = "mail.test"
[listeners.mx]
role = "mx"
listen = ["127.66.6.7:2525"]
"""


def settings(instance: Path, outgoing: str = "hold") -> Settings:
    return Settings(
        instance=instance,
        host_name="mail.test",
        listeners=[
            Listener(role="mx", listen=["127.0.0.1:2525"], tls="starttls"),
            Listener(role="submission", listen=["127.0.0.1:2587"], tls="starttls"),
            Listener(name="submissions", role="submission", listen=["127.0.0.1:2465"], tls="implicit"),
            Listener(name="off", role="mx", listen=["127.0.0.1:2526"], enabled=False),
        ],
        certificates=[Certificate(chain="certificates/default.pem", key="certificates/default.key")],
        relay=Relay(outgoing=outgoing),
    )


def test_every_fact_is_there(tmp_path: Path) -> None:
    text = welcome(settings(tmp_path), [YOU], ".venv/bin/mailserverctl")
    for fact in (
        "127.0.0.1:2525",
        "127.0.0.1:2587",
        "from your users, TLS from the first octet, with login",
        "mail.test",
        f"{tmp_path}/maildirs/mail.test/you",
        f"swaks --server 127.0.0.1:2587 --tls --tls-verify --tls-ca-path {tmp_path}/certificates/default.pem ",
        f"curl --crlf --cacert {tmp_path}/certificates/default.pem --ssl-reqd --url smtp://127.0.0.1:2587 ",
        f"--tls-starttls=on --tls-trust-file={tmp_path}/certificates/default.pem --auth=on --user=you@mail.test",
        'change the line outgoing = "hold" in [relay] of ',
        ".venv/bin/mailserverctl account passwd you@mail.test",
        "the log                 this terminal",
        "Mail to other hosts is held",
        '[routes."partner.example"]',
        ".venv/bin/mailserverctl send-test",
    ):
        assert fact in text
    assert "2526" not in text


def test_mail_that_goes_out_is_not_called_held(tmp_path: Path) -> None:
    text = welcome(settings(tmp_path, "on"), [YOU])
    assert "goes out" in text
    assert "is held" not in text


def instance(tmp_path: Path, toml: str = TOML) -> Path:
    (tmp_path / "spool").mkdir()
    (tmp_path / "mailserver.toml").write_text(toml)
    store = AccountStore(tmp_path / "accounts.db", inline, SystemClock())
    store.open()
    store.add_domain("mail.test")
    store.add_account("you@mail.test", "hash")
    store.close()
    return tmp_path


def test_the_command_reads_the_instance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--instance", str(instance(tmp_path))])
    text = capsys.readouterr().out
    assert "you@mail.test" in text
    assert f"--instance {tmp_path} send-test" in text


def test_what_keeps_the_server_from_starting_is_said_without_a_banner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (instance(tmp_path) / "accounts.db").write_bytes(b"nonsense")
    with pytest.raises(SystemExit, match=r"accounts\.db: is no database"):
        main(["--instance", str(tmp_path)])
    assert capsys.readouterr().out == ""
    (tmp_path / "accounts.db").unlink()
    with pytest.raises(SystemExit, match=r"accounts\.db: is missing"):
        main(["--instance", str(tmp_path)])
    assert not (tmp_path / "accounts.db").exists()


def test_commands_are_quoted_for_the_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my mail").mkdir()
    main(["--instance", str(instance(tmp_path / "my mail"))])
    assert f"--instance '{tmp_path}/my mail' send-test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("toml", "words"),
    [("host_name = 7\n", "host_name"), ("host_name = 'mail.test'\n[spool]\nnonsense = 1\n", "nonsense")],
)
def test_wrong_settings_are_said_in_words(tmp_path: Path, toml: str, words: str) -> None:
    with pytest.raises(SystemExit, match=words):
        main(["--instance", str(instance(tmp_path, toml))])


def test_an_instance_in_use_names_its_user(tmp_path: Path) -> None:
    lock = SpoolLock(instance(tmp_path) / "spool")
    lock.acquire(0.0)
    with pytest.raises(SystemExit, match="another server has this instance open"):
        main(["--instance", str(tmp_path)])
    lock.release()
