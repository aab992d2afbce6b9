"""The tree of settings: every name, its type, default, unit, bounds and documentation. Nothing else knows them.

The commented example ``etc/mailserver.toml``, the reference ``docs/settings.md`` and the error messages come
from this file. Durations are seconds and sizes are octets, always plain numbers. The tree is immutable; a
change is a new tree. Relative paths are relative to the instance directory (:meth:`Settings.path`).

Made in code or read from a file, a :class:`Settings` is checked as a whole when it is made, and raises
:class:`~mailserver.settings.problem.SettingsError` with everything that is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path

from mailserver.settings import forms
from mailserver.settings.check import everything_wrong
from mailserver.settings.listener import Certificate, Listener
from mailserver.settings.options import Section, option
from mailserver.settings.plugin import Plugin
from mailserver.settings.problem import SettingsError
from mailserver.smtp.address import Domain

_YEAR = 31_536_000
_COUNT = 1_000_000
_MEBIBYTE = 1_048_576


@dataclass(frozen=True, kw_only=True)
class Dns(Section):
    """How names are looked up."""

    servers: Sequence[str] = option(
        default=("system",),
        doc='"system" (as /etc/resolv.conf says), or a list of servers; the empty list is no DNS at all.',
        form=forms.DNS_SERVER, word="system",
    )  # fmt: skip
    timeout: float = option(
        default=5, doc="How long one question may take.", unit="seconds", minimum=0.1, maximum=300, applies="live"
    )


@dataclass(frozen=True, kw_only=True)
class Relay(Section):
    """Mail that leaves this machine."""

    networks: Sequence[str] = option(
        default=(),
        doc="Networks whose hosts may send anywhere without a login. By default none, and not even loopback.",
        form=forms.NETWORK, applies="live",
    )  # fmt: skip
    outgoing: str = option(
        default="on",
        doc="on: mail leaves this machine. hold: it waits in the queue, but for domains with a static route.",
        choices=("on", "hold"), applies="live",
    )  # fmt: skip
    port: int = option(default=25, doc="The port for hosts found by MX look-up.", minimum=1, maximum=65_535)
    smart_host: str = option(
        default="",
        doc="HOST:PORT that takes all mail for elsewhere, in the place of MX look-ups.",
        form=forms.HOST_PORT,
    )
    smart_host_tls: str = option(
        default="verified",
        doc="TLS to it: off, opportunistic (when offered, not verified) or verified. A login needs verified.",
        choices=("off", "opportunistic", "verified"),
    )
    smart_host_ca_file: str = option(
        default="", doc="PEM file of the authorities for its certificate; empty is the system's.", form=forms.PATH
    )
    smart_host_user: str = option(default="", doc="The name to log in with; empty is no login.")
    smart_host_password_file: str = option(
        default="", doc="The file whose first line is the password, closed to others.", form=forms.PATH
    )
    concurrency: int = option(
        default=20, doc="Connections to one destination at once.", minimum=1, maximum=10_000, applies="live"
    )
    total_concurrency: int = option(
        default=100, doc="Connections to all destinations at once.", minimum=1, maximum=10_000, applies="live"
    )
    connection_reuse: int = option(
        default=100, doc="Messages over one connection before it is closed; 1 is no reuse.",
        minimum=1, maximum=_COUNT, applies="live",
    )  # fmt: skip
    chunking: bool = option(
        default=True,
        doc="Small messages go out in one round trip by BDAT where CHUNKING is offered; false is DATA for all.",
    )
    bind_address: str = option(
        default="", doc="The address that connections come from; empty: the system chooses.", form=forms.ADDRESS
    )
    helo_name: str = option(
        default="", doc="What EHLO says to others; empty is the host name.", form=forms.HOST_NAME
    )
    ip_preference: str = option(
        default="any",
        doc="Which addresses of a host are tried first; any takes them as they come.",
        choices=("any", "ipv4", "ipv6"),
    )

    @cached_property
    def trusted(self) -> tuple[forms.Network, ...]:
        """``networks``, parsed."""
        return tuple(forms.network(text) for text in self.networks)

    def trusts(self, client: str) -> bool:
        """Whether the host with the address `client` may relay. False for what is no IP address."""
        return bool(self.networks) and forms.within(client, self.trusted)


@dataclass(frozen=True, kw_only=True)
class StaticRoute(Section):
    """Where the mail for one domain goes, without look-up: ``[routes."DOMAIN"]``."""

    domain: Domain | str = ""
    host: str = option(
        default="",
        doc="HOST:PORT, or unix:PATH for a socket. Only a transport of [plugins] may do without.",
        form=forms.NEXT_HOP,
    )
    transport: str = option(
        default="smtp", doc="What carries it: smtp, lmtp (to a mailbox server), or a transport of [plugins]."
    )
    tls: str = option(
        default="opportunistic",
        doc="off, opportunistic (when offered, not verified) or verified (no mail without a valid certificate).",
        choices=("off", "opportunistic", "verified"),
    )
    ca_file: str = option(
        default="", doc="PEM file of the authorities for its certificate; empty is the system's.", form=forms.PATH
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.domain, str) and self.domain:
            try:
                object.__setattr__(self, "domain", Domain.parse(self.domain))
            except ValueError:
                return  # stays text, and is named when the whole is checked


@dataclass(frozen=True, kw_only=True)
class Queue(Section):
    """When delivery is tried, and for how long."""

    enabled: bool = option(default=True, doc="false: mail is taken and waits; nothing is delivered.")
    retry: Sequence[float] = option(
        default=(60, 300, 900, 1800, 3600, 7200, 14_400),
        doc="The waits between attempts; the last one repeats.",
        unit="seconds", minimum=1, maximum=_YEAR, applies="live",
    )  # fmt: skip
    expire: float = option(
        default=432_000,
        doc="What could not be delivered for so long goes back to its sender. RFC 5321 §4.5.4.1: 4 to 5 days.",
        unit="seconds", minimum=1, maximum=_YEAR, applies="live",
    )  # fmt: skip
    delay_notice: float = option(
        default=14_400, doc="After so long the sender is told that the mail is late; 0 is off.",
        unit="seconds", minimum=0, maximum=_YEAR, applies="live",
    )  # fmt: skip
    fates_kept: float = option(
        default=2_592_000, doc="How long it is known what became of a message that was sent by a program.",
        unit="seconds", minimum=1, maximum=_YEAR,
    )  # fmt: skip
    fates_of_submissions: bool = option(
        default=False, doc="true: that is kept of the messages of users who log in, too."
    )


@dataclass(frozen=True, kw_only=True)
class Reception(Section):
    """What is taken from clients."""

    enabled: bool = option(default=True, doc="false: no listener is opened; the queue is drained.")
    max_message_size: int = option(
        default=25 * _MEBIBYTE,
        doc="The largest content taken, announced by SIZE (RFC 1870). RFC 5321 §4.5.3.1.7 asks for 65536.",
        unit="octets", minimum=1, maximum=2_147_483_647, applies="live",
    )  # fmt: skip
    max_recipients: int = option(
        default=100, doc="Recipients of one message; more are answered 452. RFC 5321 §4.5.3.1.8 asks for 100.",
        minimum=1, maximum=100_000, applies="live",
    )  # fmt: skip
    max_hops: int = option(
        default=50, doc="Received fields from which a message is refused as looping. RFC 5321 §6.3 asks for 100.",
        minimum=1, maximum=1000, applies="live",
    )  # fmt: skip
    max_line_length: int = option(
        default=0, doc="Content with a longer line is refused; 0 is no limit. RFC 5322 §2.1.1 allows 998.",
        unit="octets", minimum=0, maximum=_MEBIBYTE, applies="live",
    )  # fmt: skip
    submission_line_ends: str = option(
        default="refuse",
        doc="What a bare CR or LF in a content means on submission: refuse, or normalize to line ends.",
        choices=("refuse", "normalize"), applies="live",
    )  # fmt: skip
    error_limit: int = option(
        default=20, doc="Refusals in one session before it is closed with 421; 0 is off.",
        minimum=0, maximum=_COUNT, applies="live",
    )  # fmt: skip
    greeting_delay: float = option(
        default=0, doc="How long an mx waits before it greets; checks are told who spoke earlier. 0 is off.",
        unit="seconds", minimum=0, maximum=60, applies="live",
    )  # fmt: skip
    auth_failure_delay: float = option(
        default=1, doc="How long the answer to a failed login waits.",
        unit="seconds", minimum=0, maximum=60, applies="live",
    )  # fmt: skip
    max_commands: int = option(
        default=0, doc="Commands in one session before it is closed with 421; 0 is off.",
        minimum=0, maximum=1_000_000_000, applies="live",
    )  # fmt: skip
    junk_limit: int = option(
        default=100, doc="NOOP, RSET, EHLO and the like since the last message; each more is a refusal. 0 is off.",
        minimum=0, maximum=_COUNT, applies="live",
    )  # fmt: skip
    send_at_once: bool = option(
        default=True,
        doc="Replies are sent at once, not with the next turn of the reactor; false is Twisted's own way.",
    )  # fmt: skip


def _timeout(default: float, doc: str) -> float:
    return option(default=default, doc=doc, unit="seconds", minimum=0.1, maximum=86_400, applies="live")


@dataclass(frozen=True, kw_only=True)
class Timeouts(Section):
    """How long is waited. The first four are for clients that connect here (RFC 5321 §4.5.3.2)."""

    greeting: float = _timeout(300, "For the first command of a client, and for the end of a TLS handshake.")
    command: float = _timeout(300, "For the next command within a transaction.")
    data_block: float = _timeout(180, "For the next octets of a content.")
    data_end: float = _timeout(600, "For a whole content to be stored, from its last octet.")
    check: float = _timeout(60, "For a check to give its verdict; after it the client is answered 451.")
    connect: float = _timeout(30, "For a connection to another server.")
    client_greeting: float = _timeout(300, "For its greeting.")
    client_command: float = _timeout(300, "For its reply to a command.")
    client_data_start: float = _timeout(120, "For its reply to DATA.")
    client_data_block: float = _timeout(180, "For it to take the next part of a content.")
    client_data_end: float = _timeout(600, "For its reply to the end of a content.")
    drain: float = _timeout(8, "At stop: for contents that are coming in and attempts under way.")


def _per_minute(doc: str) -> int:
    return option(default=0, doc=doc, minimum=0, maximum=_COUNT, applies="live")


@dataclass(frozen=True, kw_only=True)
class Limits(Section):
    """What one IP address may do in a minute. 0 is off."""

    connections_per_minute: int = _per_minute("Connections from one IP address in a minute; 0 is off.")
    messages_per_minute: int = _per_minute("Messages from one IP address in a minute; 0 is off.")
    recipients_per_minute: int = _per_minute("Recipients named by one IP address in a minute; 0 is off.")
    auth_failures_per_minute: int = _per_minute(
        "Failed logins from one IP address in a minute; 0 is off. A login counts until it has succeeded, so this "
        "is also how many may be under way."
    )


@dataclass(frozen=True, kw_only=True)
class Accounts(Section):
    """Accounts and their mailboxes. The accounts themselves are in ``accounts.db``."""

    bcrypt_cost: int = option(
        default=12, doc="The cost of a new password's hash; each step doubles the time of a login.",
        minimum=4, maximum=16, applies="live",
    )  # fmt: skip
    scram: bool = option(
        default=True,
        doc="Offer SCRAM-SHA-256 for logins. An account of before it was there needs one login by password first.",
    )
    transport: str = option(
        default="local", doc="What delivers to accounts: local (Maildirs), or a transport of [plugins]."
    )
    maildir: str = option(
        default="maildirs/{domain}/{user}",
        doc="The path of an account's Maildir; {domain} and {user} are filled in.",
    )
    remember_login: float = option(
        default=300, doc="A login that succeeded is known again for so long without a new hash; 0 is off.",
        unit="seconds", minimum=0, maximum=86_400, applies="live",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Spool(Section):
    """The store of accepted mail. It is the directory ``spool`` of the instance."""

    content_cap: int = option(
        default=262_144, doc="Content up to this size is stored in the database; larger ones are files.",
        unit="octets", minimum=0, maximum=16 * _MEBIBYTE,
    )  # fmt: skip
    memory_budget: int = option(
        default=64 * _MEBIBYTE, doc="The memory for contents coming in; over it they go to files.",
        unit="octets", minimum=0, maximum=1_099_511_627_776,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Log(Section):
    """What happened, a line for each event."""

    path: str = option(default="", doc="The file; empty is standard error.", form=forms.PATH)
    format: str = option(
        default="human", doc="How a line looks.", choices={"human": "", "json": "lines for machines"}
    )


@dataclass(frozen=True, kw_only=True)
class Control(Section):
    """How ``mailserverctl`` reaches the running server."""

    socket: str = option(
        default="run/control.sock", doc="The Unix socket; its directory is closed to others.", form=forms.PATH
    )


class InstanceDirectory:
    """A field that takes text or a path and answers a Path, so that type checkers know both sides."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, owner: object, kind: type | None = None) -> Path:
        if owner is None:  # asked by `dataclass`: no default
            raise AttributeError(self._name)
        path: Path = owner.__dict__[self._name]
        return path

    def __set__(self, owner: object, value: str | PathLike[str]) -> None:
        owner.__dict__[self._name] = Path(value)


@dataclass(frozen=True, kw_only=True)
class Settings(Section):
    """All of it. ``instance`` is the directory with everything this server keeps; it is no setting of the file."""

    instance: InstanceDirectory = InstanceDirectory()
    host_name: str = option(
        doc="The full name of this machine in DNS: the greeting, EHLO, Received and reports say it.",
        form=forms.HOST_NAME,
    )
    listeners: Sequence[Listener] = ()
    certificates: Sequence[Certificate] = ()
    dns: Dns = field(default_factory=Dns)
    relay: Relay = field(default_factory=Relay)
    routes: Sequence[StaticRoute] = ()
    queue: Queue = field(default_factory=Queue)
    reception: Reception = field(default_factory=Reception)
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)
    accounts: Accounts = field(default_factory=Accounts)
    spool: Spool = field(default_factory=Spool)
    log: Log = field(default_factory=Log)
    control: Control = field(default_factory=Control)
    plugins: Sequence[Plugin] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if wrong := everything_wrong(self):
            raise SettingsError(wrong)

    def path(self, text: str | Path) -> Path:
        """`text` as a path; a relative one begins at the instance directory."""
        return self.instance / text

    def certificate(self, name: str) -> Certificate:
        """The certificate of that name. Raises KeyError."""
        return {certificate.name: certificate for certificate in self.certificates}[name]

    def route_for(self, domain: Domain | str) -> StaticRoute | None:
        """The static route of `domain` (not of its subdomains), or None."""
        return self._routes.get(Domain.parse(domain) if isinstance(domain, str) else domain)

    @cached_property
    def _routes(self) -> dict[Domain | str, StaticRoute]:
        return {route.domain: route for route in self.routes}
