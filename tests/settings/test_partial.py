"""What is left of settings that have mistakes."""

from pathlib import Path

import pytest

from mailserver.settings.partial import readable

RIGHT = """
[listeners.mx]
role = "mx"
listen = ["127.0.0.1:2525"]
tls = "starttls"
[certificates.default]
chain = "a.crt"
key = "a.key"
"""


@pytest.mark.parametrize(
    "wrong",
    [
        'host_name = "mail.test"\n[queue]\nretry = [0]\n',
        'host_name = 7\n[log]\nfromat = "human"\n',
        '[routes."Far.Example"]\nhost = "no port"\n',
        'host_name = "mail.test"\n[listeners.other]\nrole = "mx"\n',
        'host_name = "mail.test"\n[listeners.other]\nrole = "mx"\nlisten = ["127.0.0.1:2525"]\n',
        'host_name = "mail.test"\n[plugins.nobody]\ncolour = 1\n',
        'host_name = "mail.test"\nqueue = 3\n',
    ],
)
def test_the_rest_can_be_read(wrong):
    settings = readable(wrong + RIGHT, Path("i"))
    assert settings is not None
    assert settings.certificate("default").chain == Path("a.crt")
    assert settings.listeners


@pytest.mark.parametrize("text", ["x", "[a]\n[a]\n", "a = " + "[" * 10_000])
def test_what_is_no_toml_has_no_rest(text):
    assert readable(text, Path("i")) is None
