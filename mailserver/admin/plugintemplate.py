"""What ``mailserverctl plugin new`` writes: a package with one check and its test, and nothing to be left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Template

_is_name = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*").fullmatch
MAX_NAME = 64

_PYPROJECT = """\
[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"
"""

_SETUP = """\
[metadata]
name = $name
version = 0.1.0
description = A plugin of mailserver

[options]
python_requires = >=3.11
py_modules = $module
install_requires =
    mailserver

[options.entry_points]
mailserver =
    $name = $module:$klass
"""

_README = """\
# $name

A plugin of mailserver. In the Python environment of the server: `pip install .`

In its settings, `mailserver.toml`:

    [plugins.$name]
    blocked = ["spam.example"]

`mailserverctl plugin show $name` explains the options, `mailserverctl config check` says what is wrong with the
settings, and a restart makes them true. The test: `pip install pytest`, then `python -m pytest`.
"""

_CHECK = '''\
"""A plugin of mailserver: refuses senders of some domains."""

from dataclasses import dataclass

from zope.interface import implementer

from mailserver.interfaces import ICheck
from mailserver.message import CONTINUE, CheckContext, Stage, Status, Verdict, reject
from mailserver.plugins import Services
from mailserver.settings import option
from mailserver.smtp import Domain


@dataclass(frozen=True)
class Options:
    """The table [plugins.$name]."""

    blocked: tuple[Domain, ...] = option(default=(), doc="Sender domains refused at MAIL.")


@implementer(ICheck)
class $klass:
    """Refuses the reverse-paths of blocked domains."""

    name = "$name"
    stages = (Stage.MAIL,)
    options = Options

    def __init__(self, options: Options, services: Services) -> None:
        self._blocked = frozenset(options.blocked)

    def check(self, stage: Stage, context: CheckContext) -> Verdict:
        """A verdict, or an awaitable of one. What is raised is a 451 to the client."""
        if context.reverse_path.domain in self._blocked:
            return reject(Status(5, 7, 1), "sender not welcome here")
        return CONTINUE
'''

_TEST = '''\
"""The contract of every check, and what this one is for."""

from $module import $klass, Options
from mailserver.message import CONTINUE, CheckContext, Stage
from mailserver.smtp import Domain, Mailbox
from mailserver.testing.contracts import CheckContract, services


def make() -> $klass:
    return $klass(Options(blocked=(Domain.parse("spam.example"),)), services("$name"))


class TestContract(CheckContract):
    def make(self) -> $klass:
        return make()


def test_a_blocked_domain_is_refused() -> None:
    context = CheckContext("s1", reverse_path=Mailbox.parse("anybody@spam.example"))
    assert make().check(Stage.MAIL, context).text == "sender not welcome here"


def test_others_and_the_null_reverse_path_pass() -> None:
    friend = CheckContext("s1", reverse_path=Mailbox.parse("anna@example.org"))
    assert make().check(Stage.MAIL, friend) is CONTINUE
    assert make().check(Stage.MAIL, CheckContext("s1")) is CONTINUE
'''


def is_name(name: str) -> bool:
    """Whether a plugin can be called so: small letters, digits, and single hyphens between them."""
    return len(name) <= MAX_NAME and _is_name(name) is not None


def module_of(name: str) -> str:
    """The module of a new plugin."""
    return name.replace("-", "_")


def files_of(name: str) -> Mapping[str, str]:
    """The texts of the package by their paths."""
    klass = "".join(part.capitalize() for part in name.split("-"))
    module = module_of(name)
    texts = {
        "pyproject.toml": _PYPROJECT,
        "setup.cfg": _SETUP,
        "README.md": _README,
        f"{module}.py": _CHECK,
        f"tests/test_{module}.py": _TEST,
    }
    words = {"name": name, "module": module, "klass": klass}
    return {path: Template(text).substitute(words) for path, text in texts.items()}
