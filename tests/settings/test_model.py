"""The tree made in code: conversions, all problems at once, and the look-ups that other parts use."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mailserver.interfaces import MailServerError
from mailserver.settings import (
    Certificate,
    Control,
    Dns,
    HostPort,
    Limits,
    Listener,
    Log,
    Queue,
    Reception,
    Relay,
    Settings,
    SettingsError,
    StaticRoute,
)
from mailserver.smtp.address import Domain

PAIR = Certificate(chain=Path("a.crt"), key=Path("a.key"))


def settings(**more) -> Settings:
    return Settings(**{"instance": "mail", "host_name": "mx.example.org", **more})


def keys(**more) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings(**more)
    return [problem.key for problem in caught.value.problems]


def sentence(**more) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(**more)
    return str(caught.value)


def test_the_first_program_of_the_manual():
    made = Settings(
        instance="mail", host_name="mx.example.org", listeners=[Listener(role="mx", listen=["127.0.0.1:2525"])]
    )
    assert made.instance == Path("mail")
    assert made.listeners[0].name == "mx"
    assert made.listeners[0].listen == ("127.0.0.1:2525",)
    assert made.listeners[0].addresses == (HostPort("127.0.0.1", 2525),)
    assert made.listeners[0].tls == "none"


def test_a_tree_is_one_immutable_value():
    made = settings(listeners=[Listener(role="mx", listen=["*:25"])])
    assert made == settings(listeners=(Listener(role="mx", listen=("*:25",)),))
    assert hash(made) == hash(dataclasses.replace(made))
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.host_name = "other.example.org"
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.instance = Path("other")


def test_the_instance_must_be_given():
    with pytest.raises(TypeError, match="instance"):
        Settings(host_name="mx.example.org")


def test_paths_begin_at_the_instance():
    made = settings(certificates=[PAIR])
    assert made.path(made.control.socket) == Path("mail/run/control.sock")
    assert made.path("/var/log/mail") == Path("/var/log/mail")
    assert made.path(made.certificate("default").chain) == Path("mail/a.crt")
    with pytest.raises(KeyError):
        made.certificate("other")


def test_routes_are_found_by_domain_however_it_is_written():
    made = settings(routes=[StaticRoute(domain="BÜCHER.Example", host="[2001:db8::1]:25")])
    for name in ("bücher.example", "xn--bcher-kva.example", Domain.parse("Bücher.example")):
        assert made.route_for(name).host == "[2001:db8::1]:25"
    assert made.route_for("sub.bücher.example") is None


def test_where_a_route_may_lead():
    for host in ("192.0.2.1:24", "unix:run/lmtp", "unix:/run/dovecot/lmtp"):
        settings(routes=[StaticRoute(domain="a.example", host=host, transport="lmtp")])
    for host in ("", "unix:", "unix:a\0b", "lmtp", "*:24"):
        route = StaticRoute(domain="a.example", host=host, transport="lmtp")
        assert keys(routes=[route]) == ['routes."a.example".host']


def test_dns_takes_the_word_or_a_list():
    assert Dns(servers="system").servers == Dns().servers == ("system",)
    assert settings(dns=Dns(servers=[])).dns.servers == ()
    settings(dns=Dns(servers=["192.0.2.53", "[2001:db8::53]:5353", "2001:db8::53"]))
    assert keys(dns=Dns(servers=["system", "192.0.2.53"])) == ["dns.servers"]
    assert keys(dns=Dns(servers=["ns.example.org"])) == ["dns.servers"]


class TestTrust:
    relay = Relay(networks=["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"])

    @pytest.mark.parametrize("client", ["192.0.2.200", "2001:db8::1", "198.51.100.7", "::ffff:192.0.2.1"])
    def test_inside(self, client):
        assert self.relay.trusts(client)

    @pytest.mark.parametrize(
        "client", ["192.0.3.1", "2001:db9::1", "127.0.0.1", "::1", "", "unix", "::ffff:127.0.0.1"]
    )
    def test_outside(self, client):
        assert not self.relay.trusts(client)

    @pytest.mark.parametrize("client", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
    def test_nobody_by_default(self, client):
        assert not Relay().trusts(client)

    @pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "::/1"])
    def test_an_open_relay_is_refused(self, network):
        assert "anybody on the Internet" in sentence(relay=Relay(networks=["10.0.0.0/8", network]))

    def test_an_open_relay_is_named_beside_another_mistake(self):
        told = sentence(relay=Relay(networks=["192.0.2.1/24", "::/0"]))
        assert '"192.0.2.1/24"' in told
        assert "anybody on the Internet" in told

    @pytest.mark.parametrize("network", ["::ffff:0:0/96", "::ffff:192.0.2.0/120", "::/64"])
    def test_ipv4_in_the_clothes_of_ipv6_is_refused(self, network):
        assert "IPv4" in sentence(relay=Relay(networks=[network]))

    @pytest.mark.parametrize("network", ["10.0.0.0/8", "fc00::/7", "127.0.0.0/8", "::1"])
    def test_private_networks_may_be_trusted(self, network):
        settings(relay=Relay(networks=[network]))


class TestWhoIsBelieved:
    @pytest.mark.parametrize("setting", ["proxy_from", "xclient_from"])
    @pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "128.0.0.0/1", "::ffff:0:0/96"])
    def test_not_anybody(self, setting, network):
        listener = Listener(role="mx", listen=["*:25"], **{setting: ["10.0.0.0/8", network]})
        assert keys(listeners=[listener]) == [f"listeners.mx.{setting}"]

    @pytest.mark.parametrize("setting", ["proxy_from", "xclient_from"])
    def test_what_is_no_network(self, setting):
        listener = Listener(role="mx", listen=["*:25"], **{setting: ["10.0.0.1/8"]})
        assert keys(listeners=[listener]) == [f"listeners.mx.{setting}"]

    def test_nobody_by_default(self):
        listener = Listener(role="mx", listen=["*:25"])
        assert (listener.proxies, listener.xclients) == ((), ())

    def test_hosts_and_networks(self):
        listener = Listener(role="mx", listen=["*:25"], proxy_from=["10.0.0.0/8", "2001:db8::1"])
        settings(listeners=[listener])
        assert [str(network) for network in listener.proxies] == ["10.0.0.0/8", "2001:db8::1/128"]


def test_all_problems_come_at_once():
    wrong = keys(
        host_name="mx",
        listeners=[Listener(role="mx", listen="127.0.0.1:25"), Listener(role="pop", listen=["a:b"])],
        queue=Queue(retry=[0], expire=True),
        log=Log(format="json"),
    )
    assert wrong == [
        "host_name",
        "queue.retry",
        "queue.expire",
        "log.format",
        "listeners.mx.listen",
        "listeners.pop.role",
        "listeners.pop.listen",
    ]


def test_an_error_is_one_of_ours_with_a_line_for_each_problem():
    told = sentence(queue=Queue(delay_notice=-1), limits=Limits(messages_per_minute="5"))
    assert told.splitlines() == [
        "queue.delay_notice: found -1, allowed: a number of seconds from 0 to 31536000",
        'limits.messages_per_minute: found "5", allowed: a whole number from 0 to 1000000',
    ]
    assert issubclass(SettingsError, MailServerError)


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"queue": Queue(enabled=1)}, "queue.enabled"),
        ({"queue": Queue(expire=float("nan"))}, "queue.expire"),
        ({"queue": Queue(expire=float("inf"))}, "queue.expire"),
        ({"queue": Queue(retry=[])}, "queue.retry"),
        ({"queue": Queue(retry=[60], expire=60)}, "queue.expire"),
        ({"queue": None}, "queue"),
        ({"queue": {"retry": [1]}}, "queue"),
        ({"reception": Reception(max_recipients=1.0)}, "reception.max_recipients"),
        ({"reception": Reception(max_recipients=True)}, "reception.max_recipients"),
        ({"relay": Relay(networks="10.0.0.0/8")}, "relay.networks"),
        ({"relay": Relay(networks=[10])}, "relay.networks"),
        ({"relay": Relay(smart_host="mail.example.org")}, "relay.smart_host"),
        ({"relay": Relay(smart_host="*:25")}, "relay.smart_host"),
        ({"relay": Relay(bind_address="mail.example.org")}, "relay.bind_address"),
        ({"relay": Relay(smart_host="a:25", smart_host_user="me")}, "relay.smart_host_password_file"),
        ({"relay": Relay(smart_host="a:25", smart_host_password_file="f")}, "relay.smart_host_user"),
        ({"relay": Relay(smart_host_user="me", smart_host_password_file="f")}, "relay.smart_host"),
        ({"control": Control(socket="")}, "control.socket"),
        ({"control": Control(socket="a\0b")}, "control.socket"),
        ({"listeners": [Listener(role="mx")]}, "listeners.mx.listen"),
        ({"listeners": [Listener(role="lmtp", listen=["*:25"])]}, "listeners.lmtp.listen"),
        (
            {"listeners": [Listener(role="lmtp", listen=["*:24"], tls="implicit")], "certificates": [PAIR]},
            "listeners.lmtp.tls",
        ),
        ({"listeners": [Listener(role="lmtp", listen=["*:24"], checkers=["file:p"])]}, "listeners.lmtp.checkers"),
        ({"reception": Reception(submission_line_ends="lf")}, "reception.submission_line_ends"),
        ({"listeners": "mx"}, "listeners"),
        ({"listeners": [Dns()]}, "listeners"),
        ({"listeners": [Listener(role="mx", name="a b", listen=["*:1"])]}, 'listeners."a b"'),
        ({"listeners": [Listener(role=None, listen=["*:1"])]}, "listeners.None.role"),
        ({"certificates": [PAIR, PAIR]}, "certificates.default"),
        ({"certificates": [Certificate(chain="", key="k")]}, "certificates.default.chain"),
        ({"routes": [StaticRoute(domain="a b", host="h:25")]}, 'routes."a b"'),
        ({"routes": [StaticRoute(domain="", host="h:25")]}, 'routes.""'),
        ({"routes": [StaticRoute(domain="a.example", host="h")]}, 'routes."a.example".host'),
    ],
)
def test_one_mistake_is_named_once(more, key):
    assert keys(**more) == [key]


def test_a_login_needs_a_verified_host():
    login = {"smart_host": "a:25", "smart_host_user": "me", "smart_host_password_file": "f"}
    settings(relay=Relay(**login))
    assert keys(relay=Relay(**login, smart_host_tls="opportunistic")) == ["relay.smart_host_tls"]


class TestListeners:
    def test_submission_needs_tls_even_on_loopback(self):
        assert keys(listeners=[Listener(role="submission", listen=["127.0.0.1:587"])]) == [
            "listeners.submission.tls"
        ]

    def test_tls_needs_a_certificate_that_is_there(self):
        listener = Listener(role="mx", listen=["*:25"], tls="starttls")
        settings(listeners=[listener], certificates=[PAIR])
        assert keys(listeners=[listener]) == ["listeners.mx.certificate"]
        other = dataclasses.replace(listener, certificate="other")
        assert '"default"' in sentence(listeners=[other], certificates=[PAIR])

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("127.0.0.1:25", "127.0.0.1:25"),
            ("*:25", "127.0.0.1:25"),
            ("[::1]:25", "*:25"),
            ("0.0.0.0:25", "127.0.0.1:25"),
            ("[::]:25", "[::1]:25"),
            ("[::0:1]:25", "[::1]:25"),
            ("MX.example.org:25", "mx.example.org:25"),
        ],
    )
    def test_two_with_one_address(self, first, second):
        pair = [Listener(name="one", role="mx", listen=[first]), Listener(name="two", role="mx", listen=[second])]
        assert keys(listeners=pair) == ["listeners.two.listen"]
        settings(listeners=[pair[0], dataclasses.replace(pair[1], enabled=False)])

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("127.0.0.1:25", "127.0.0.2:25"),
            ("*:25", "*:26"),
            ("0.0.0.0:25", "[::1]:25"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ],
    )
    def test_two_that_go_together(self, first, second):
        settings(listeners=[Listener(role="mx", listen=[first, second])])

    def test_two_of_one_name(self):
        pair = [Listener(role="mx", listen=["*:25"]), Listener(role="mx", listen=["*:26"])]
        assert keys(listeners=pair) == ["listeners.mx"]


@pytest.mark.parametrize("template", ["m/{domain}/{user}", "/home/{user}/Maildir", "{{x}}/{user}"])
def test_templates_that_are_taken(template):
    from mailserver.settings import Accounts

    assert settings(accounts=Accounts(maildir=template)).accounts.maildir == template


@pytest.mark.parametrize(
    "template",
    [
        "m",
        "m/{domain}",
        "{user",
        "{user.__class__}",
        "{user!r}",
        "{user:>9}",
        "{}",
        "{0}",
        "{user}{x}",
        "{user}\0",
    ],
)
def test_templates_that_are_refused(template):
    from mailserver.settings import Accounts

    assert keys(accounts=Accounts(maildir=template)) == ["accounts.maildir"]
