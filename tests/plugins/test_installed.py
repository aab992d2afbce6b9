"""docs/plugins.md and docs/checkers-and-realms.md: their packages, installed in every way, in the real daemon."""

from __future__ import annotations

import json
import smtplib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.daemon import DOMAIN, until
from tests.plugins.packages import Environment, PluginDaemon, files_of, setup_of, write

CHECK = files_of("plugins.md")
REALM = files_of("checkers-and-realms.md")

BROKEN = {
    "import": (
        "import nothing_like_it\n",
        "cannot be imported: ModuleNotFoundError: No module named 'nothing_like_it'",
    ),
    "kind": ("class Broken: pass\n", "is a class that implements none of ICheck, "),
    "constructor": (
        "from twisted.cred.portal import IRealm\nfrom zope.interface import implementer\n"
        "@implementer(IRealm)\nclass Broken:\n    def __init__(self): raise OSError('no\\ndatabase')\n",
        "raised when it was made: OSError: no database",
    ),
}

pytestmark = pytest.mark.daemon


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with every package of this module, installed ordinarily."""
    directory = tmp_path_factory.mktemp("home")
    packages = {"acme-check": CHECK, "acme-mail": REALM}
    bomb = {"bomb.py": "raise SystemExit('imported')\n", "setup.cfg": setup_of("bomb", {"bomb": "bomb:Bomb"})}
    packages["bomb"] = bomb
    for way, (module, _) in BROKEN.items():
        name = f"broken-{way}"
        setup = setup_of(name, {name: f"broken_{way}:Broken"})
        packages[name] = {f"broken_{way}.py": module, "setup.cfg": setup}
    home = Environment(directory / "venv")
    home.install(*(str(write(directory / name, files)) for name, files in packages.items()))
    return home


@pytest.fixture
def daemon_in(tmp_path: Path) -> Iterator[Callable[[Environment, str], PluginDaemon]]:
    """Call it with an environment and settings for a server that is not started yet."""
    made: list[PluginDaemon] = []

    def make(home: Environment, more: str) -> PluginDaemon:
        directory = tmp_path / f"server{len(made)}"
        directory.mkdir()
        made.append(PluginDaemon(directory, home, more))
        return made[-1]

    yield make
    for daemon in made:
        daemon.kill()
        print(daemon.instance, *daemon.lines, sep="\n")


def editable(package: Path, home: Environment) -> None:
    home.install("--editable", str(package))


def zipped(package: Path, home: Environment) -> None:
    """A wheel is a zip that Python imports from."""
    home.path.append(str(home.wheel(package, package.parent / "wheels")))


def test_the_check_of_the_manual_refuses_at_mail(daemon_in, home):
    refuses_at_mail(daemon_in, home)


@pytest.mark.parametrize("install", [editable, zipped], ids=lambda way: way.__name__)
def test_it_does_so_however_it_is_installed(tmp_path, daemon_in, install):
    home = Environment(tmp_path / "venv")
    install(write(tmp_path / "acme-check", CHECK), home)
    refuses_at_mail(daemon_in, home)


def refuses_at_mail(daemon_in, home):
    daemon = daemon_in(home, CHECK["mailserver.toml"])
    daemon.start()
    with daemon.mx() as client:
        client.ehlo()
        assert client.mail("anybody@spam.example") == (550, b"5.7.1 sender not welcome here")
        assert client.mail("<x@xn--bcher-kva.example>")[0] == 550
        assert client.mail("friend@elsewhere.example")[0] == 250
        client.rset()
        assert client.mail("<>")[0] == 250
    daemon.wait_log(r"check\.refused .*check=blocked-senders stage=mail")
    rows = json.loads(home.ctl(daemon, "--json", "plugin", "list").stdout)
    assert {row["name"]: row for row in rows}["blocked-senders"] == {
        "name": "blocked-senders", "package": "acme-check 1.0", "kind": "check", "optional": False,
        "state": "in the settings",
    }  # fmt: skip


def test_its_options_are_settings_like_ours(daemon_in, home):
    wrong = '[plugins.blocked-senders]\nblocked = [1, "a b"]\nblock = true\n[queue]\nexpire = "x"\n'
    daemon = daemon_in(home, wrong)
    refused = daemon.refused()
    assert refused.returncode == 1
    lines = refused.stderr.splitlines()[-4:]
    assert [line.split(": ", 1)[1] for line in lines] == [
        "plugins.blocked-senders.blocked: found 1, allowed: text that is a domain",
        'plugins.blocked-senders.blocked: found "a b", allowed: text that is a domain',
        "plugins.blocked-senders.block: unknown name; did you mean blocked?",
        'queue.expire: found "x", allowed: a number of seconds from 1 to 31536000',
    ]
    checked = home.ctl(daemon, "config", "check")
    assert checked.returncode == 1
    assert "plugins.blocked-senders.block: unknown name" in checked.stderr
    shown = home.ctl(daemon, "plugin", "show", "blocked-senders").stdout
    assert "acme_check:BlockedSenders" in shown
    assert "Sender domains refused at MAIL." in shown


def test_what_is_not_named_is_not_imported(daemon_in, home):
    daemon = daemon_in(home, "")
    listed = json.loads(home.ctl(daemon, "--json", "plugin", "list").stdout)
    assert {row["name"]: row["state"] for row in listed}["bomb"] == "not in the settings"
    daemon.start()


def test_the_test_of_the_manual_passes(tmp_path, home):
    package = write(tmp_path / "acme-check", CHECK)
    ran = home.run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(package), cwd=package)
    assert ran.returncode == 0, ran.stdout
    assert "4 passed" in ran.stdout


def test_the_application_of_the_manual_runs_under_twistd(daemon_in, home):
    daemon = daemon_in(home, "")
    daemon.write_settings(REALM["mailserver.toml"].replace("{address}", daemon.address))
    (daemon.instance / "agents.txt").write_text("carl:another word\n")
    daemon.start()
    tickets = daemon.instance.parent / "tickets.txt"
    with daemon.mx() as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("me@elsewhere.example", [f"alice@{DOMAIN}"], "Subject: no\n\n")
        client.sendmail("me@elsewhere.example", ["help@acme.example"], "Subject: printer\n\nburns\n")
    until(lambda: tickets.exists() and tickets.read_text(), lambda text: text == "printer\n")
    for name, password in (("anna", "a word"), ("carl", "another word")):
        with smtplib.SMTP(daemon.address, 2587, local_hostname="client.test", timeout=20) as client:
            client.starttls(context=daemon.client_tls())
            client.login(name, password)
            client.sendmail("me@elsewhere.example", ["help@acme.example"], f"Subject: of {name}\n\n")
    until(tickets.read_text, lambda text: text == "printer\nof anna\nof carl\n")
    with smtplib.SMTP(daemon.address, 2587, local_hostname="client.test", timeout=20) as client:
        client.starttls(context=daemon.client_tls())
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(f"alice@{DOMAIN}", "correct horse")


@pytest.mark.parametrize("way", BROKEN)
def test_a_broken_plugin_stops_the_start_with_one_sentence_or_is_optional(daemon_in, home, way):
    name, sentence = f"broken-{way}", BROKEN[way][1]
    daemon = daemon_in(home, f"[plugins.{name}]\n")
    refused = daemon.refused()
    assert refused.returncode == 1
    (line,) = [line for line in refused.stderr.splitlines() if name in line]
    assert f"plugin {name} (broken_{way}:Broken of {name} 1.0) {sentence}" in line
    assert "Traceback" not in refused.stderr
    daemon.write_settings(f"[plugins.{name}]\noptional = true\n")
    daemon.start()
    assert sentence.split(":")[0] in daemon.wait_log(r"plugin\.failed plugin=broken-")
    with daemon.mx() as client:
        client.sendmail("a@elsewhere.example", [f"alice@{DOMAIN}"], "Subject: it runs\n\n")
    daemon.wait_letters(1)


def test_a_new_plugin_is_a_package_whose_test_passes(tmp_path, daemon_in):
    home = Environment(tmp_path / "venv")
    daemon = daemon_in(home, '[plugins.no-spam]\nblocked = ["spam.example"]\n')
    made = home.ctl(daemon, "plugin", "new", "no-spam", "--directory", str(tmp_path))
    assert made.returncode == 0, made.stderr
    again = home.ctl(daemon, "plugin", "new", "no-spam", "--directory", str(tmp_path))
    assert (again.returncode, "exists; nothing was changed" in again.stderr) == (1, True)
    home.install(str(tmp_path / "no-spam"))
    ran = home.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path / "no-spam")
    assert ran.returncode == 0, ran.stdout
    daemon.start()
    with daemon.mx() as client:
        client.ehlo()
        assert client.mail("anybody@spam.example")[0] == 550
