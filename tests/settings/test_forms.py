"""Written forms of addresses."""

from __future__ import annotations

import pytest

from mailserver.settings.forms import HostPort, full_host_name, host_name, network


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:2525", "127.0.0.1", 2525),
        ("[::1]:2525", "::1", 2525),
        ("[fe80::1%eth0]:25", "fe80::1%eth0", 25),
        ("*:25", "*", 25),
        ("Name:25", "name", 25),
        ("mail.example.org:65535", "mail.example.org", 65535),
        ("127.0.0.1:0", "127.0.0.1", 0),
    ],
)
def test_host_and_port(text, host, port):
    found = HostPort.parse(text)
    assert found == (host, port)
    assert HostPort.parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["", "25", ":25", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:٢٥",
     "127.0.0.1:1e1", "::1:25", "[::1]", "[::1:25", "::1]:25", "[127.0.0.1]:25", "[fe80::1%e\nth]:25",
     "256.0.0.1:25", "1.2.3:25",
     "a b:25", "-a:25", "a..b:25", "a.:25", "ä:25", "a" * 64 + ":25", "127.0.0.1:25 ", "http://a:25", "**:25",
     "127.0.0.1:000000000025"],
)  # fmt: skip
def test_what_is_no_host_and_port(text):
    with pytest.raises(ValueError, match=r"."):
        HostPort.parse(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [("192.0.2.1", ("192.0.2.1", 53)), ("::1", ("::1", 53)), ("[::1]", ("::1", 53)), ("name", ("name", 53)),
     ("192.0.2.1:5353", ("192.0.2.1", 5353)), ("[::1]:5353", ("::1", 5353))],
)  # fmt: skip
def test_a_port_may_be_left_out_where_one_is_known(text, found):
    assert HostPort.parse(text, 53) == found


@pytest.mark.parametrize("text", ["192.0.2.1", "localhost", "mx.example.org.", "a_b.-c", "1.2"])
def test_no_full_host_name(text):
    with pytest.raises(ValueError, match=r"."):
        full_host_name(text)


def test_names_are_folded():
    assert host_name("MX.Example.ORG") == "mx.example.org"


@pytest.mark.parametrize("text", ["", "192.0.2.1/24", "192.0.2.0/33", "example.org", "192.0.2.0-192.0.2.9"])
def test_no_network(text):
    with pytest.raises(ValueError, match=r"."):
        network(text)
