"""Discovery, kinds, and what can be wrong with a plugin: each is one sentence that names it."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from mailserver.plugins import CHECK, KINDS, REALM, STATE_STORE, Catalogue, Plugins, installed
from mailserver.settings import BrokenPlugin, Plugin, Settings
from mailserver.testing.contracts import services

HEAD = """
from dataclasses import dataclass
from zope.interface import implementer
from mailserver.interfaces import *
from mailserver.interfaces import ICheck, ITransport, IStateStore
from mailserver.message import CONTINUE, Stage
from mailserver.settings import option
from twisted.cred.portal import IRealm
from twisted.cred.checkers import ICredentialsChecker

@dataclass(frozen=True)
class Options:
    word: str = option(default="a", doc="A word.")
"""
GOOD = """
@implementer(ICheck)
class Good:
    name, stages, options = "good", (Stage.MAIL,), Options
    def __init__(self, options, services): self.given = (options, services)
    def check(self, stage, context): return CONTINUE
"""


def settings(*plugins):
    return Settings(instance="i", host_name="mx.mail.test", plugins=plugins)


def plugins(*named):
    return Plugins(settings(*named), Catalogue(), services(""))


def test_nothing_is_imported_until_it_is_named(on_path):
    on_path.add("acme-good", {"good": "Good"}, HEAD + GOOD)
    on_path.add("acme-bomb", {"bomb": "Bomb"}, "raise SystemExit('boom')")
    assert {"good", "bomb"} <= set(installed())
    assert plugins(Plugin(name="good")).names(CHECK) == ["good"]
    assert "acme_bomb" not in sys.modules


def test_a_plugin_is_called_with_its_options_and_services(on_path):
    on_path.add("acme-good", {"good": "Good"}, HEAD + GOOD)
    catalogue = Catalogue()
    kind = catalogue.options_type("good")
    given = services("", host_name="mx.other.test")
    (made,) = Plugins(settings(Plugin(name="good", options=kind("b"))), catalogue, given).of(CHECK).values()
    assert made.given == (kind("b"), replace(given, name="good"))
    (made,) = Plugins(settings(Plugin(name="good")), catalogue, given).of(CHECK).values()
    assert made.given[0] == kind("a")


def test_one_object_may_be_of_two_kinds_and_is_made_once(on_path):
    source = HEAD + GOOD.replace("@implementer(ICheck)", "@implementer(ICheck, IRealm)")
    on_path.add("acme-both", {"good": "Good"}, source + "    def requestAvatar(self, i, m, *a): ...\n")
    both = plugins(Plugin(name="good"))
    assert both.of(CHECK)["good"] is both.of(REALM)["good"]


def test_a_class_without_options_and_an_object_are_plugins_too(on_path):
    source = (
        HEAD + "@implementer(IRealm)\nclass Realm:\n    def requestAvatar(self, i, m, *a): ...\nrealm = Realm()\n"
    )
    on_path.add("acme-old", {"one": "Realm", "two": "realm"}, source)
    made = plugins(Plugin(name="one"), Plugin(name="two")).of(REALM)
    assert type(made["one"]) is type(made["two"])
    assert made["two"] is sys.modules["acme_old"].realm


def test_every_kind_is_found_by_its_interface(on_path):
    names = {kind: f"Kind{number}" for number, kind in enumerate(KINDS)}
    source = HEAD + "from mailserver.interfaces import IDirectory, IRouter, IResolver\n"
    for kind, name in names.items():
        source += f"@implementer({KINDS[kind].__name__})\nclass {name}: pass\n"
    on_path.add("acme-all", {name.lower(): name for name in names.values()}, source)
    catalogue = Catalogue()
    assert {kind: catalogue.load(name.lower()).kinds for kind, name in names.items()} == {k: (k,) for k in names}


BROKEN = {
    "no such name": ("", "x = 1", "cannot be imported: AttributeError"),
    "a syntax error": ("", "class Good(:", "cannot be imported: SyntaxError"),
    "it exits": ("", "raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
    "a module": (HEAD, "import os as Good", "is a module that implements none of ICheck"),
    "no interface": (HEAD, "class Good: pass", "is a class that implements none of ICheck"),
    "a function": (HEAD, "def Good(options, services): ...", "is a function that implements none of ICheck"),
    "another name": (HEAD, GOOD.replace('"good"', '"best"'), "calls itself 'best'"),
    "no name": (HEAD, GOOD.replace("name, stages, options", "_, stages, options"), "calls itself None"),
    "options that thaw": (
        HEAD.replace("(frozen=True)", ""),
        GOOD,
        "options that do not fit: Options is not frozen",
    ),
    "options of a strange type": (HEAD.replace("word: str", "word: list"), GOOD, "that no settings file can hold"),
    "options that are none": (HEAD, GOOD.replace("), Options", "), dict"), "dict is no dataclass"),
    "a raising constructor": (
        HEAD,
        GOOD.replace("self.given =", "1 / 0 #"),
        "when it was made: ZeroDivisionError",
    ),
    "an exiting constructor": (HEAD, GOOD.replace("self.given =", "exit(4) #"), "when it was made: SystemExit: 4"),
    "too few arguments": (HEAD, GOOD.replace("options, services", "options"), "when it was made: TypeError"),
    "a missing method": (HEAD, GOOD.replace("def check", "def czech"), "does not fit ICheck: "),
    "a method without arguments": (HEAD, GOOD.replace("self, stage, context", "self"), "does not fit ICheck: "),
    "no stages": (HEAD, GOOD.replace("(Stage.MAIL,)", "()"), "names no stages"),
    "stages that are text": (HEAD, GOOD.replace("(Stage.MAIL,)", '("mail",)'), "names no stages"),
}


@pytest.mark.parametrize(("head", "source", "why"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_says_so_in_one_sentence_or_is_optional(on_path, head, source, why):
    on_path.add("acme-bad", {"good": "Good"}, head + source)
    with pytest.raises(BrokenPlugin) as caught:
        plugins(Plugin(name="good")).make_all()
    sentence = str(caught.value)
    assert sentence.startswith("plugin good (acme_bad:Good of acme-bad 1.0) ")
    assert why in sentence
    assert "\n" not in sentence
    without = plugins(Plugin(name="good", optional=True))
    without.make_all()
    assert without.failed == {"good": sentence}
    assert without.of(CHECK) == {}


def test_what_is_not_installed_has_a_suggestion(on_path):
    on_path.add("acme-good", {"blocked-senders": "Good"})
    with pytest.raises(BrokenPlugin, match=r"blocked-sender is not installed .*did you mean blocked-senders\?"):
        Catalogue().load("blocked-sender")
    with pytest.raises(BrokenPlugin, match="installed are: none"):
        Catalogue({}).load("xyzzy")


def test_two_packages_quarrel_about_a_name(on_path):
    on_path.add("acme-one", {"good": "Good"})
    on_path.add("acme-two", {"good": "Good"})
    with pytest.raises(BrokenPlugin, match=r"more than one package: acme-one 1\.0 and acme-two 1\.0"):
        Catalogue().load("good")


def test_there_is_one_of_some_kinds(on_path):
    store = "@implementer(IStateStore)\nclass {}: pass\n"
    on_path.add("acme-two", {"one": "One", "two": "Two"}, HEAD + store.format("One") + store.format("Two"))
    with pytest.raises(BrokenPlugin, match=f"one {STATE_STORE}, and there are several plugins: one, two"):
        plugins(Plugin(name="one"), Plugin(name="two"))


def test_required_options_are_asked_for_where_settings_are_made_in_code(on_path):
    on_path.add("acme-good", {"good": "Good"}, HEAD.replace('default="a", ', "") + GOOD)
    with pytest.raises(BrokenPlugin, match=r"needs options: plugins\.good\.word: missing"):
        plugins(Plugin(name="good")).make_all()
