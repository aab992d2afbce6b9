"""What must hold of the whole tree: every value by itself, and then between settings.

:func:`everything_wrong` answers problems and raises nothing, whatever the tree was given. A check between
settings looks only at values that are right by themselves, so that one mistake is named once.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from string import Formatter
from typing import TYPE_CHECKING, Any, TypeVar

from mailserver.settings.forms import HOST_PORT, HostPort, Network, network
from mailserver.settings.options import problems, types_of
from mailserver.settings.problem import Problem, key_path, quoted, shown
from mailserver.smtp.address import Domain

if TYPE_CHECKING:
    from mailserver.settings.listener import Certificate, Listener
    from mailserver.settings.model import Relay, Settings, StaticRoute
    from mailserver.settings.plugin import Plugin

_NAME = re.compile("[A-Za-z0-9_-]{1,64}")
# Wider than any network of one owner: 10.0.0.0/8 and fc00::/7 are the widest private ones.
_WIDEST = {4: 8, 6: 7}
_OPEN_RELAY = "with this one anybody on the Internet could send through you (an open relay)"
_SMTP_PORT = 25
_MAPPED = ipaddress.ip_network("::ffff:0:0/96")

T = TypeVar("T")
TABLES_OF_TABLES = ("listeners", "certificates", "routes", "plugins")

Good = Callable[..., bool]
"""Whether none of these key paths has a problem already."""


def everything_wrong(settings: Settings) -> list[Problem]:
    """All problems of the tree: first of single values, then between them."""
    wrong = [*problems(settings), *_sections(settings)]
    for table in TABLES_OF_TABLES:
        wrong += _members(table, getattr(settings, table), types_of(type(settings))[table][0])
    bad = {problem.key for problem in wrong}

    def good(*keys: str) -> bool:
        return bad.isdisjoint(keys)

    for check in (_listeners, _portals, _routes, _dns, _relay, _queue, _accounts):
        wrong += check(settings, good)
    return wrong


def _sections(settings: Settings) -> Iterator[Problem]:
    """The single tables, each of which must be of its own type."""
    for item in dataclasses.fields(settings):
        if not isinstance(item.default_factory, type):
            continue
        section = getattr(settings, item.name)
        if isinstance(section, item.default_factory):
            yield from problems(section, item.name)
        else:
            yield Problem(item.name, shown(section), f"a {item.default_factory.__name__}")


def _members(table: str, members: Any, kind: type) -> Iterator[Problem]:
    """The named tables of one kind."""
    if not isinstance(members, tuple) or not all(isinstance(member, kind) for member in members):
        yield Problem(table, shown(members), f"a list of {kind.__name__}")
        return
    names = [name_of(member) for member in members]
    for number, (name, member) in enumerate(zip(names, members, strict=True)):
        at = key_path(table, name)
        if name in names[:number]:
            yield Problem(at, "", f"there are two {table} with this name")
        if table != "routes" and not _NAME.fullmatch(name):
            yield Problem(at, "", "a name is made of at most 64 letters, digits, _ and -")
        yield from problems(member, at)
        if dataclasses.is_dataclass(options := getattr(member, "options", None)):
            yield from problems(options, at)


def name_of(member: Listener | Certificate | StaticRoute | Plugin) -> str:
    """What the table of `member` is called."""
    return str(getattr(member, "domain", None) or getattr(member, "name", ""))


def _listeners(settings: Settings, good: Good) -> Iterator[Problem]:
    if not good("listeners"):
        return
    bound: list[tuple[str, HostPort]] = []
    for listener in settings.listeners:
        at = key_path("listeners", name_of(listener))
        if good(f"{at}.tls", f"{at}.role"):
            yield from _tls(listener, at, settings.certificates if good("certificates") else None)
        if listener.role == "lmtp":
            yield from _lmtp(listener, at)
        yield from _believed(listener, at)
        if good(f"{at}.extensions_off", f"{at}.role") and isinstance(listener.extensions_off, tuple):
            yield from _extensions(listener, at)
        if good(f"{at}.enabled") and listener.enabled and isinstance(listener.listen, tuple):
            if not listener.listen:
                yield Problem(f"{at}.listen", "[]", 'at least one address, as in ["127.0.0.1:2525"]')
            bound += [(f"{at}.listen", address) for address in _parsed(HostPort.parse, listener.listen)]
    for (first, one), (second, other) in combinations(bound, 2):
        if _overlap(one, other):
            yield Problem(second, quoted(str(other)), f"an address of its own ({first} has {quoted(str(one))})")


def _believed(listener: Listener, at: str) -> Iterator[Problem]:
    """Who may say who the client is can be anybody, to every limit and to ``relay.networks``."""
    for setting in ("proxy_from", "xclient_from"):
        networks = getattr(listener, setting)
        for found in _parsed(network, networks if isinstance(networks, tuple) else ()):
            if sentence := _too_wide(found, "with this one anybody could pass for any client"):
                yield Problem(f"{at}.{setting}", quoted(str(found)), sentence)


def _extensions(listener: Listener, at: str) -> Iterator[Problem]:
    off = set(listener.extensions_off)
    if "8BITMIME" in off and "SMTPUTF8" not in off:
        # RFC 6531 §3.1, item 8.
        yield Problem(f"{at}.extensions_off", quoted("8BITMIME"), '"SMTPUTF8" beside it, which cannot do without')
    if listener.role == "lmtp":
        for keyword in sorted(off & {"PIPELINING", "ENHANCEDSTATUSCODES"}):
            yield Problem(f"{at}.extensions_off", quoted(keyword), "what LMTP can do without (RFC 2033 §5)")


def _parsed(parse: Callable[[str], T], texts: Sequence[Any]) -> Iterator[T]:
    """Those of `texts` that have their form; the others are named already."""
    for text in texts:
        try:
            yield parse(text)
        except (ValueError, AttributeError):
            continue


def _tls(listener: Listener, at: str, certificates: Sequence[Certificate] | None) -> Iterator[Problem]:
    if listener.tls == "none":
        if listener.role == "submission":
            yield Problem(
                f"{at}.tls", '"none"', '"starttls", "implicit" (submission without TLS could offer no login)'
            )
        return
    names = [certificate.name for certificate in certificates or ()]
    if certificates is not None and listener.certificate not in names:
        there = ", ".join(map(quoted, map(str, names))) or "none is there; write a table [certificates.default]"
        yield Problem(f"{at}.certificate", shown(listener.certificate), f"a name of [certificates]: {there}")


def _lmtp(listener: Listener, at: str) -> Iterator[Problem]:
    """RFC 2033: no login; and not on the port of SMTP, whose clients would not be understood (§5)."""
    if listener.tls == "implicit":
        yield Problem(f"{at}.tls", '"implicit"', '"none", "starttls" (LMTP begins in clear)')
    if listener.checkers:
        yield Problem(f"{at}.checkers", shown(listener.checkers), "the empty list: nobody logs in over LMTP")
    for address in _parsed(HostPort.parse, listener.listen if isinstance(listener.listen, tuple) else ()):
        if address.port == _SMTP_PORT:
            yield Problem(f"{at}.listen", quoted(str(address)), "another port; 25 is for SMTP")


def _overlap(one: HostPort, other: HostPort) -> bool:
    """Whether the second of two listening sockets could not be bound. Port 0 is another one each time."""
    if one.port != other.port or one.port == 0:
        return False
    hosts = {one.host, other.host}
    six = [":" in host for host in (one.host, other.host)]
    any_of_family = "::" in hosts if all(six) else "0.0.0.0" in hosts and not any(six)  # noqa: S104  compared only
    return len(hosts) == 1 or "*" in hosts or any_of_family


def _portals(settings: Settings, good: Good) -> Iterator[Problem]:
    if not good("listeners", "plugins"):
        return
    names = [plugin.name for plugin in settings.plugins]
    for listener in settings.listeners:
        if isinstance(listener.portal, str) and listener.portal and listener.portal not in names:
            key = f"{key_path('listeners', name_of(listener))}.portal"
            table = key_path("plugins", listener.portal)
            there = ", ".join(map(quoted, names)) or f"none is there; write a table [{table}]"
            yield Problem(key, quoted(listener.portal), f"a realm of [plugins]: {there}")


def _routes(settings: Settings, good: Good) -> Iterator[Problem]:
    for route in settings.routes if good("routes") else ():
        if route.transport in ("smtp", "lmtp") and route.host == "":
            key = f"{key_path('routes', str(route.domain))}.host"
            yield Problem(key, "", f"missing; write host = … with {HOST_PORT.allowed}")
        if not isinstance(route.domain, Domain):
            yield Problem(
                key_path("routes", str(route.domain)), "", 'not a domain name, as in [routes."example.org"]'
            )


def _dns(settings: Settings, good: Good) -> Iterator[Problem]:
    if good("dns", "dns.servers") and "system" in settings.dns.servers and len(settings.dns.servers) > 1:
        yield Problem("dns.servers", shown(settings.dns.servers), '"system" alone, or a list of addresses')


def _relay(settings: Settings, good: Good) -> Iterator[Problem]:
    relay = settings.relay
    if not good("relay"):
        return
    if isinstance(relay.networks, tuple):
        for found in _parsed(network, relay.networks):
            if sentence := _too_wide(found, _OPEN_RELAY):
                yield Problem("relay.networks", quoted(str(found)), sentence)
    if good("relay.smart_host_user", "relay.smart_host_password_file", "relay.smart_host_tls", "relay.smart_host"):
        yield from _login(relay)


def _too_wide(found: Network, danger: str) -> str:
    """What may be trusted in the place of this network, or ""."""
    if found.prefixlen < _WIDEST[found.version]:
        return f"your own networks; {danger}"
    if found.version == 6 and found.overlaps(_MAPPED):
        return "IPv4 clients by their IPv4 network"
    return ""


def _login(relay: Relay) -> Iterator[Problem]:
    user, file = relay.smart_host_user, relay.smart_host_password_file
    if bool(user) != bool(file):
        key = "smart_host_password_file" if user else "smart_host_user"
        yield Problem(f"relay.{key}", '""', "the other half of the login: user and password file go together")
    elif user and not relay.smart_host:
        yield Problem("relay.smart_host", '""', "HOST:PORT to log in to")
    elif user and relay.smart_host_tls != "verified":
        yield Problem(
            "relay.smart_host_tls",
            quoted(relay.smart_host_tls),
            '"verified", so that nobody else gets the password',
        )


def _queue(settings: Settings, good: Good) -> Iterator[Problem]:
    if not good("queue", "queue.retry"):
        return
    retry, expire = settings.queue.retry, settings.queue.expire
    if not retry:
        yield Problem("queue.retry", "[]", "at least one wait, as in [60, 300, 3600]")
    elif good("queue.expire") and expire <= retry[0]:
        yield Problem("queue.expire", shown(expire), f"more than the first wait of queue.retry, {shown(retry[0])}")


def _accounts(settings: Settings, good: Good) -> Iterator[Problem]:
    if good("accounts", "accounts.maildir") and not _is_template(settings.accounts.maildir):
        yield Problem(
            "accounts.maildir", shown(settings.accounts.maildir),
            "a path with {user}, and {domain} where accounts of several domains are kept; no other braces",
        )  # fmt: skip


def _is_template(text: str) -> bool:
    """Only the two plain fields: `str.format` would follow attributes and indexes too."""
    try:
        parts = list(Formatter().parse(text))
    except ValueError:
        return False
    names = [name for _, name, _, _ in parts if name is not None]
    plain = all(not spec and not conversion for _, _, spec, conversion in parts)
    return plain and "user" in names and set(names) <= {"user", "domain"} and "\0" not in text
