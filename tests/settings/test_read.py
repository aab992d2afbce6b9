"""Text to tree: what is taken, what is refused, and how the refusal reads."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.settings.model import Settings
from mailserver.settings.problem import SettingsError
from mailserver.settings.read import MAX_OCTETS, decode, lines_of, read
from mailserver.settings.reference import example

FULL = """
host_name = "mx.example.org"
[listeners.mx]
role = "mx"
listen = ["*:25", "[::1]:2525"]
tls = "starttls"
certificate = "main"
max_connections_per_ip = 0
[certificates.main]
chain = "certificates/main.crt"
key = "/etc/ssl/main.key"
[dns]
servers = ["192.0.2.53:5353"]
timeout = 0.5
[relay]
outgoing = "hold"
networks = ["192.0.2.0/24"]
[routes."Example.net"]
host = "127.0.0.1:2526"
tls = "off"
[queue]
retry = [1, 2.5]
[log]
path = "log/mail.log"
"""


def made(text: str) -> Settings:
    return read(text, "mailserver.toml", Path("instance"))


def lines(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        made(text)
    return str(caught.value).splitlines()


def below(text: str) -> str:
    """The single complaint about `text` in an otherwise right file; it begins on line 2."""
    (line,) = lines('host_name = "mx.example.org"\n' + text)
    return line


def refusal(call, *arguments) -> SettingsError | None:
    """What `call` refused its arguments with; any other exception is a bug, and leaves."""
    try:
        call(*arguments)
    except SettingsError as error:
        return error
    return None


def test_one_name_is_enough():
    assert made('host_name = "mx.example.org"') == Settings(instance="instance", host_name="mx.example.org")


def test_a_file_with_everything():
    settings = made(FULL)
    (listener,) = settings.listeners
    assert listener.name == "mx"
    assert [str(address) for address in listener.addresses] == ["*:25", "[::1]:2525"]
    assert listener.max_connections_per_ip == 0
    assert settings.path(settings.certificate("main").chain) == Path("instance/certificates/main.crt")
    assert settings.path(settings.certificate("main").key) == Path("/etc/ssl/main.key")
    assert settings.dns.servers == ("192.0.2.53:5353",)
    assert settings.dns.timeout == 0.5
    assert settings.relay.outgoing == "hold"
    assert settings.route_for("example.net").tls == "off"
    assert settings.queue.retry == (1, 2.5)
    assert settings.log.path == "log/mail.log"
    assert settings.reception == Settings(instance="i", host_name="mx.example.org").reception


def test_the_word_system_may_stand_alone():
    assert made('host_name = "mx.example.org"\ndns.servers = "system"').dns.servers == ("system",)
    assert made('host_name = "mx.example.org"\ndns.servers = []').dns.servers == ()


def test_all_problems_come_at_once_in_the_order_of_the_file():
    text = """
[listeners.mx]
role = "mx"
tls = "ssl"
listen = ["127.0.0.1:2525"]
[relay]
netwroks = []
networks = ["0.0.0.0/0"]
[queue]
retry = [0, true]
"""
    assert lines(text) == [
        'mailserver.toml: host_name: missing; write host_name = … with a full host name, as in "mx.example.org"',
        'mailserver.toml:4: listeners.mx.tls: found "ssl", allowed: "none", "starttls", "implicit"',
        "mailserver.toml:7: relay.netwroks: unknown name; did you mean networks?",
        'mailserver.toml:8: relay.networks: found "0.0.0.0/0", allowed: your own networks; '
        "with this one anybody on the Internet could send through you (an open relay)",
        "mailserver.toml:10: queue.retry: found 0, allowed: a number of seconds from 1 to 31536000",
        "mailserver.toml:10: queue.retry: found true, allowed: a number of seconds from 1 to 31536000",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[queue]\nexpire = '1'", '3: queue.expire: found "1", allowed: a number of seconds from 1 to 31536000'),
        ("[queue]\nenabled = 1", "3: queue.enabled: found 1, allowed: true or false"),
        ("[queue]\nexpire = nan", "3: queue.expire: found nan, allowed: a number of seconds from 1 to 31536000"),
        ("[queue]\nretry = 60", "3: queue.retry: found 60, allowed: a list, each of it a number of seconds from"),
        ("[queue]\nretry = [[1]]", "3: queue.retry: found [1], allowed: a number of seconds"),
        ("[queue]\nexpire = 2026-11-24", "3: queue.expire: found 2026-11-24, allowed: a number"),
        ("[queue]\nexpire.hours = 3", "3: queue.expire: found a table, allowed: a number"),
        (
            "[log]\nformat = 'json'",
            '3: log.format: found "json", allowed: "human" ("json" is reserved: not available',
        ),
        ("queue = 1", "2: queue: found 1, allowed: a table, [queue]"),
        ("listeners = 1", "2: listeners: found 1, allowed: tables, [listeners.NAME]"),
        ("[[listeners]]\nrole = 'mx'", "2: listeners: found [a table], allowed: tables, [listeners.NAME]"),
        ("[listeners]\nmx = 1", "3: listeners.mx: found 1, allowed: a table, [listeners.NAME]"),
        (
            "[routes]\n'a.example' = 'b:25'",
            '3: routes."a.example": found "b:25", allowed: a table, [routes."example',
        ),
        ("[routes.'A.example']", '2: routes."a.example".host: missing; write host = … with "HOST:PORT", as in'),
        ("[routes.'a b']\nhost = 'b:25'", '2: routes."a b": not a domain name, as in [routes."example.org"]'),
        ("[quue]\nretry = [1]", "2: quue: unknown name; did you mean queue?"),
        (
            "[smtp]",
            "2: smtp: unknown name; known are host_name, listeners, certificates, dns, relay, routes, queue",
        ),
        ("[log]\nsmart_host = 'a:25'", "3: log.smart_host: unknown name here; it belongs in [relay]"),
        ("max_recipients = 5", "2: max_recipients: unknown name here; it belongs in [reception]"),
        ("instance = 'elsewhere'", "2: instance: unknown name; known are"),
        ("name = 'elsewhere'", "2: name: unknown name; known are"),
        ("[listeners.mx]\nrole='mx'\nlisten=['*:25']\nname='x'", "5: listeners.mx.name: unknown name; known are"),
        (
            "[listeners.mx]\nrole='mx'\nlisten=['*:0']",
            '4: listeners.mx.listen: found "*:0", allowed: a port from 1',
        ),
        (
            "[listeners.mx]\nlisten=['*:25']",
            '2: listeners.mx.role: missing; write role = … with "mx", "submission"',
        ),
        ('["a\\u001b[31m\\u202e"]', '2: "a\\u001b[31m\\u202e": unknown name; known are'),
    ],
)
def test_a_wrong_setting(text, complaint):
    assert below(text).startswith(f"mailserver.toml:{complaint}")


def test_a_host_name_after_a_table_is_sent_to_the_top():
    assert "top of the file" in lines('[relay]\nhost_name = "mx.example.org"')[1]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a = 1\nb = 1 2", ":2: column 7: one NAME = VALUE stands on a line; texts are in quotes, "),
        ("host_name = mx.example.org", ":1: column 13: this is no value: texts stand in quotes"),
        ("a = 1\na = 2", ":2: this name stands twice in its table; keep one of the two, at the"),
        ("[a]\nb", ":2: a line is NAME = VALUE, or begins a table: [NAME]"),
        ("a = [", ":1: a value is missing, or a quote or bracket is not closed, at the end of the file"),
        ("[a]\n[a]", ":2: column 3: [a] stands twice; merge the two into one"),
        ("a = '\x00'", ":1: column 6: "),
        ("a = " + "[" * 100_000, ": nested too deeply"),
        ("a = " + "9" * 5000, ": "),
        ("\ufeff" + 'host_name = "mx.example.org"', ":1: column 1: Invalid"),
    ],
    ids=["junk", "unquoted", "name twice", "bare name", "open", "twice", "nul", "deep", "digits", "bom"],
)
def test_wrong_syntax(text, complaint):
    (line,) = lines(text)
    assert line.startswith(f"mailserver.toml{complaint}")


def test_octets_become_text():
    assert decode(b"\xef\xbb\xbfa = 'caf\xc3\xa9'", "f") == "a = 'café'"
    with pytest.raises(
        SettingsError, match=r"^f:2: found an octet 0xff that is no UTF-8, allowed: a text file in UTF-8$"
    ):
        decode(b"a = 1\nb = '\xff'", "f")
    assert decode(b" " * MAX_OCTETS, "f")
    with pytest.raises(
        SettingsError, match=r"^f: found 1048577 octets, allowed: a settings file of at most 1048576$"
    ):
        decode(b" " * (MAX_OCTETS + 1), "f")


def test_lines_are_found_and_a_doubtful_one_is_left_out():
    text = 'a = 1\n[t."x.y"] # note\n  b=2\nc.d = """\nb = 3\n"""\n[[u]]\ne = 1\r\n'
    assert lines_of(text) == {"a": 1, "t": 2, 't."x.y"': 2, 't."x.y".c': 4, 't."x.y".c.d': 4, "u": 7, "u.e": 8}


_names = st.sampled_from(
    ["host_name", "listeners", "mx", "role", "listen", "queue", "retry", "relay", "networks", "routes", "dns",
     "servers", "accounts", "maildir", "certificates", "tls", "a.b", "", "é", "log", "path"]
)  # fmt: skip
_values = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(["mx", "submission", "*:25", "[::1]:25", "0.0.0.0/0", "::/0", "system", "{user}", "on"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_names, inner, max_size=4)),
    max_leaves=12,
)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) < 0xE000) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return str(value)


@given(st.dictionaries(_names, _values, max_size=6))
def test_any_table_is_taken_or_refused(table):
    text = "\n".join(f"{_toml(name)} = {_toml(value)}" for name, value in table.items())
    error = refusal(made, text)
    if error:
        assert error.problems
        assert all(line.isprintable() for line in str(error).split("\n"))


@given(st.one_of(st.text(), st.text(string.printable), st.text('[]{}"=.,\n#abe0-9_\\')))
def test_any_text_is_taken_or_refused(text):
    with pytest.raises(SettingsError) as caught:
        made(text)
    assert all(line.isprintable() for line in str(caught.value).split("\n"))


@given(st.data())
def test_a_damaged_file_is_taken_or_refused(data):
    text = example()
    at = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(at, min(len(text), at + 40)))
    damaged = text[:at] + data.draw(st.text(max_size=5)) + text[end:]
    error = refusal(made, damaged)
    assert error is None or error.problems


@given(st.binary())
def test_any_octets_are_taken_or_refused(octets):
    error = refusal(decode, octets, "f")
    assert error is None or len(error.problems) == 1


def test_a_domain_without_its_quotes() -> None:
    with pytest.raises(SettingsError) as caught:
        read("[routes.b.example]\nhost = 'a:25'\n", "mailserver.toml", Path("instance"))
    assert 'a domain stands in quotes: [routes."b.example"]' in str(caught.value)
