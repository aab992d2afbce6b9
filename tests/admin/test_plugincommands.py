"""`mailserverctl plugin`: what it lists, shows and writes. With real packages: tests/plugins/test_installed.py."""

from __future__ import annotations

import ast
import tomllib

import pytest

from mailserver.admin.command import ControlError
from mailserver.admin.control import command_named
from mailserver.admin.plugintemplate import files_of, is_name
from mailserver.admin.world import Files
from mailserver.clock import SystemClock
from mailserver.settings import BrokenPlugin
from tests.plugins.onpath import OnPath
from tests.plugins.test_plugins import GOOD, HEAD


@pytest.fixture
def files(tmp_path):
    (tmp_path / "mailserver.toml").write_text(
        'host_name = "mx.mail.test"\n[plugins.good]\n[plugins.gone]\noptional = true\n'
    )
    return Files(tmp_path, SystemClock())


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    (tmp_path / "packages").mkdir()
    return OnPath(tmp_path / "packages", monkeypatch)


def run(files, command_name, /, **arguments):
    command = command_named(command_name)
    coroutine = command.handler(files, **command.accept(arguments))
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waits")


def test_the_list_has_what_is_installed_and_what_is_named(files, on_path):
    on_path.add("acme-good", {"good": "Good"}, HEAD + GOOD)
    on_path.add("acme-bomb", {"bomb": "Bomb"}, "raise SystemExit('boom')")
    assert run(files, "plugin list") == [
        {"name": "bomb", "package": "acme-bomb 1.0", "kind": "", "optional": False,
         "state": "not in the settings"},
        {"name": "gone", "package": "", "kind": "", "optional": True, "state":
         "broken: plugin gone is not installed in this Python environment; installed are: bomb, good"},
        {"name": "good", "package": "acme-good 1.0", "kind": "check", "optional": False,
         "state": "in the settings"},
    ]  # fmt: skip


def test_the_list_needs_no_instance(tmp_path, on_path):
    on_path.add("acme-good", {"good": "Good"}, HEAD + GOOD)
    assert [row["state"] for row in run(Files(tmp_path / "none", SystemClock()), "plugin list")] == [
        "not in the settings"
    ]


def test_a_plugin_is_shown_with_its_options(files, on_path):
    on_path.add("acme-good", {"good": "Good"}, HEAD + GOOD)
    shown = run(files, "plugin show", name="good")
    assert (shown["kind"], shown["object"], shown["settings"]) == ("check", "acme_good:Good", "[plugins.good]")
    assert shown["options"] == [
        {
            "option": "word",
            "allowed": "text in quotes",
            "default": '"a"',
            "applies": "restart",
            "meaning": "A word.",
        }
    ]
    with pytest.raises(BrokenPlugin, match="plugin xyzzy is not installed"):
        run(files, "plugin show", name="xyzzy")


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a--b", "1a", "ä", "a/b", "..", "x" * 65])
def test_a_bad_name_writes_nothing(files, tmp_path, name):
    assert not is_name(name)
    with pytest.raises(ControlError, match="no name for a plugin"):
        run(files, "plugin new", name=name, directory=str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["email", "class", "mailserver"])
def test_a_name_that_python_has_is_refused(files, tmp_path, name):
    with pytest.raises(ControlError, match="Python has already"):
        run(files, "plugin new", name=name, directory=str(tmp_path))


def test_the_new_package_is_python_and_toml():
    files = files_of("no-spam")
    assert "no-spam = no_spam:NoSpam" in files["setup.cfg"]
    assert tomllib.loads(files["pyproject.toml"])["build-system"]["build-backend"] == "setuptools.build_meta"
    names = [node.name for node in ast.walk(ast.parse(files["no_spam.py"])) if isinstance(node, ast.ClassDef)]
    assert names == ["Options", "NoSpam"]
    assert ast.parse(files["tests/test_no_spam.py"])


def test_what_exists_is_left_alone(files, tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(ControlError, match="exists; nothing was changed"):
        run(files, "plugin new", name="mine", directory=str(tmp_path))
    assert list((tmp_path / "mine").iterdir()) == []
