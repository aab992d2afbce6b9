"""The generated files: they are what is committed, and what they show is valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mailserver.settings import Settings
from mailserver.settings.options import entries
from mailserver.settings.read import read
from mailserver.settings.reference import EXAMPLE, REFERENCE, example, first_settings, reference, tables, write

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("path", "made"), [(EXAMPLE, example), (REFERENCE, reference)])
def test_the_committed_files_are_those_that_would_be_written(path, made):
    committed = (ROOT / path).read_text(encoding="utf-8")
    assert committed == made(), "run: python -m mailserver.settings.reference"


def test_both_are_written_below_a_directory(tmp_path):
    write(tmp_path)
    assert (tmp_path / EXAMPLE).read_text(encoding="utf-8") == example()
    assert (tmp_path / REFERENCE).read_text(encoding="utf-8") == reference()


def test_the_example_is_all_defaults():
    assert read(example(), EXAMPLE, Path("i")) == Settings(instance="i", host_name="mx.example.org")


def test_the_example_with_everything_uncommented_is_valid_and_still_all_defaults():
    text = re.sub(r"^#(?! |$)", "", example(), flags=re.MULTILINE)
    settings = read(text, EXAMPLE, Path("i"))
    assert [listener.name for listener in settings.listeners] == ["mx", "submission", "submissions"]
    assert settings.certificate("default").chain == Path("certificates/default.crt")
    assert settings.route_for("example.org").host == "192.0.2.25:25"
    plain = Settings(instance="i", host_name="mx.example.org")
    for name, kind in tables():
        if isinstance(getattr(plain, name), kind):
            assert getattr(settings, name) == getattr(plain, name)


def test_every_option_is_in_both_with_its_documentation():
    for _, kind in [("", Settings), *tables()]:
        for entry in entries(kind).values():
            assert re.search(rf"^#?{entry.name} = .", example(), re.MULTILINE), entry.name
            assert f"| `{entry.name}` |" in reference(), entry.name
            assert entry.about.doc in reference()
            assert entry.about.doc.endswith(".")


def test_tables_have_as_many_columns_as_their_head():
    for line in reference().splitlines():
        if line.startswith("|"):
            assert line.count("|") in (3, 6), line


def test_reserved_names_stand_in_their_own_section():
    assert '`[log]` `format = "json"`' in reference().partition("## Reserved")[2]
    assert '"json"' not in reference().partition("## Reserved")[0]


def test_the_first_settings_are_safe_and_complete():
    settings = read(first_settings("mx.example.org"), "mailserver.toml", Path("i"))
    seen = [(listener.name, listener.role, listener.listen, listener.tls) for listener in settings.listeners]
    assert seen == [
        ("mx", "mx", ("127.0.0.1:2525",), "starttls"),
        ("submission", "submission", ("127.0.0.1:2587",), "starttls"),
        ("submissions", "submission", ("127.0.0.1:2465",), "implicit"),
    ]
    assert settings.relay.outgoing == "hold"
    assert settings.relay.networks == ()
    assert settings.certificate("default").key == Path("certificates/default.key")


def test_the_route_in_the_first_settings_works_when_it_is_uncommented():
    text = re.sub(r"^#(?! |$)", "", first_settings("mx.example.org"), flags=re.MULTILINE)
    route = read(text, "mailserver.toml", Path("i")).route_for("example.net")
    assert (route.host, route.tls) == ("127.0.0.1:2526", "off")


def test_the_first_settings_take_other_ports():
    text = first_settings("mx.example.org", mx="[::1]:1025", submission="127.0.0.1:1587", submissions="*:1465")
    settings = read(text, "mailserver.toml", Path("i"))
    assert [listener.listen[0] for listener in settings.listeners] == ["[::1]:1025", "127.0.0.1:1587", "*:1465"]
