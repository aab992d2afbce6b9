"""The command line, on files, on a running server, and on a stopped one."""

import io
import json
import os
import shlex
import socket
import socketserver
import subprocess
import sys
import threading

import pytest

from mailserver.admin import cli, instance, secret
from mailserver.admin.cli import main
from mailserver.admin.control import COMMANDS
from mailserver.spool.lock import SpoolLock


@pytest.fixture(autouse=True)
def _cheap(monkeypatch):
    monkeypatch.delenv("MAILSERVER_INSTANCE", raising=False)
    monkeypatch.delenv("MAILSERVER_DEBUG", raising=False)
    first_settings = instance.first_settings
    monkeypatch.setattr(
        instance,
        "first_settings",
        # Ports of our own: some tests look whether they are free.
        lambda host: first_settings(host).replace("127.0.0.1:", "127.66.6.6:") + "\n[accounts]\nbcrypt_cost = 4\n",
    )


@pytest.fixture
def directory(tmp_path, capsys):
    """An instance with anna@example.org."""
    directory = tmp_path / "i"
    assert main(["--instance", str(directory), "init", "--domain", "example.org", "--account", "anna"]) == 0
    capsys.readouterr()
    return directory


class Answering(socketserver.StreamRequestHandler):
    """A server that answers by a table: command to lines."""

    def handle(self):
        request = json.loads(self.rfile.readline())
        self.server.asked.append(request)
        for line in self.server.table.get(request["command"], [{"reply": {"said": "done"}}]):
            self.wfile.write(json.dumps(line).encode() + b"\n")


@pytest.fixture
def server(directory, monkeypatch):
    monkeypatch.chdir(directory / "run")
    with socketserver.ThreadingUnixStreamServer("control.sock", Answering) as server:
        server.asked, server.table = [], {}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def typed(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


# On files.


def test_init_makes_a_password_and_shows_it_once(tmp_path, capsys):
    assert main(["init", "--instance", str(tmp_path / "i"), "--domain", "example.org", "--account", "anna"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("made ")
    assert said[1].startswith("password: ")
    assert said[1].endswith(" (shown only this once)")
    assert len(said[1].split()[1]) == 24
    kept = b"".join(path.read_bytes() for path in (tmp_path / "i").rglob("*") if path.is_file())
    assert said[1].split()[1].encode() not in kept


def test_init_without_a_terminal(tmp_path, monkeypatch, capsys):
    typed(monkeypatch, "pass word\n")
    monkeypatch.setenv("MAILSERVER_INSTANCE", str(tmp_path / "i"))
    assert main(["--json", "init", "--domain", "example.org", "--account", "anna", "--password-stdin"]) == 0
    reply = json.loads(capsys.readouterr().out)
    assert reply["account"] == "anna@example.org"
    assert "password" not in reply


def test_init_with_json_shows_the_password_in_it(tmp_path, capsys):
    command = ["--instance", str(tmp_path / "i"), "init", "--domain", "example.org", "--account", "a", "--json"]
    assert main(command) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert len(json.loads(line)["password"]) == 24


def test_init_twice(directory, capsys):
    before = (directory / "mailserver.toml").read_bytes()
    assert main(["--instance", str(directory), "init", "--domain", "example.org", "--account", "anna"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert (
        err == f"mailserverctl: {directory} is an instance already; nothing was changed."
        " For a new instance name another directory: --instance DIR\n"
    )
    assert (directory / "mailserver.toml").read_bytes() == before


def test_config_check(directory, capsys):
    assert main(["--instance", str(directory), "config", "check"]) == 0
    assert capsys.readouterr().out.startswith("the settings are right (mx on 127.66.6.6:2525")
    with (directory / "mailserver.toml").open("a") as file:
        file.write("[queue]\nretry = [0]\n[log]\nfromat = 1\n")
    assert main(["--instance", str(directory), "config", "check"]) == 1
    err = capsys.readouterr().err
    assert "queue.retry" in err
    assert "did you mean format?" in err
    (directory / "certificates" / "default.crt").unlink()
    (directory / "accounts.db").write_bytes(b"nonsense")
    with socket.create_server(("127.66.6.6", 2525)):
        assert main(["--instance", str(directory), "config", "check"]) == 1
    err = capsys.readouterr().err
    for words in ("queue.retry", "fromat", "default.crt does not exist", "no database", "6.6:2525 is in use"):
        assert words in err
    assert "Traceback" not in err


def test_a_certificate_of_ones_own(directory, capsys):
    chain, key = directory / "certificates" / "default.crt", directory / "certificates" / "default.key"
    before = chain.read_bytes()
    command = ["--instance", str(directory), "certificate", "new"]
    assert main(command) == 1
    assert "default.crt exists; nothing was changed. Say --force" in capsys.readouterr().err
    assert chain.read_bytes() == before
    assert main([*command, "--force"]) == 0
    assert "for mail.example.org" in capsys.readouterr().out
    assert chain.read_bytes() != before
    chain.unlink()
    key.unlink()
    assert main([*command, "--name", "other"]) == 1
    assert "no table [certificates.other]; there is: default" in capsys.readouterr().err
    assert main(command) == 0
    assert (chain.stat().st_mode & 0o777, key.stat().st_mode & 0o777) == (0o644, 0o600)
    assert sorted(path.name for path in chain.parent.iterdir()) == ["default.crt", "default.key"]
    assert main(["--instance", str(directory), "config", "check"]) == 0


def test_warnings_are_said_and_no_mistakes(directory, capsys):
    (directory / "certificates" / "default.key").chmod(0o644)
    assert main(["--instance", str(directory), "config", "check"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "warning"
    assert "every user of this machine can read the key" in out[1]
    assert out[2].startswith("the settings are right")


# Surroundings that make no sense.


def test_an_argument_that_is_no_utf_8(directory, capsys):
    assert main(["--instance", str(directory), "domain", "add", "b\udcff.example"]) == 1
    assert capsys.readouterr().err == (
        "mailserverctl: the argument 'b\\udcff.example' is not UTF-8; nothing was done\n"
    )


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_password_that_is_no_utf_8(server, directory, monkeypatch, capsys, errors):
    octets = io.BytesIO(b"p\xffw\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(octets, encoding="utf-8", errors=errors))
    assert main(["--instance", str(directory), "account", "passwd", "a@example.org", "--password-stdin"]) == 1
    assert capsys.readouterr().err == "mailserverctl: the password on standard input is not UTF-8\n"
    assert server.asked == []


def test_the_end_of_input_at_the_prompt(server, directory, monkeypatch, capsys):
    def end(prompt):
        raise EOFError

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(secret.getpass, "getpass", end)
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert main(["--instance", str(directory), "account", "passwd", "a@example.org"]) == 1
    assert capsys.readouterr().err == "mailserverctl: no password was typed; nothing was changed\n"
    assert [each["command"] for each in server.asked] == ["account show"]


def shell(line, directory):
    """What a shell sees of a command line, with its standard streams as the line has them."""
    program = f"{shlex.quote(sys.executable)} -m mailserver.admin --instance {shlex.quote(str(directory))}"
    return subprocess.run(
        ["/bin/sh", "-c", line.format(program)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{} domain list >/dev/full", "the answer cannot be written (No space left on device); the command "),
        ("{} domain list >&-", "standard output is closed; nothing was done"),
        ("{} account passwd anna@example.org --password-stdin <&-", "standard input is closed"),
        ("{} account passwd anna@example.org <&-", "there is no terminal to ask"),
        (r"printf 'p\377w\n' | LC_ALL=C {} account passwd anna@example.org --password-stdin", "is not UTF-8"),
    ],
)
def test_streams_that_cannot_be_used(directory, line, sentence):
    ran = shell(line, directory)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("mailserverctl: ")
    assert sentence in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_errors_are_json_too(directory, capsys):
    assert main(["--instance", str(directory), "--json", "account", "list", "example.net"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert list(json.loads(err)) == ["error"]


def test_no_instance(tmp_path, capsys):
    assert main(["--instance", str(tmp_path), "account", "list"]) == 1
    assert "there is no instance in" in capsys.readouterr().err


# On a running server.


def test_a_reply_becomes_a_table(server, directory, capsys):
    server.table["account list"] = [{"reply": [{"address": "anna@example.org", "any sender": False}]}]
    assert main(["--instance", str(directory), "account", "list", "example.org"]) == 0
    assert capsys.readouterr().out == "address           any sender\nanna@example.org  no\n"
    assert server.asked == [{"command": "account list", "arguments": {"domain": "example.org"}}]


def test_json_everywhere(server, directory, capsys):
    server.table["send-test"] = [
        {"record": {"queue id": "7", "said": "a"}},
        {"record": {"said": "b"}},
        {"end": True},
    ]
    assert main(["send-test", "--to", "x@y.example", "--instance", str(directory), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"queue_id": "7", "said": "b"}
    assert server.asked[0]["arguments"] == {"to": "x@y.example", "timeout": 20.0} or server.asked[0][
        "arguments"
    ] == {"to": "x@y.example"}


def test_a_refusal_is_one_sentence(server, directory, capsys):
    server.table["domain add"] = [{"error": "x.example is a domain already"}]
    assert main(["--instance", str(directory), "domain", "add", "x.example"]) == 1
    assert capsys.readouterr() == ("", "mailserverctl: x.example is a domain already\n")


def test_passwords_come_from_standard_input(server, directory, monkeypatch):
    typed(monkeypatch, "geheim ü\r\nmore")
    assert main(["--instance", str(directory), "account", "passwd", "a@example.org", "--password-stdin"]) == 0
    assert server.asked[0]["arguments"] == {"address": "a@example.org", "password": "geheim ü"}


def test_passwords_are_made(server, directory, capsys):
    assert main(["--instance", str(directory), "account", "add", "a@example.org", "--generate"]) == 0
    password = server.asked[0]["arguments"]["password"]
    assert capsys.readouterr().out == f"done\npassword: {password} (shown only this once)\n"


def test_a_made_password_is_not_shown_when_it_was_not_set(server, directory, capsys):
    server.table["account add"] = [{"error": "no"}]
    assert main(["--instance", str(directory), "account", "add", "a@example.org", "--generate"]) == 1
    assert capsys.readouterr().out == ""


def test_passwords_are_asked_for_twice(server, directory, monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    answers = ["one", "two", "same", "same"]
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(secret.getpass, "getpass", lambda prompt: answers.pop(0))
    command = ["--instance", str(directory), "account", "passwd", "a@example.org"]
    assert main(command) == 1
    assert "differ" in capsys.readouterr().err
    assert main(command) == 0
    assert server.asked[-1]["arguments"]["password"] == "same"
    server.table["account show"] = [{"error": "there is no account"}]
    assert main(command) == 1
    assert capsys.readouterr().err == "mailserverctl: there is no account\n"


@pytest.mark.parametrize("text", ["", "\n"])
def test_no_password(server, directory, monkeypatch, capsys, text):
    typed(monkeypatch, text)
    command = ["--instance", str(directory), "account", "passwd", "a@example.org"]
    assert main([*command, "--password-stdin"]) == 1
    assert "no password came on standard input" in capsys.readouterr().err
    assert main(command) == 1
    assert "no terminal to ask" in capsys.readouterr().err
    assert [each["command"] for each in server.asked] == ["account show"]


def test_settings_broken_since_the_start_do_not_lock_the_owner_out(server, directory):
    (directory / "mailserver.toml").write_text("hostname = 1\n")
    assert main(["--instance", str(directory), "queue", "list"]) == 0
    assert server.asked[0]["command"] == "queue list"


def test_a_server_that_hangs_up(server, directory, capsys):
    server.table["queue list"] = []
    assert main(["--instance", str(directory), "queue", "list"]) == 1
    assert "closed the connection" in capsys.readouterr().err


def test_status_waits_until_the_server_answers(directory, monkeypatch, capsys):
    tries = []

    def asked(command, arguments, where):
        tries.append(arguments)
        if len(tries) < 3:
            raise cli.NotRunning
        return iter([{"said": "up"}])

    monkeypatch.setattr(cli, "_on_server", asked)
    monkeypatch.setattr(cli.time, "sleep", lambda seconds: None)
    assert main(["--instance", str(directory), "status", "--wait", "100"]) == 0
    assert capsys.readouterr().out == "up\n"
    assert tries == [{}, {}, {}]


# Stopped.


@pytest.mark.parametrize("command", [["status"], ["status", "--wait", "0"], ["send-test"]])
def test_what_needs_the_server_says_how_to_start_it(directory, capsys, command):
    assert main(["--instance", str(directory), *command]) == 1
    file = directory / "mailserver.toml"
    err = capsys.readouterr().err
    assert err.startswith(f"mailserverctl: the server is not running on {directory}; start it with: ")
    assert err.endswith(f"twistd -n --pidfile= mailserver --config {file}\n")


def test_what_is_to_be_typed_is_quoted(tmp_path, monkeypatch, capsys):
    assert main(["--instance", str(tmp_path / "my mail"), "init", "--domain", "a.example", "--account", "x"]) == 0
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "twistd").touch()
    assert main(["--instance", str(tmp_path / "my mail"), "status"]) == 1
    err = capsys.readouterr().err
    assert f"{tmp_path}/twistd -n --pidfile= mailserver --config '{tmp_path}/my mail/mailserver.toml'" in err


def test_accounts_and_queue_of_a_stopped_instance(directory, monkeypatch, capsys):
    def run(*command):
        status = main(["--instance", str(directory), "--json", *command])
        out, err = capsys.readouterr()
        return json.loads(out if status == 0 else err)

    assert [each["address"] for each in run("account", "list")] == ["anna@example.org"]
    typed(monkeypatch, "long password\n")
    assert "said" in run("account", "add", "bob@example.org", "--password-stdin")
    assert [each["address"] for each in run("account", "list")] == ["anna@example.org", "bob@example.org"]
    assert run("queue", "list")["said"] == "the queue is empty"
    assert run("queue", "retry", "--all")["recipients"] == 0
    assert "`domain list` shows" in run("account", "list", "example.net")["error"]


def test_an_instance_in_use_without_a_control_socket(directory, capsys):
    lock = SpoolLock(directory / "spool")
    lock.acquire(0.0)
    try:
        assert main(["--instance", str(directory), "account", "list"]) == 1
    finally:
        lock.release()
    assert f"is in use by process {os.getpid()}" in capsys.readouterr().err


def test_another_users_instance(directory, monkeypatch, capsys):
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    assert main(["--instance", str(directory), "account", "list"]) == 1
    assert "belongs to the user" in capsys.readouterr().err


# The grammar.


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["queue"],
        ["tea"],
        ["account", "add"],
        ["account", "add", "a@b.example", "--generate", "--password-stdin"],
        ["queue", "list", "--limit", "many"],
        ["status", "--wait", "soon"],
        ["queue", "remove"],
        ["queue", "retry"],
        ["queue", "retry", "--all", "0683mw5z8r1p2q3s4t5v6w7"],
        ["init", "--domain", "example.org"],
    ],
)
def test_a_command_line_that_makes_no_sense(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2
    assert "usage: mailserverctl" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["queue"], ["account", "add"], ["init"], ["status"]])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "--instance DIR" in capsys.readouterr().out


def test_the_help_has_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    for command in COMMANDS:
        assert [line for line in lines if line.split("  ")[1:2] == [command.name.strip()]], command.name


def test_the_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("mailserverctl ")


def test_lists_end_where_the_terminal_does(server, directory, monkeypatch, capsys):
    rows = [{"queue id": "0" * 23, "why": "x" * 200}]
    server.table["queue list"] = [{"reply": {"recipients": rows, "after": ""}}]
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(["--instance", str(directory), "queue", "list"]) == 0
    _, line = capsys.readouterr().out.splitlines()
    assert (len(line), line[-2:]) == (60, "x…")


def test_nobody_sees_a_traceback(directory, monkeypatch, capsys):
    def broken(*_):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(cli, "_answers", broken)
    assert main(["--instance", str(directory), "queue", "list"]) == 1
    err = capsys.readouterr().err
    assert (
        err
        == "mailserverctl: internal error (ZeroDivisionError: oops); run with MAILSERVER_DEBUG=1 to see where\n"
    )
    monkeypatch.setenv("MAILSERVER_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["--instance", str(directory), "queue", "list"])
