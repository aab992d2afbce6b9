"""The tables of plugins: options of their own type, judged like ours."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mailserver.settings import BrokenPlugin, Plugin, Settings, SettingsError, option
from mailserver.settings.plugin import misfit, options_from
from mailserver.settings.read import read
from mailserver.smtp import Domain


@dataclass(frozen=True)
class Options:
    key: Path = option(doc="A file.")  # noqa: RUF009
    blocked: tuple[Domain, ...] = option(default=(), doc="Domains.", applies="live")
    seconds: float = option(default=5, doc="A time.", unit="seconds", minimum=1, maximum=60)

    def __post_init__(self) -> None:
        if str(self.key) == "bad":
            raise ValueError("the key must be\nanother one")


def types(name):
    if name == "broken":
        raise BrokenPlugin("plugin broken is broken")
    return {"acme": Options, "plain": None}[name]


def wrong(text, option_types=types):
    with pytest.raises(SettingsError) as caught:
        read(f'host_name = "mx.mail.test"\n{text}', "f", Path("i"), option_types)
    return str(caught.value).splitlines()


def right(text, option_types=types):
    return read(f'host_name = "mx.mail.test"\n{text}', "f", Path("i"), option_types).plugins


def test_options_are_values_of_the_plugins_own_type():
    (plugin,) = right('[plugins.acme]\nblocked = ["BÜCHER.example"]\nkey = "k"\n')
    assert plugin == Plugin(
        name="acme", options=Options(blocked=(Domain("xn--bcher-kva.example"),), key=Path("k"))
    )
    assert (plugin.optional, plugin.options.seconds) == (False, 5)


def test_everything_wrong_is_said_at_once_with_its_line():
    lines = wrong(
        '[plugins.acme]\nblocked = ["a b"]\nseconds = 90\nsecond = 1\noptional = 1\n[queue]\nretry = []\n'
    )
    assert lines == [
        "f:2: plugins.acme.key: missing; write key = … with a path in quotes",
        'f:3: plugins.acme.blocked: found "a b", allowed: text that is a domain',
        "f:4: plugins.acme.seconds: found 90, allowed: a number of seconds from 1 to 60",
        "f:5: plugins.acme.second: unknown name; did you mean seconds?",
        "f:6: plugins.acme.optional: found 1, allowed: true or false",
        "f:8: queue.retry: found [], allowed: at least one wait, as in [60, 300, 3600]",
    ]


def test_what_the_type_itself_refuses_is_one_line():
    assert wrong('[plugins.acme]\nkey = "bad"\n') == ["f:2: plugins.acme: the key must be another one"]


def test_a_plugin_without_options_takes_only_our_word():
    assert right("[plugins.plain]\noptional = true\n") == (Plugin(name="plain", optional=True),)
    assert wrong("[plugins.plain]\nx = 1\n") == ["f:3: plugins.plain.x: unknown name; known are optional"]


def test_a_broken_one_is_an_error_unless_it_is_optional():
    assert wrong("[plugins.broken]\nx = 1\n") == ["f:2: plugins.broken: plugin broken is broken"]
    assert right("[plugins.broken]\nx = 1\noptional = true\n") == (Plugin(name="broken", optional=True),)
    assert wrong('[plugins.broken]\noptional = "yes"\n')[0].endswith("plugin broken is broken")


def test_whoever_only_looks_judges_nothing():
    assert right("[plugins.nobody-knows]\nx = 1\n", None) == (Plugin(name="nobody-knows"),)


def test_shapes_and_names():
    assert wrong("plugins = 1") == ["f:2: plugins: found 1, allowed: tables, [plugins.NAME]"]
    assert wrong("[plugins]\nacme = 1") == ["f:3: plugins.acme: found 1, allowed: a table, [plugins.NAME]"]
    assert "64 letters, digits" in wrong('[plugins."a b"]\n', None)[0]


def test_settings_made_in_code_are_judged_too():
    bad = Options(blocked=("a b",), key="k")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r'plugins\.acme\.blocked: found "a b"'):
        Settings(instance="i", host_name="mx.mail.test", plugins=[Plugin(name="acme", options=bad)])
    with pytest.raises(SettingsError, match="two plugins with this name"):
        Settings(instance="i", host_name="mx.mail.test", plugins=[Plugin(name="a"), Plugin(name="a")])


def test_the_portal_of_a_listener_is_a_plugin():
    listener = '[listeners.mx]\nrole = "mx"\nlisten = ["*:25"]\nportal = "acme"\n'
    assert wrong(listener) == [
        'f:5: listeners.mx.portal: found "acme", allowed: a realm of [plugins]: '
        "none is there; write a table [plugins.acme]"
    ]
    assert right(listener + "[plugins.acme]\n", None)


def test_a_route_over_smtp_needs_a_host_and_another_does_not():
    assert 'routes."a.test".host: missing' in wrong('[routes."a.test"]\ntransport = "smtp"\n')[0]
    assert right('[routes."a.test"]\ntransport = "acme"\n') == ()


@dataclass
class Thawed:
    x: int = option(default=1, doc="X.")


@dataclass(frozen=True)
class Undeclared:
    x: int = 1


@dataclass(frozen=True)
class OurWord:
    optional: bool = option(default=False, doc="X.")


@dataclass(frozen=True)
class Odd:
    x: dict[str, int] = field(default_factory=dict, metadata=Options.__dataclass_fields__["seconds"].metadata)


@dataclass(frozen=True)
class Unknown:
    x: "Nowhere" = option(default=1, doc="X.")  # noqa: F821, RUF009, UP037


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (None, "is no dataclass"), (dict, "is no dataclass"), (OurWord(), "is no dataclass"),
        (Thawed, "is not frozen"),
        (Undeclared, "field x that is not declared by option"), (OurWord, "server's own word"),
        (Odd, "of a type that no settings file can hold"), (Unknown, "cannot be read (NameError"),
    ],
)  # fmt: skip
def test_a_type_that_does_not_fit_says_why(kind, why):
    assert why in misfit(kind)


def test_a_type_that_fits():
    assert misfit(Options) == ""
    assert misfit(dataclasses.make_dataclass("Empty", [], frozen=True)) == ""


def test_no_value_is_made_of_what_is_wrong():
    made, problems = options_from(Options, "plugins.acme", {"seconds": "x", "key": "bad"})
    assert (made, [problem.key for problem in problems]) == (None, ["plugins.acme.seconds"])
